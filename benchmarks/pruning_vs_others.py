"""Is our pruning as good as Torch-Pruning's and ModelOpt's FastNAS, on the same detector, images and epochs?

    pip install 'detopt[bench]' [nvidia-modelopt 'torchprofile<0.0.5']
    python benchmarks/pruning_vs_others.py --run RUN --data DATA [--shares 0.7,0.5,0.35] [--epochs 2]

The body of a run's trained base is cut to the same multiply-accumulates by each, widths in multiples of eight
(FastNAS: of 32); neck and heads stay. Ours is what `pareto` does, in one shot: channels ranked by the loss, and layers
that make up for what they no longer read. Torch-Pruning's is `GroupNormPruner` with its default importance, the L2 norm
of groups. FastNAS, which is left out where it is not installed, looks at widths one by one, by AP on training images,
and searches among them; it needs a body whose modules it can trace. Then all are trained alike. AP is PyTorch's on the
validation images; latencies are of the exports, in turns in one process.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from export_vs_torchvision import CORES
from side_by_side import Outcome, add_options, compare, finish, time_in_turns
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from deploy import Preprocess
from deploy.data import Dataset, keep_fitting, read_dataset
from deploy.engines import open_engine
from deploy.evaluate import evaluate_detections
from deploy.export import export_onnx
from optimizer.arch import PruneChannels
from optimizer.data.loader import TrainLoader
from optimizer.detectors import Detector, Truth, load_detector
from optimizer.detectors.tensors import load_tensors
from optimizer.morph import measure_moments, measure_saliency, morph
from optimizer.recipes import quick
from optimizer.search.base import get_done
from optimizer.store import RunStore
from optimizer.train.loop import train
from optimizer.train.predict import predict
from optimizer.train.steps import DetectionStep

STUDIED, BATCH, ROUND_TO = 16, 4, 8  # batches that a network is studied on, images in one, channels
SCORED, COARSE = 24, 32  # images by whose AP FastNAS compares widths, and what these are multiples of: its own default


def count_macs(body: nn.Module, size: tuple[int, int]) -> float:
    """Multiply-accumulates of the body, as PyTorch itself counts them."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        body(torch.zeros(1, 3, size[1], size[0]))
    return counter.get_total_flops() / 2


def find_ratio(share: float, macs_at: Callable[[float], float]) -> float:
    """The ratio of pruning whose operations are nearest to this share of the base's, by bisection."""
    low, high = 0.0, 0.95
    for _ in range(10):
        middle = (low + high) / 2
        low, high = (middle, high) if macs_at(middle) > share else (low, middle)
    return (low + high) / 2


def draw_batches(dataset: Dataset, size: tuple[int, int]) -> Iterator[tuple[Tensor, list[Truth]]]:
    return islice(TrainLoader(dataset, Preprocess.imagenet(*size), batch_size=BATCH, seed=0).epoch(0), STUDIED)


def prune_ours(base: Detector, share: float, dataset: Dataset) -> Detector:
    """Channels of the body, ranked by the loss; readers make up for those they lose."""
    size, classes = base.arch.input_size, len(dataset.class_names)
    whole = count_macs(base.backbone.body, size)
    ranks = measure_saliency(base, draw_batches(dataset, size))
    moments = measure_moments(base, (images for images, _ in draw_batches(dataset, size)))

    def cut(ratio: float) -> Detector:
        action = PruneChannels(ratio=ratio, round_to=ROUND_TO)
        child = morph(base.state_dict(), base.arch, (action,), ranks, moments)
        return load_detector(child.arch, classes, child.weights)

    ratio = find_ratio(share, lambda ratio: count_macs(cut(ratio).backbone.body, size) / whole if ratio > 0.02 else 1.0)
    return cut(ratio)


def prune_theirs(base: Detector, share: float, dataset: Dataset) -> Detector:
    """The same by Torch-Pruning, which is shown body and neck; the neck's own widths stay."""
    import torch_pruning

    size = base.arch.input_size
    example, whole = torch.zeros(1, 3, size[1], size[0]), count_macs(base.backbone.body, size)

    def cut(ratio: float) -> Detector:
        detector = copy.deepcopy(base)
        for parameter in detector.parameters():
            parameter.requires_grad_()
        kept = [layer for layer in detector.backbone.fpn.modules() if isinstance(layer, nn.Conv2d)]
        pruner = torch_pruning.pruner.GroupNormPruner(
            detector.backbone, example, importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=ratio, ignored_layers=kept, round_to=ROUND_TO,
        )  # fmt: skip
        pruner.step()
        return detector

    return cut(find_ratio(share, lambda ratio: count_macs(cut(ratio).backbone.body, size) / whole))


def prune_by_fastnas(base: Detector, share: float, dataset: Dataset) -> Detector:
    """The same by NVIDIA ModelOpt, which scores widths by AP on the first training images."""
    import modelopt.torch.prune as modelopt
    from modelopt.torch.nas.utils import inference_flops

    detector, size = copy.deepcopy(base), base.arch.input_size
    for parameter in detector.parameters():
        parameter.requires_grad_()
    example, scored = torch.zeros(1, 3, size[1], size[0]), dataset.first(SCORED)
    body, whole = (count_macs(module, size) for module in (base.backbone.body, base.backbone))
    theirs = inference_flops(detector.backbone, dummy_input=example, unit=1.0)  # by their own count

    def score(backbone: nn.Module) -> float:
        detector.backbone = backbone
        return find_ap(detector, scored, size)

    layers = {"*": {"channel_divisor": COARSE}, "fpn.*": None}
    with tempfile.TemporaryDirectory() as folder:
        detector.backbone, _ = modelopt.prune(
            detector.backbone,
            mode=[("fastnas", {"nn.Conv2d": layers, "nn.BatchNorm2d": {"*": {}}})],
            constraints={"flops": theirs * (1 - (1 - share) * body / whole)},
            dummy_input=example,
            config={
                "data_loader": [images for images, _ in draw_batches(dataset, size)],
                "collect_func": lambda images: images,
                "score_func": score,
                "checkpoint": str(Path(folder) / "search.pt"),
                "verbose": False,
            },
        )
    return detector


