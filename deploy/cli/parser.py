"""`deploy ...`: the command line. It parses, `commands` and `graphs` do the work. argparse, because boards have it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator, NoReturn, Sequence

from deploy.builders.compatibility import VERSIONS
from deploy.builders.offline import GPUS
from deploy.builders.plans import EFFORTS
from deploy.builders.precision import CONVERSIONS
from deploy.builders.releases import RTX
from deploy.cli import commands, graphs, labelled
from deploy.cli.help_texts import ADOPT_HELP, CHECK_HELP, CONVERT_HELP, ERRORS_HELP, EXAMPLES, PACK_HELP, SIGN_HELP
from deploy.cli.options import (
    add_detecting,
    add_gpus,
    add_host,
    add_json,
    add_labelled,
    add_measuring,
    add_signature,
    add_trust,
    count,
    share,
)
from deploy.cli.terminal import escape_what_cannot_be_printed, show_progress
from deploy.engines import ENGINES
from deploy.errors import DeployError, explain_disk_error
from deploy.foreign import LINE_LIMIT, make_printable
from deploy.packs import PACKS
from deploy.pipeline.decode import HEADS
from deploy.version import __version__

__all__ = ["build_parser", "main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point: errors are one line on stderr and an exit code."""
    escape_what_cannot_be_printed()
    options = build_parser().parse_args(arguments)
    try:
        with _interruptible():
            options.work(options)
        sys.stdout.flush()
    except DeployError as error:
        _stop(str(error), error.exit_code)
    except KeyboardInterrupt:
        _stop("interrupted", 130)
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # a full disk, a folder that went away
        if options.debug:
            raise
        place = f" ({error.filename})" if error.filename else ""
        _stop(f"{explain_disk_error(error)}{place}", 1)
    except Exception as error:  # a defect of ours: one line all the same, and its place on request
        if options.debug:
            raise
        _stop(f"unexpected {type(error).__name__}: {error} (--debug shows where)", 1)
    sys.exit(0)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM, and a terminal that goes away, end the work as Ctrl-C does: what is temporary is removed."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():  # signals can be caught nowhere else
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = _Parser(
        prog="deploy",
        description="Put a detector on a device: run it, evaluate it, measure it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"detopt {__version__}", help="print the version and end"
    )
    known = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)
    for add in (
        _add_run,
        _add_adopt,
        _add_evaluate,
        _add_errors,
        _add_convert,
        _add_sign,
        _add_measure,
        _add_compare,
        _add_check,
        _add_build,
        _add_targets,
        _add_agent,
    ):
        add(known)
    return parser


def _add_run(known: Any) -> None:
    run = _add_for_bundle(known, "run", commands.run_bundle, "find objects in images, videos and cameras")
    run.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="image, folder of images, video, camera (0 or /dev/video0), or URL"
    )
    run.add_argument(
        "--out", type=Path, metavar="DIR", help="write pictures and videos with the objects drawn into this folder"
    )
    run.add_argument("--score", type=share, default=0.3, help="leave out objects below this score (default: 0.3)")
    run.add_argument(
        "--every", type=count, default=1, metavar="N", help="take every Nth frame of videos and cameras (default: 1)"
    )
    run.add_argument("--max-frames", type=count, metavar="N", help="stop after so many images and frames in all")
    add_detecting(run, "print one JSON object per line, one line per image or frame")


