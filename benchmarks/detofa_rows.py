"""What do ways to train a once-for-all network for detection cost, and how good are its subnets? DetOFA's comparison.

    python benchmarks/detofa_rows.py --data FOLDER --work FOLDER [--first-seed 0] [--seeds 2] [--report reports/FILE.md]

OFA without and with progressive shrinking, CompOFA* and DetOFA, each a CenterNet on a once-for-all ResNet of a quarter
of the width and some two thirds of the blocks, on small copies of a folder's images. A process of one thread for each
seed; about 15 minutes each. Work that was stopped goes on when the same command is started again. Costs are seconds of
CPU time.

Five budgets are the upper ends of five buckets of the body's operations. Of each budget as many subnets are judged by
their loss on images that are kept out, with BatchNorm measured anew: those that the filter finds best (DetOFA), random
ones of the bucket otherwise. The best of them has the AP, on validation images. Besides that, the same random paths are
evaluated in every network that draws D and W on their own. The filter's rows are those of `path_filter_rows.py`, on
paths that the network without shrinking was judged on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from detofa_report import COUPLED, FILTERED, PLAIN, SHRUNK, SPLITS, list_lines
from export_vs_torchvision import describe_machine
from path_filter_rows import ROWS, measure_row
from PIL import Image
from rich.console import Console

from deploy.data import Dataset, read_dataset
from deploy.files import replace_folder
from optimizer.arch.bodies.ofa_resnet import OfaShape
from optimizer.arch.families import OFA_SHAPES
from optimizer.arch.ofa_space import OfaSpace, OfaSubnet
from optimizer.arch.spec import ArchSpec
from optimizer.data.splits import keep_out
from optimizer.path_filter.buckets import Buckets
from optimizer.path_filter.evolution import Breeding, evolve
from optimizer.path_filter.ranking import Validated, split
from optimizer.path_filter.space import Genes
from optimizer.progress import RunProgress
from optimizer.seeds import derive_seed
from optimizer.supernet.filter_config import Filtering
from optimizer.supernet.filtering import measure_loss, open_guide
from optimizer.supernet.ofa_config import OfaConfig, OfaRecipe
from optimizer.supernet.pool import TeacherPool, evaluate_teacher, extract_calibrated
from optimizer.supernet.training import PoolImages, train_pool
from optimizer.train.config import TrainConfig

NARROW = OfaShape((1, 1, 1, 1), (2, 2, 2, 2), (64, 128, 256, 512), 16, 8)
FAMILY = "ofa_resnet50"
NECK, HEAD = 64, 32  # channels; the usual ones would take most of the time
WAYS: Mapping[str, Mapping[str, Any]] = {
    PLAIN: {}, FILTERED: {"shrinking": "filter"}, COUPLED: {"coupled": True}, SHRUNK: {"shrinking": "dwe"},
}  # fmt: skip
CPU = torch.device("cpu")
SAVED_EVERY_S = 2.0
LEAST_JUDGED = 10
JUST_WITHIN = 0.999  # of a bucket's upper end, which itself is in the next bucket
FULL_ARCH = OfaSpace.arch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of networks and figures, kept to go on")
    parser.add_argument("--first-seed", type=int, default=0, help="of those that are run, or found done, and reported")
    parser.add_argument("--seeds", type=int, default=2, help="how many, each in a process of its own")
    parser.add_argument("--data", type=Path, required=True, help="folder of images, with validation images")
    parser.add_argument("--epochs", type=int, default=42, help="of a training; with progressive shrinking three times")
    parser.add_argument("--width", type=int, default=128, help="of the copies of the images, and of the canvas")
    parser.add_argument("--height", type=int, default=96)
    parser.add_argument("--paths", type=int, default=12, help="per bucket that the filter is fitted to, each time")
    parser.add_argument("--looks", type=int, default=4, help="subnets that are judged for each budget")
    parser.add_argument("--common", type=int, default=2, help="random paths per bucket, evaluated in every network")
    parser.add_argument("--judged", type=int, default=20, help="paths per bucket for the filter's rows")
    parser.add_argument("--report", type=Path, help="Markdown file to write, with a JSON file beside it")
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.judged < LEAST_JUDGED:
        parser.error(f"--judged is {options.judged}; the filter's rows need at least {LEAST_JUDGED}")
    if options.seed is not None:
        torch.set_num_threads(1)
        with patch.dict(OFA_SHAPES, {FAMILY: NARROW}), patch.object(OfaSpace, "arch", make_narrow):
            do_seed(options, options.work / f"seed-{options.seed}")
        return
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, *sys.argv]
    children = [subprocess.Popen([*command, "--seed", str(seed)], env=environment) for seed in list_seeds(options)]
    codes = [child.wait() for child in children]
    if any(codes):
        sys.exit("a process ended with an error; its last lines are above. Start again to go on")
    result = gather(options)
    text = "\n".join(list_lines(result, options.report.with_suffix(".json").name if options.report else ""))
    print(text)
    if options.report is not None:
        options.report.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
        options.report.write_text(text + "\n")


def list_seeds(options: argparse.Namespace) -> range:
    return range(options.first_seed, options.first_seed + options.seeds)


def make_narrow(space: OfaSpace, subnet: OfaSubnet) -> ArchSpec:
    """To stand in for `OfaSpace.arch`: the same body under a narrow neck and head."""
    arch = FULL_ARCH(space, subnet)
    return narrow(arch, NECK, dict.fromkeys(arch.head.widths, HEAD))


def narrow(arch: ArchSpec, neck_width: int, head_widths: Mapping[str, int]) -> ArchSpec:
    """The same body under a neck and a head with these widths."""
    neck, head = arch.neck, arch.head
    for name in neck.widths:
        neck = neck.with_width(name, neck_width)
    for name, width in head_widths.items():
        head = head.with_width(name, width)
    return replace(arch, neck=neck, head=head)


class Meter(RunProgress):
    """Seconds of CPU time by what they were for, kept in a file as they pass; what is done again counts again."""

    def __init__(self, path: Path) -> None:
        super().__init__(Console(quiet=True))
        self.path, self.what = path, "training"
        kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"starts": 0, "seconds": {}}
        self.starts: int = kept["starts"] + 1
        self.seconds: dict[str, float] = kept["seconds"]
        self._last = self._saved = time.process_time()

    def say(self, text: str) -> None:
        step = text.removeprefix("path filter: ")
        if step != text:
            self.switch("training" if step in ("warm-up", "training") else "sampling")

    def start_step(self, text: str, total: int) -> None:
        self.switch("training" if text.startswith("teachers ") else "AP")

    def advance_step(self, completed: int, note: str = "") -> None:
        self._count()
        if self._last - self._saved > SAVED_EVERY_S:
            self._save()

    def switch(self, what: str) -> None:
        self._count()
        self.what = what
        self._save()

    def _count(self) -> None:
        now = time.process_time()
        self.seconds[self.what] = self.seconds.get(self.what, 0.0) + now - self._last
        self._last = now

    def _save(self) -> None:
        self._saved = self._last
        temporary = self.path.with_suffix(".new")
        temporary.write_text(json.dumps({"starts": self.starts, "seconds": self.seconds}))
        temporary.replace(self.path)


def make_config(options: argparse.Namespace, way: str, seed: int) -> OfaConfig:
    train = TrainConfig(
        epochs=options.epochs, lr=2e-3, optimizer="adamw", schedule="cosine", warmup_steps=20, weight_decay=1e-2,
        precision="fp32",  # which is faster than bf16 on networks as narrow
    )  # fmt: skip
    recipe = OfaRecipe(
        train=train, filtering=Filtering(paths=options.paths), batch_size=8, calibration_images=32, **WAYS[way]
    )
    return recipe.make(FAMILY, ((options.width, options.height),), 100, "centernet").model_copy(update={"seed": seed})


def do_seed(options: argparse.Namespace, folder: Path) -> None:
    """Whatever is not done yet of one seed."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "data"
    if not data.exists():
        shrink_images(options.data, data, (options.width, options.height))
    train, val = read_dataset(data, "train"), read_dataset(data, "val")
    fit, kept = keep_out(train)
    images = PoolImages(data, fit, val, True, kept)
    for way in WAYS:
        figures = folder / f"{way}.json"
        if figures.exists():
            continue
        config, place = make_config(options, way, options.seed), folder / way
        meter = Meter(folder / f"{way}.clock")
        pool = train_pool(place, config, images, CPU, meter)
        meter.switch("search")
        row = look_within(options, pool, kept, val)
        if way == PLAIN:
            meter.switch("filter rows")
            row["filter"] = measure_rows(options, pool, kept)
        meter.switch("end")
        row |= {"seconds": meter.seconds, "starts": meter.starts, "epochs": config.epochs}
        figures.write_text(json.dumps(row))
        print(f"seed {options.seed}, {way}: {json.dumps(row['budgets'])}", flush=True)


