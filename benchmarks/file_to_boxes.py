"""What does it cost to go from an image file to boxes in its pixels, beside decoding the file and a bare `session.run`?

    python benchmarks/file_to_boxes.py [--yolox yolox_nano_416.onnx] [--images photos/]

`deploy`'s detector reads a file, scales and normalises it, runs the model, selects, and moves the boxes back into the
image. The other side reads the file by Pillow and runs ONNX Runtime on a canvas that is ready, and throws the outputs
away. Both in turns, in one process. Wanted: 1.10 for Faster R-CNN R18 at 640x480, 2 ms for YOLOX-nano.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path

import numpy as np
import onnxruntime
from export_vs_torchvision import CORES, build_ours, read_canvas
from latency_vs_others import open_session
from PIL import Image
from side_by_side import Outcome, add_options, compare, finish, time_in_turns

from deploy import BundleManifest, Detector, ModelStatement, Preprocess, adopt_model, open_detector, write_bundle
from deploy.bundles.adopt import read_class_names
from deploy.export import export_onnx
from optimizer.arch import base_arch
from optimizer.detectors import build_detector

WANTED_RATIO, WANTED_MS = 1.10, 2.0


def write_r18(folder: Path, size: tuple[int, int]) -> Path:
    """A bundle of a Faster R-CNN R18 with random weights that detects as many objects as a trained one."""
    detector = build_ours(size[0], 1000, read_canvas(None, size[0]))
    arch = base_arch("r18", size)
    ours = build_detector(arch, 80, seed=0)
    ours.load_state_dict(detector.state_dict())
    export_onnx(ours.eval(), size, folder / "r18.onnx")
    names = tuple(f"class {number}" for number in range(80))
    manifest = BundleManifest("r18", arch.arch_id, arch.to_json(), names, Preprocess.imagenet(*size))
    return write_bundle(folder / "r18", folder / "r18.onnx", manifest).folder


def write_photos(folder: Path) -> list[Path]:
    """Smooth random pictures of 640x480 as JPEG files."""
    paths, rng = [folder / f"{number}.jpg" for number in range(4)], np.random.default_rng(0)
    for path in paths:
        small = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
        small.resize((640, 480), Image.Resampling.BICUBIC).save(path, quality=90)
    return paths


def run_ours(detector: Detector, photos: list[Path]) -> Callable[[], object]:
    following = cycle(photos)
    return lambda: detector(str(next(following)))


def run_theirs(session: onnxruntime.InferenceSession, photos: list[Path]) -> Callable[[], object]:
    following, (first, *_) = cycle(photos), session.get_inputs()
    feed = {first.name: np.random.default_rng(0).random(first.shape, np.float32)}

    def run() -> object:
        with Image.open(next(following)) as image:
            np.asarray(image.convert("RGB"))
        return session.run(None, feed)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(640, 480), help="canvas of the R18")
    parser.add_argument("--yolox", type=Path, help="yolox_nano_416.onnx, whose file you trust")
    parser.add_argument("--images", type=Path, help="folder of JPEG files; generated ones without")
    parser.add_argument("--threads", type=int, default=CORES)
    add_options(parser, "file-to-boxes", 40)
    arguments = parser.parse_args()
    outcomes, samples = [], {}
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        photos = sorted(arguments.images.glob("*.jpg"))[:16] if arguments.images else write_photos(folder)
        bundles = {"r18": write_r18(folder, tuple(arguments.size))}
        if arguments.yolox is not None:
            stated = ModelStatement(read_class_names("coco"), "yolox")
            bundles["yolox_nano"] = adopt_model(arguments.yolox, folder / "yolox", stated, trust=True).folder
        for name, bundle in bundles.items():
            detector = stack.enter_context(open_detector(bundle, arguments.threads))
            session = open_session(bundle / "model.onnx", arguments.threads)
            runs = {"ours": run_ours(detector, photos), "bare": run_theirs(session, photos)}
            found = time_in_turns(runs, arguments.rounds, window=len(photos))
            ratio, ci95 = compare(found["ours"], found["bare"])
            more = float(np.median(found["ours"]) - np.median(found["bare"]))
            wanted = (WANTED_RATIO, None) if name == "r18" else (None, WANTED_MS)
            outcomes.append(
                Outcome(f"{name}: file to boxes over decoding and session.run", ratio, wanted[0], ci95=ci95)
            )
            outcomes.append(Outcome(f"{name}: milliseconds more than decoding and session.run", more, wanted[1]))
            samples[name] = found
    finish(arguments.json, __doc__.splitlines()[0], outcomes, samples_ms=samples)


if __name__ == "__main__":
    main()
