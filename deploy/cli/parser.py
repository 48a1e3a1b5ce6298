"""`deploy ...`: the command line. It parses, `commands` and `graphs` do the work. argparse, because boards have it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import textwrap
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator, NoReturn, Sequence

from deploy.builders.compatibility import SEVERITIES, VERSIONS
from deploy.builders.offline import GPUS
from deploy.builders.plans import EFFORTS
from deploy.builders.precision import CONVERSIONS
from deploy.builders.releases import RELEASES, RTX
from deploy.cli import commands, graphs, labelled
from deploy.cli.terminal import escape_what_cannot_be_printed, show_progress
from deploy.engines import ENGINES
from deploy.error_analysis.curves import CURVES, LOSSES
from deploy.errors import DeployError, explain_disk_error
from deploy.foreign import make_printable
from deploy.measuring.protocols import PROTOCOLS
from deploy.pipeline.decode import HEADS

__all__ = ["build_parser", "main"]

EXAMPLES = """examples:
  deploy run runs/demo/bundles/base street.jpg photos/ --out drawn
  deploy run runs/demo/bundles/base photos/ --json > found.jsonl
  deploy run runs/demo/bundles/base street.mp4 --every 5 --out drawn
  deploy run runs/demo/bundles/base /dev/video0 --json
  deploy evaluate runs/demo/bundles/base --data path/to/labelled/images
  deploy errors runs/demo/bundles/base --data path/to/labelled/images --out errors.html
  deploy measure runs/demo/bundles/student-003 --base runs/demo/bundles/base --images photos/
  deploy measure any_model.onnx --trust --level final --json
  deploy adopt any_model.onnx --head yolox --classes coco --out adopted --trust
  deploy compare runs/demo/bundles/student-003 runs/demo/bundles/base
  deploy check any_model.onnx --tensorrt 10.3
  deploy build runs/demo/bundles/student-003 --engine trt --level final
  deploy convert runs/demo/bundles/student-003 --precision int8 --data my_images
  deploy sign runs/demo/bundles/student-003 --key ~/.ssh/id_ed25519

exit codes: 0 done, 1 failed, 2 the input is wrong, 130 interrupted"""

CHECK_HELP = """which release a board has:
{}

what is found, by severity:
{}

Operators, types, opset, TopK sizes, sizes that depend on the data, zero points
of INT8: each is compared with what is documented of the release. Nothing is
built and no TensorRT is needed (but the onnx package is), so this is the check
before a board is contacted, not a promise that an engine is built there.

examples:
  deploy check any_model.onnx
  deploy check runs/demo/bundles/student-003 --tensorrt 10.3
  deploy check any_model.onnx --json > findings.json
  deploy check runs/demo/bundles/student-003 --build --for sm86,sm120

exit codes: 0 nothing is in the way, 1 something is refused or dynamic,
2 the input is wrong""".format(
    "\n".join(f"  {version:<7} {release.runs_on}" for version, release in RELEASES.items()),
    "\n".join(f"  {severity:<8} {meaning}" for severity, meaning in SEVERITIES.items()),
)

ADOPT_HELP = """An ONNX file says neither how an image is prepared for it nor what its outputs
mean. Said once, it is a bundle that run, evaluate, measure and compare take like
any other. The size of the canvas is that of the model's input.

heads:
{}

An image is scaled into the canvas's top-left corner; without options, its levels
stay 0 to 255 (0 to 1 for all heads but the first three), the padding is 114, and
the channels are in the head's order.
Labelled data is matched to the class names by name, so the ids that a data set
gives its categories do not matter.

examples:
  deploy adopt yolox_nano.onnx --head yolox --classes coco --out adopted --trust
  deploy adopt other.onnx --head detections --classes names.txt --out other \\
      --mean 123.675 116.28 103.53 --std 58.395 57.12 57.375 --trust