def shrink_images(source: Path, folder: Path, size: tuple[int, int]) -> None:
    """Copies of a data set's images on so small a canvas, so that no step waits for large ones to be decoded."""
    with replace_folder(folder) as aside:
        (aside / "annotations").mkdir()
        for split in ("train", "val"):
            (aside / split).mkdir()
            dataset = read_dataset(source, split)
            images: list[dict[str, Any]] = []
            objects: list[dict[str, Any]] = []
            for number, record in enumerate(dataset.records):
                image = {"id": number, "file_name": f"{number:05d}.png", "width": size[0], "height": size[1]}
                small = Image.open(record.path).convert("RGB").resize(size, Image.Resampling.BOX)
                small.save(aside / split / str(image["file_name"]))
                images.append(image)
                scale = np.array([size[0] / record.width, size[1] / record.height] * 2)
                for (left, top, right, bottom), label in zip(record.boxes_xyxy * scale, record.labels, strict=True):
                    box = [float(left), float(top), float(right - left), float(bottom - top)]
                    objects.append(
                        {"id": len(objects), "image_id": number, "category_id": int(label), "bbox": box,
                         "area": box[2] * box[3], "iscrowd": 0}
                    )  # fmt: skip
            names = [{"id": number, "name": name} for number, name in enumerate(dataset.class_names)]
            content = {"images": images, "annotations": objects, "categories": names}
            (aside / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def look_within(options: argparse.Namespace, pool: TeacherPool, kept: Dataset, val: Dataset) -> dict[str, Any]:
    """AP of the best subnet of each budget, and of paths that other networks are asked for as well."""
    config = pool.config
    assert isinstance(config, OfaConfig)
    space, whole = config.space(), OfaSpace(FAMILY, config.sizes, 100, config.detector)
    buckets, guide = Buckets.between_ends(whole), open_guide(pool.manifest)
    rng = np.random.default_rng(derive_seed(options.seed, "looks"))
    if guide is not None:
        limits = [edge * JUST_WITHIN for edge in buckets.edges[1:-1]] + [buckets.edges[-1]]
        bred = evolve(guide.buckets, guide.score, limits, rng, Breeding(50, 50), guide.pruned)
        candidates = [found.genes[: options.looks] for found in bred]
    elif config.coupled:
        candidates = draw_coupled(space, buckets, options.looks, derive_seed(options.seed, "looks"))
    else:
        candidates = [buckets.draw(bucket, options.looks, rng) for bucket in range(buckets.count)]
    rows = []
    for genes, limit in zip(candidates, buckets.edges[1:], strict=True):
        losses = [find_loss(pool, path, kept) for path in genes]
        best = genes[int(np.argmin(losses))]
        ap = find_ap(pool, best, val)
        rows.append({"limit": limit, "macs": float(whole.cost(best[None])[0]), "ap": ap, "losses": losses})
    common: list[list[float]] = []
    if not config.coupled:
        shared = np.random.default_rng(derive_seed(options.seed, "common"))
        drawn = [buckets.draw(bucket, options.common, shared) for bucket in range(buckets.count)]
        common = [[find_ap(pool, path, val) for path in genes] for genes in drawn]
    return {"budgets": rows, "common": common}


def draw_coupled(space: OfaSpace, buckets: Buckets, count: int, seed: int) -> list[Genes]:
    """Random subnets whose D and W go together, of each bucket; of an empty one the largest that are cheaper."""
    rng = Random(seed)
    subnets = [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(4000))]
    whole = buckets.space
    assert isinstance(whole, OfaSpace)
    genes = np.unique(np.array([whole.genes(subnet) for subnet in subnets], dtype=np.int64), axis=0)
    genes = np.random.default_rng(seed).permutation(genes)
    numbers, costs = buckets.find(genes), buckets.cost(genes)
    found = []
    for bucket, limit in enumerate(buckets.edges[1:]):
        inside = np.flatnonzero(numbers == bucket)
        if not len(inside):
            cheaper = np.flatnonzero(costs <= limit)
            inside = cheaper[np.argsort(-costs[cheaper])]
        found.append(genes[inside[:count]])
    return found


