"""Options that several commands have, and the kinds of number that options take: argparse's errors have their names."""

from __future__ import annotations

import argparse
from pathlib import Path

from deploy.measuring.protocols import PROTOCOLS

__all__ = [
    "add_detecting",
    "add_gpus",
    "add_host",
    "add_json",
    "add_labelled",
    "add_measuring",
    "add_signature",
    "add_target",
    "add_threads",
    "add_trust",
    "count",
    "share",
]


def add_json(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--json", action="store_true", help=text)


def add_labelled(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", metavar="PATH", type=Path, required=True, help="labelled images: a folder, or its data.yaml or JSON"
    )
    parser.add_argument("--split", default="val", choices=("train", "val", "test", "all"), help="default: val")


def add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=count, metavar="N", help="CPU threads (default: one per physical core)")


def add_trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trust", action="store_true", help="load a model that is not in a bundle: you know its source"
    )


def add_signature(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--require-signature",
        type=Path,
        metavar="SIGNERS",
        help="use a bundle only if one of these signed it (see deploy sign --help)",
    )


def add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", default="cpu", help="a known target, or a TOML file (default: cpu)")
    add_host(parser)


def add_measuring(parser: argparse.ArgumentParser) -> None:
    add_target(parser)
    add_signature(parser)
    parser.add_argument("--images", type=Path, nargs="+", metavar="PATH", help="feed these images (default: noise)")
    parser.add_argument("--level", default="screen", choices=list(PROTOCOLS), help="how thorough (default: screen)")
    add_json(parser, "print the whole records as JSON")


def add_detecting(parser: argparse.ArgumentParser, json_text: str) -> None:
    """What every command takes that has a bundle detect something."""
    add_target(parser)
    add_signature(parser)
    add_threads(parser)
    add_json(parser, json_text)


def add_gpus(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--for", dest="gpus", type=lambda names: names.split(","), metavar="sm86,sm89", help=text)


def add_host(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host",
        default="",
        metavar="USER@BOARD",
        help="board of a target reached over ssh (default: from the hosts file)",
    )


def share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"a score lies between 0 and 1, not {text}")
    return value


def count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"at least 1, not {text}")
    return value