exit codes: 0 done, 2 the model is not trusted or is not what was said of it""".format(
    "\n".join("  {:<11} {}".format(name, "\n".ljust(15).join(textwrap.wrap(head.summary, 65)))
              for name, head in HEADS.items())
)  # fmt: skip

ERRORS_HELP = """Average precision says how much is wrong, this says what: COCO's error analysis.
Each curve of precision over recall forgives one more mistake than the one before,
and what lies between the two is what that mistake costs:
{}

C50 and what each mistake costs ({}) add up to 1. Means are
over classes that have an object. Similar classes have one super-category: the
data's own where its COCO JSON names them, COCO's where all classes are COCO's.
A bare model is made a bundle first, by deploy adopt.

examples:
  deploy errors runs/demo/bundles/base --data my_images --out errors.html
  deploy errors adopted --data coco --split test --json > errors.json

exit codes: 0 done, 1 failed, 2 the input is wrong""".format(
    "\n".join(f"  {name:<3}  {meaning}" for name, meaning in CURVES.items()), ", ".join(LOSSES)
)

CONVERT_HELP = """precisions:
  fp16  casts: convolutions, linears and what lies between them in float16;
        layers whose values exceed 10000 stay in fp32
  int8  pairs of QuantizeLinear and DequantizeLinear, symmetrical, one scale
        per channel for weights; the heads' last layers stay in fp32. For
        TensorRT what is not int8 is as in fp16
Box decoding, softmax, TopK, NMS, inputs and outputs are fp32 in both.

AP is that of the converted file, run by the engine that will run it. Where more
than --max-ap-drop is lost, the layers that cost most go back to fp16 (when
TensorRT is to run int8) or to fp32; where that does not help, nothing is written.
Whether it is faster, only the device says: deploy compare BUNDLE-int8 BUNDLE.

examples:
  deploy convert runs/demo/bundles/student-003 --precision int8 --data my_images
  deploy convert student --precision fp16 --data my_images --out student-fp16

exit codes: 0 done, 1 the loss stays above the bound, 2 the input is wrong"""


SIGN_HELP = """ssh-keygen signs bundle.json, which holds the hash of every file; the signature is
written beside it, as bundle.json.sig. Whoever uses the bundle names a file of the
signers that are believed, a name and a public key per line:

  echo "me@lab $(cat ~/.ssh/id_ed25519.pub)" > signers
  deploy run BUNDLE photos/ --require-signature signers