def _add_adopt(known: Any) -> None:
    adopt = _add_command(
        known, "adopt", commands.adopt_bundle, "make a bundle of an ONNX model from elsewhere", ADOPT_HELP
    )
    adopt.add_argument("model", metavar="MODEL.onnx", type=Path, help="ONNX model with fixed shapes, in one file")
    adopt.add_argument(
        "--head", choices=list(HEADS), help="what its outputs mean, see below (default: by their names and shapes)"
    )
    adopt.add_argument(
        "--classes", required=True, metavar="FILE|coco", help="class names, one per line, in the order of its labels"
    )
    adopt.add_argument("--out", required=True, type=Path, metavar="BUNDLE", help="folder to write")
    adopt.add_argument("--order", choices=("rgb", "bgr"), help="order of the colour channels (default: the head's)")
    for name, kind, text in (
        ("--mean", float, "subtracted from each channel, in 0..255 units (default: 0 0 0)"),
        ("--std", float, "what each channel is divided by (default: 1 1 1)"),
        ("--pad", int, "grey levels of the padding (default: 114 114 114)"),
    ):
        adopt.add_argument(name, type=kind, nargs=3, metavar="N", help=text)
    adopt.add_argument(
        "--max-detections", type=count, metavar="N", help="keep the best N per image (default: the head's, 100)"
    )
    adopt.add_argument("--antialias", action="store_true", help="shrink images as Pillow does (default: as OpenCV)")
    add_trust(adopt)


def _add_evaluate(known: Any) -> None:
    evaluate = _add_for_bundle(known, "evaluate", labelled.evaluate_bundle, "average precision on labelled images")
    add_labelled(evaluate)
    evaluate.add_argument(
        "--max-detections",
        type=count,
        default=100,
        metavar="N",
        help="keep the best N per image and class (default: 100)",
    )
    add_detecting(evaluate, "print JSON")


def _add_errors(known: Any) -> None:
    errors = _add_for_bundle(
        known, "errors", labelled.analyse_bundle, "which mistakes cost how much, on labelled images", ERRORS_HELP
    )
    add_labelled(errors)
    errors.add_argument("--out", type=Path, metavar="PAGE.html", help="write a page with the curves of every class")
    add_detecting(errors, "print JSON, with all the curves")


def _add_convert(known: Any) -> None:
    convert = _add_command(
        known,
        "convert",
        commands.convert_bundle,
        "write a bundle in another precision, and say what it loses",
        CONVERT_HELP,
    )
    convert.add_argument("bundle", metavar="BUNDLE", help="folder of a bundle in fp32")
    convert.add_argument("--precision", required=True, choices=list(CONVERSIONS), help="what layers compute in")
    convert.add_argument(
        "--data", metavar="PATH", type=Path, required=True, help="labelled images: train to calibrate with, val for AP"
    )
    convert.add_argument("--out", metavar="BUNDLE", type=Path, help="folder to write (default: BUNDLE-PRECISION)")
    convert.add_argument(
        "--max-ap-drop", type=share, default=0.01, metavar="AP", help="largest loss to accept (default: 0.01)"
    )
    convert.add_argument(
        "--images",
        type=count,
        default=64,
        metavar="N",
        help="images of the train split to calibrate with (default: 64)",
    )
    add_detecting(convert, "print JSON")


def _add_sign(known: Any) -> None:
    pack = _add_for_bundle(
        known, "pack", commands.pack_bundle, "write what Triton or DeepStream loads of a bundle", PACK_HELP
    )
    pack.add_argument("--for", dest="consumer", required=True, choices=list(PACKS), help="who is to run it, see below")
    pack.add_argument("--out", metavar="FOLDER", type=Path, required=True, help="folder to write; it must not exist")
    add_signature(pack)

    sign = _add_for_bundle(known, "sign", commands.sign_bundle, "sign a bundle with a key of OpenSSH", SIGN_HELP)
    sign.add_argument(
        "--key", metavar="KEY", type=Path, required=True, help="private key, or public key of ssh-agent's"
    )


def _add_measure(known: Any) -> None:
    measure = _add_command(known, "measure", commands.measure_model, "latency of a bundle or of any ONNX model")
    measure.add_argument("model", metavar="BUNDLE|MODEL.onnx", help="what to time; its shapes must be fixed")
    measure.add_argument(
        "--base", metavar="OTHER", help="a second model, timed in turns with the first: gives the ratio"
    )
    add_trust(measure)
    add_measuring(measure)