PRUNERS = {"ours": prune_ours, "Torch-Pruning": prune_theirs, "FastNAS": prune_by_fastnas}


def train_alike(detector: Detector, dataset: Dataset, epochs: int, size: tuple[int, int]) -> None:
    recipe = quick(Path("images")).trial_train.model_copy(update={"epochs": epochs})
    loader = TrainLoader(dataset, [Preprocess.imagenet(*size)], batch_size=BATCH, seed=1, augment="light")
    train(detector, loader, DetectionStep(), recipe, seed=1)


def find_ap(detector: Detector, dataset: Dataset, size: tuple[int, int]) -> float:
    found = predict(detector.eval(), dataset.records, Preprocess.imagenet(*size), torch.device("cpu"))
    return evaluate_detections(dataset, found).ap


def read_base(run: Path, class_count: int) -> Detector:
    with RunStore.open(run, writable=False) as store:
        trial = get_done(store.history(), 0)
        weights = load_tensors(store.artefacts.find(trial, "weights"), trial.files.weights)
    return load_detector(trial.arch, class_count, weights)


def measure_share(
    base: Detector, share: float, data: tuple[Dataset, Dataset], epochs: int, rounds: int, sides: Sequence[str]
) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """One size of student by all: operations, AP before and after training; and milliseconds of all and the base."""
    size, rows = base.arch.input_size, {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        detectors = {"base": base}
        for name in sides:
            student = PRUNERS[name](base, share, data[0])
            macs = count_macs(student.backbone.body, size) / count_macs(base.backbone.body, size)
            before = find_ap(student, data[1], size)
            train_alike(student, data[0], epochs, size)
            rows[name] = {"macs": macs, "untrained_ap": before, "ap": find_ap(student, data[1], size)}
            detectors[name] = student
            print(f"{share:g} {name}: {rows[name]}", flush=True)
        runs = {}
        for name, detector in detectors.items():
            path = Path(folder) / f"{len(runs)}.onnx"
            export_onnx(detector.eval(), size, path)
            engine = stack.enter_context(open_engine(path, CORES))
            image = next(draw_batches(data[1], size))[0][:1].numpy()
            runs[name] = partial(engine.infer, {"images": image})
        samples = time_in_turns(runs, rounds, window=5, warm_up=5)
    for name in sides:
        rows[name]["latency"] = compare(samples[name], samples["base"])[0]
    return rows, samples


def interpolate(rows: list[dict[str, Any]], base_ap: float, latency: float) -> float | None:
    """AP that the other side has at this latency, on the line through its students and the base; None beyond them."""
    points = sorted([(1.0, base_ap), *((row["latency"], row["ap"]) for row in rows)])
    costs, aps = zip(*points)
    return float(np.interp(latency, costs, aps)) if costs[0] <= latency <= costs[-1] else None


def list_outcomes(rows: dict[str, dict[str, Any]], base_ap: float) -> Iterator[Outcome]:
    for share, row in rows.items():
        ours = row["ours"]
        for side in sorted(row.keys() - {"ours"}):
            question = f"AP of ours less that of {side} at {share} of the body's operations"
            yield Outcome(question, ours["ap"] - row[side]["ap"], 0.0, True)
            others = [other[side] for other in rows.values()]
            at_latency = interpolate(others, base_ap, ours["latency"])
            if at_latency is not None:
                question = f"AP of ours less that of {side} at the latency of our student of {share}"
                yield Outcome(question, ours["ap"] - at_latency, 0.0, True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="whose trained base is pruned")
    parser.add_argument("--data", type=Path, required=True, help="the images it was trained on")
    parser.add_argument(
        "--shares", default=(0.7, 0.5, 0.35), type=lambda text: [float(part) for part in text.split(",")]
    )
    parser.add_argument("--epochs", type=int, default=2, help="that each student is trained (default: 2)")
    add_options(parser, "pruning-vs-others", 20)
    arguments = parser.parse_args()
    try:
        import torch_pruning
    except ImportError as error:
        sys.exit(f"this needs Torch-Pruning ({error}): pip install 'detopt[bench]'")
    sides = [name for name in PRUNERS if name != "FastNAS" or importlib.util.find_spec("modelopt")]
    if "FastNAS" not in sides:
        print("FastNAS is left out: nvidia-modelopt is not installed", flush=True)
    train_data, val_data = (keep_fitting(read_dataset(arguments.data, split)) for split in ("train", "val"))
    base = read_base(arguments.run, len(train_data.class_names))
    rows, samples = {}, {}
    for share in arguments.shares:
        name = f"{share:g}"
        rows[name], samples[name] = measure_share(
            base, share, (train_data, val_data), arguments.epochs, arguments.rounds, sides
        )
    base_ap = find_ap(base, val_data, base.arch.input_size)
    finish(
        arguments.json, __doc__.splitlines()[0], list(list_outcomes(rows, base_ap)), rows=rows, samples_ms=samples,
        torch_pruning=torch_pruning.__version__, base_ap=base_ap, epochs=arguments.epochs,
    )  # fmt: skip


if __name__ == "__main__":
    main()