Hashes alone show that a bundle is as it was written; a signature shows by whom."""


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
    known = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)

    run = _add_command(known, "run", commands.run_bundle, "find objects in images, videos and cameras")
    run.add_argument("bundle", metavar="BUNDLE", help="folder of a bundle")
    run.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="image, folder of images, video, camera (0 or /dev/video0), or URL"
    )
    run.add_argument(
        "--out", type=Path, metavar="DIR", help="write pictures and videos with the objects drawn into this folder"
    )
    run.add_argument("--score", type=_share, default=0.3, help="leave out objects below this score (default: 0.3)")
    run.add_argument(
        "--every", type=_count, default=1, metavar="N", help="take every Nth frame of videos and cameras (default: 1)"
    )
    run.add_argument("--max-frames", type=_count, metavar="N", help="stop after so many images and frames in all")
    _add_target(run)
    _add_signature(run)
    _add_threads(run)
    _add_json(run, "print one JSON object per line, one line per image or frame")

    adopt = _add_command(known, "adopt", commands.adopt_bundle, "make a bundle of an ONNX model from elsewhere")
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
        "--max-detections", type=_count, metavar="N", help="keep the best N per image (default: the head's, 100)"
    )
    adopt.add_argument("--antialias", action="store_true", help="shrink images as Pillow does (default: as OpenCV)")
    _add_trust(adopt)
    adopt.epilog, adopt.formatter_class = ADOPT_HELP, argparse.RawDescriptionHelpFormatter

    evaluate = _add_command(known, "evaluate", labelled.evaluate_bundle, "average precision on labelled images")
    evaluate.add_argument("bundle", metavar="BUNDLE", help="folder of a bundle")
    _add_labelled(evaluate)
    evaluate.add_argument(
        "--max-detections",
        type=_count,
        default=100,
        metavar="N",
        help="keep the best N per image and class (default: 100)",
    )
    _add_target(evaluate)
    _add_signature(evaluate)
    _add_threads(evaluate)
    _add_json(evaluate, "print JSON")

    errors = _add_command(known, "errors", labelled.analyse_bundle, "which mistakes cost how much, on labelled images")
    errors.add_argument("bundle", metavar="BUNDLE", help="folder of a bundle")
    _add_labelled(errors)
    errors.add_argument("--out", type=Path, metavar="PAGE.html", help="write a page with the curves of every class")
    _add_target(errors)
    _add_signature(errors)
    _add_threads(errors)
    _add_json(errors, "print JSON, with all the curves")
    errors.epilog, errors.formatter_class = ERRORS_HELP, argparse.RawDescriptionHelpFormatter

    convert = _add_command(
        known, "convert", commands.convert_bundle, "write a bundle in another precision, and say what it loses"
    )
    convert.add_argument("bundle", metavar="BUNDLE", help="folder of a bundle in fp32")
    convert.add_argument("--precision", required=True, choices=list(CONVERSIONS), help="what layers compute in")
    convert.add_argument(
        "--data", metavar="PATH", type=Path, required=True, help="labelled images: train to calibrate with, val for AP"
    )
    convert.add_argument("--out", metavar="BUNDLE", type=Path, help="folder to write (default: BUNDLE-PRECISION)")
    convert.add_argument(
        "--max-ap-drop", type=_share, default=0.01, metavar="AP", help="largest loss to accept (default: 0.01)"
    )
    convert.add_argument(
        "--images",
        type=_count,
        default=64,
        metavar="N",
        help="images of the train split to calibrate with (default: 64)",
    )
    _add_target(convert)
    _add_signature(convert)
    _add_threads(convert)
    _add_json(convert, "print JSON")
    convert.epilog, convert.formatter_class = CONVERT_HELP, argparse.RawDescriptionHelpFormatter

    sign = _add_command(known, "sign", commands.sign_bundle, "sign a bundle with a key of OpenSSH")
    sign.add_argument("bundle", metavar="BUNDLE", help="folder of a bundle")
    sign.add_argument(
        "--key", metavar="KEY", type=Path, required=True, help="private key, or public key of ssh-agent's"
    )
    sign.epilog, sign.formatter_class = SIGN_HELP, argparse.RawDescriptionHelpFormatter

    measure = _add_command(known, "measure", commands.measure_model, "latency of a bundle or of any ONNX model")
    measure.add_argument("model", metavar="BUNDLE|MODEL.onnx", help="what to time; its shapes must be fixed")
    measure.add_argument(
        "--base", metavar="OTHER", help="a second model, timed in turns with the first: gives the ratio"
    )
    _add_trust(measure)
    _add_measuring(measure)

    both = _add_command(known, "compare", commands.compare_bundles, "two bundles side by side, timed in turns")
    both.add_argument("first", metavar="BUNDLE", help="folder of a bundle")
    both.add_argument("second", metavar="BUNDLE", help="folder of the bundle it is compared with")
    _add_measuring(both)

    check = _add_command(
        known, "check", graphs.check_compatibility, "what each TensorRT release would refuse in a model, offline"
    )
    check.add_argument("model", metavar="BUNDLE|MODEL.onnx", help="what to check")
    releases = ", ".join((*VERSIONS, RTX.version))
    check.add_argument("--tensorrt", choices=(*VERSIONS, RTX.version), metavar="VERSION",
        help=f"one of {releases} (default: all of TensorRT, not of TensorRT for RTX)")  # fmt: skip
    check.add_argument("--build", action="store_true", help="have TensorRT for RTX build it; this needs no GPU")
    _add_gpus(check, f"--build for these GPUs (default: {','.join(GPUS)})")
    _add_trust(check)
    _add_signature(check)
    _add_json(check, "print JSON")
    check.epilog, check.formatter_class = CHECK_HELP, argparse.RawDescriptionHelpFormatter

    build = _add_command(known, "build", graphs.build_plan, "build the TensorRT plan of a model for this machine")
    build.add_argument("model", metavar="BUNDLE|MODEL.onnx", help="what to build")
    which = build.add_mutually_exclusive_group()
    which.add_argument("--engine", choices=list(ENGINES), default="trt", help="engine to build for (default: trt)")
    which.add_argument("--target", metavar="NAME", help="a known target, or a TOML file; its engine is built")
    build.add_argument("--level", default="search", choices=list(EFFORTS), help="effort (default: search; final: more)")
    _add_gpus(build, "ahead of time for these GPUs, by trt-rtx (default: the GPU of this machine)")
    build.add_argument(
        "--out", type=Path, metavar="DIR", help="keep the plan in this folder (default: the user's cache)"
    )
    _add_trust(build)
    _add_signature(build)
    _add_json(build, "print the build's record as JSON")

    targets = _add_command(known, "targets", commands.list_targets, "list the known devices and whether they work")
    _add_json(targets, "print one JSON object per line")
    one = targets.add_subparsers(metavar="check")
    target = _add_command(one, "check", commands.check_target, "list what a device has and lacks, and what to do")
    target.add_argument("target", metavar="NAME", help="a known target, or a TOML file")
    _add_host(target)
    _add_json(target, "print JSON")

    agent = _add_command(known, "agent", commands.serve_requests, "answer requests on stdin; started over ssh")
    agent.add_argument("cache", metavar="CACHE", type=Path, help="folder of the pushed files")
    return parser


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, as every other error."""
        print(f"deploy: {message} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(2)


def _stop(text: str, code: int) -> NoReturn:
    show_progress("")
    print(f"deploy: {make_printable(text, 10_000)}", file=sys.stderr)
    sys.exit(code)


def _add_command(
    known: Any, name: str, work: Callable[[argparse.Namespace], None], summary: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = known.add_parser(name, help=summary, description=summary)
    parser.set_defaults(work=work)
    parser.add_argument("--debug", action="store_true", help="show a traceback where something unexpected happens")
    return parser


def _add_json(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--json", action="store_true", help=text)


def _add_labelled(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", metavar="PATH", type=Path, required=True, help="labelled images: a folder, or its data.yaml or JSON"
    )
    parser.add_argument("--split", default="val", choices=("train", "val", "test", "all"), help="default: val")


def _add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=_count, metavar="N", help="CPU threads (default: one per physical core)")


def _add_trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trust", action="store_true", help="load a model that is not in a bundle: you know its source"
    )


def _add_signature(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--require-signature",
        type=Path,
        metavar="SIGNERS",
        help="use a bundle only if one of these signed it (see deploy sign --help)",
    )


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", default="cpu", help="a known target, or a TOML file (default: cpu)")
    _add_host(parser)


def _add_measuring(parser: argparse.ArgumentParser) -> None:
    _add_target(parser)
    _add_signature(parser)
    parser.add_argument("--images", type=Path, nargs="+", metavar="PATH", help="feed these images (default: noise)")
    parser.add_argument("--level", default="screen", choices=list(PROTOCOLS), help="how thorough (default: screen)")
    _add_json(parser, "print the whole records as JSON")


def _add_gpus(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--for", dest="gpus", type=lambda names: names.split(","), metavar="sm86,sm89", help=text)


def _add_host(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host",
        default="",
        metavar="USER@BOARD",
        help="board of a target reached over ssh (default: from the hosts file)",
    )


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"a score lies between 0 and 1, not {text}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"at least 1, not {text}")
    return value