def _add_compare(known: Any) -> None:
    both = _add_command(known, "compare", commands.compare_bundles, "two bundles side by side, timed in turns")
    both.add_argument("first", metavar="BUNDLE", help="folder of a bundle")
    both.add_argument("second", metavar="BUNDLE", help="folder of the bundle it is compared with")
    add_measuring(both)


def _add_check(known: Any) -> None:
    check = _add_command(
        known,
        "check",
        graphs.check_compatibility,
        "what each TensorRT release would refuse in a model, offline",
        CHECK_HELP,
    )
    check.add_argument("model", metavar="BUNDLE|MODEL.onnx", help="what to check")
    releases = ", ".join((*VERSIONS, RTX.version))
    check.add_argument("--tensorrt", choices=(*VERSIONS, RTX.version), metavar="VERSION",
        help=f"one of {releases} (default: all of TensorRT, not of TensorRT for RTX)")  # fmt: skip
    check.add_argument("--build", action="store_true", help="have TensorRT for RTX build it; this needs no GPU")
    add_gpus(check, f"--build for these GPUs (default: {','.join(GPUS)})")
    add_trust(check)
    add_signature(check)
    add_json(check, "print JSON")


def _add_build(known: Any) -> None:
    build = _add_command(known, "build", graphs.build_plan, "build the TensorRT plan of a model for this machine")
    build.add_argument("model", metavar="BUNDLE|MODEL.onnx", help="what to build")
    which = build.add_mutually_exclusive_group()
    which.add_argument("--engine", choices=list(ENGINES), default="trt", help="engine to build for (default: trt)")
    which.add_argument("--target", metavar="NAME", help="a known target, or a TOML file; its engine is built")
    build.add_argument("--level", default="search", choices=list(EFFORTS), help="effort (default: search; final: more)")
    add_gpus(build, "ahead of time for these GPUs, by trt-rtx (default: the GPU of this machine)")
    build.add_argument(
        "--out", type=Path, metavar="DIR", help="keep the plan in this folder (default: the user's cache)"
    )
    add_trust(build)
    add_signature(build)
    add_json(build, "print the build's record as JSON")


def _add_targets(known: Any) -> None:
    targets = _add_command(known, "targets", commands.list_targets, "list the known devices and whether they work")
    add_json(targets, "print one JSON object per line")
    one = targets.add_subparsers(metavar="check")
    target = _add_command(one, "check", commands.check_target, "list what a device has and lacks, and what to do")
    target.add_argument("target", metavar="NAME", help="a known target, or a TOML file")
    add_host(target)
    add_json(target, "print JSON")


def _add_agent(known: Any) -> None:
    agent = _add_command(known, "agent", commands.serve_requests, "answer requests on stdin; started over ssh")
    agent.add_argument("cache", metavar="CACHE", type=Path, help="folder of the pushed files")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, as every other error."""
        print(f"deploy: {message} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(2)


def _stop(text: str, code: int) -> NoReturn:
    show_progress("")
    print(f"deploy: {make_printable(text, LINE_LIMIT)}", file=sys.stderr)
    sys.exit(code)


def _add_command(
    known: Any, name: str, work: Callable[[argparse.Namespace], None], summary: str, epilog: str | None = None
) -> argparse.ArgumentParser:
    shape = argparse.RawDescriptionHelpFormatter if epilog else argparse.HelpFormatter
    parser: argparse.ArgumentParser = known.add_parser(
        name, help=summary, description=summary, epilog=epilog, formatter_class=shape
    )
    parser.set_defaults(work=work)
    parser.add_argument("--debug", action="store_true", help="show a traceback where something unexpected happens")
    return parser


def _add_for_bundle(
    known: Any, name: str, work: Callable[[argparse.Namespace], None], summary: str, epilog: str | None = None
) -> argparse.ArgumentParser:
    """A command on one bundle."""
    parser = _add_command(known, name, work, summary, epilog)
    parser.add_argument("bundle", metavar="BUNDLE", help="folder of a bundle")
    return parser