def find_loss(pool: TeacherPool, genes: Genes, kept: Dataset) -> float:
    return measure_loss(extract(pool, genes), kept, CPU)


def find_ap(pool: TeacherPool, genes: Genes, val: Dataset) -> float:
    return evaluate_teacher(extract(pool, genes), val, CPU)


def extract(pool: TeacherPool, genes: Genes) -> Any:
    config = pool.config
    whole = OfaSpace(FAMILY, config.sizes, 100, config.detector)
    subnet = whole.subnet(genes.tolist(), config.sizes[0])
    return extract_calibrated(pool.supernet, subnet, config, pool.calibration, CPU)


def measure_rows(options: argparse.Namespace, pool: TeacherPool, kept: Dataset) -> dict[str, list[dict[str, float]]]:
    """The rows of `path_filter_rows.py`, on paths that this network is judged on."""
    space = pool.config.space()
    assert isinstance(space, OfaSpace)
    buckets = Buckets.between_ends(space)
    genes = buckets.draw_each(options.judged, np.random.default_rng(derive_seed(options.seed, "judged")))
    paths = Validated(genes, np.array([find_loss(pool, path, kept) for path in genes]))
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in ROWS}
    for number in range(SPLITS):
        seed = derive_seed(options.seed, "split", number)
        fitted, tested = split(buckets.find(genes), 0.2, np.random.default_rng(seed))
        for name, (config, how) in ROWS.items():
            prepared = paths.select(fitted), paths.select(tested)
            rows[name].append(asdict(measure_row(buckets, config, how, prepared, seed)))
    return rows


def gather(options: argparse.Namespace) -> dict[str, Any]:
    seeds = list_seeds(options)
    rows = {
        way: [json.loads((options.work / f"seed-{seed}" / f"{way}.json").read_text()) for seed in seeds] for way in WAYS
    }
    asked = {name: value for name, value in vars(options).items() if name not in ("data", "work", "report", "seed")}
    asked = {name.replace("_", "-"): value for name, value in asked.items()}
    return {
        "date": datetime.now(timezone.utc).date().isoformat(), "machine": describe_machine(1), "asked": asked,
        "images": len(read_dataset(options.data, "train").records), "rows": rows,
    }  # fmt: skip


if __name__ == "__main__":
    main()
