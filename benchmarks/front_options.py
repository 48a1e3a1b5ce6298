"""The command line of benchmarks that compare rows of runs after equal time."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

__all__ = ["add_row_options", "do_command"]

Command = Callable[[argparse.Namespace], None]


def add_row_options(
    parser: argparse.ArgumentParser, rows: Collection[str], usual: Sequence[str], minutes: float, of: str
) -> None:
    """What is run and told: `usual` are the rows where none are named, `of` is what so many minutes are given to."""

    def read_rows(text: str) -> list[str]:
        unknown = [row for row in text.split(",") if row not in rows]
        if unknown:
            raise argparse.ArgumentTypeError(f"there is no row {unknown[0]}; choose from {', '.join(rows)}")
        return text.split(",")

    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="folder of labelled images; generated shapes without")
    parser.add_argument("--size", help="canvas of the base")
    parser.add_argument("--minutes", type=float, default=minutes, help=f"of {of}")
    parser.add_argument("--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[0])
    parser.add_argument("--rows", type=read_rows, default=list(usual), help=f"of {', '.join(rows)}")
    parser.add_argument("--report", type=Path)


def do_command(parser: argparse.ArgumentParser, commands: Mapping[str, Command]) -> None:
    """Reads the command line, and does what its first word names."""
    parser.add_argument("command", choices=commands)
    arguments = parser.parse_args()
    commands[arguments.command](arguments)
