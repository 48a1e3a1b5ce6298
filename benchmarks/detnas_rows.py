"""What do pre-training and search on the detection super-network give? The rows of DetNAS' table 4, at small scale.

    python benchmarks/detnas_rows.py run --work FOLDER [--seeds 3] [--first-seed 0] [--data DATA --size 160x120]
    python benchmarks/detnas_rows.py report --work FOLDER [--report reports/FILE.md]

`run` takes a process of one thread for each seed; one that was stopped goes on when the same command is started again.
`report` is of the seeds that are finished. Costs are seconds of CPU time.

Of each seed a super-network of a space's paths is pre-trained on crops and learns to detect, under a narrow neck and
head of Faster R-CNN; another one learns to detect from random weights, in twice the epochs. Evolution looks
for the best path within each limit of the body's operations: by AP in the super-network (DetNAS-P), by AP in the one
from scratch (DetNAS-S), and by the share of crops that the pre-trained body gives their class (ClsNASNet). AP and crops
are of images that are kept out of those trainings. Then these paths, the plain one (all blocks 3x3) and random ones are
trained for as many epochs each, from the pre-trained super-network's weights, and have the AP on validation images;
DetNAS-S is from random weights too, in twice the epochs; and from the same weights as the others in as many, which
tells what of that the epochs do.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from random import Random
from time import process_time
from typing import Any
from unittest.mock import patch

import torch
from detnas_judges import ClassJudge, Judge, PoolJudge, read_crops, time_judging
from detnas_table import CLASSES, LONGER, PRETRAINED, SCRATCH, SCRATCH_TOO, list_lines
from detofa_rows import Meter, narrow
from export_vs_torchvision import describe_machine

from deploy.data import Dataset, read_dataset
from deploy.files import write_file
from optimizer.arch.families import PATH_SPACES, PathSpace
from optimizer.arch.macs import count
from optimizer.arch.paths import PathSubnet, PathSubnets
from optimizer.arch.spec import ArchSpec
from optimizer.data.crops import ObjectCrops
from optimizer.data.pictures import PictureView
from optimizer.data.shapes import write_shapes
from optimizer.data.splits import keep_out
from optimizer.quantities import parse_size
from optimizer.recipes import quick
from optimizer.search.base import History, Proposal, ScreenedTrial
from optimizer.search.evolution import Breeding, Evolution, Price, count_body
from optimizer.search.loop import draw_numbers
from optimizer.seeds import derive_seed
from optimizer.supernet.manifest import pretrained_path
from optimizer.supernet.path_config import PathConfig
from optimizer.supernet.pool import TeacherPool, evaluate_teacher
from optimizer.supernet.pretraining import BodyClassifier, PretrainJob, checkpoint_path, train_classifier
from optimizer.supernet.training import PoolImages, train_pool
from optimizer.supernet.weights import load_weights, save_weights
from optimizer.trials.jobs import Batches, StudentJob, train_student

HALF = "half"  # places and half the width of ShuffleNetV2-20: a core trains all rows of it within half an hour
SPACES = {HALF: PathSpace((2, 2, 4, 2), (32, 80, 160, 320), 16, 512)}
NECK, HEAD = 64, {"RPN": 64, "box head": 128}  # channels; with the usual ones the body is a small part of the time
VIEW = {"size": (48, 48), "least_area": 0.5, "jitter": 0.2}  # of crops
PROPOSALS = 60
PRETRAIN_LR = LR = 3e-3
CPU = torch.device("cpu")
CROPS = 4  # that BatchNorm is measured anew on, for each image that a detector's is
FULL_ARCH = PathSubnets.arch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    run, report = actions.add_parser("run"), actions.add_parser("report")
    for action in (run, report):
        action.add_argument("--work", type=Path, required=True, help="folder of networks and figures, kept to go on")
    report.add_argument("--report", type=Path, help="Markdown file to write, with a JSON file beside it")
    run.add_argument("--seeds", type=int, default=3)
    run.add_argument("--first-seed", type=int, default=0)
    run.add_argument("--data", type=Path, help="folder of images; without it shapes are generated")
    run.add_argument("--size", default="96x72", help="canvas, and size of generated images")
    run.add_argument("--images", type=int, default=300, help="to train on, those that are kept out included")
    run.add_argument("--val", type=int, default=128)
    run.add_argument("--pretrain-epochs", type=int, default=14)
    run.add_argument("--epochs", type=int, default=20, help="of the super-network; from scratch twice as many")
    run.add_argument("--retrain-epochs", type=int, default=6, help="of a path; from scratch twice as many")
    run.add_argument("--space", default=HALF, help=f"{', '.join([*PATH_SPACES, HALF])} (a half of the first)")
    run.add_argument("--limits", default="56", help="millions of MACs of the body at 224x224, with commas")
    run.add_argument("--population", type=int, default=10)
    run.add_argument("--generations", type=int, default=4)
    run.add_argument("--random", type=int, default=5, help="random paths that are trained")
    run.add_argument("--correlated", type=int, default=10, help="paths at least that are trained, by more random ones")
    run.add_argument("--repeats", type=int, default=2, help="trainings of the plain path, to see what chance does")
    run.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.action == "report":
        write_report(options.work, options.report)
    elif options.seed is not None:
        torch.set_num_threads(1)
        with patch.dict(PATH_SPACES, SPACES), patch.object(PathSubnets, "arch", make_narrow):
            Rows.of(options).make()
    else:
        start_seeds(options)


def start_seeds(options: argparse.Namespace) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, *sys.argv, "--seed"]
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    children = [subprocess.Popen([*command, str(seed)], env=environment) for seed in seeds]
    codes = [child.wait() for child in children]
    if any(codes):
        sys.exit("a process ended with an error; its last lines are above. Start again to go on")


def make_narrow(space: PathSubnets, path: PathSubnet) -> ArchSpec:
    """To stand in for `PathSubnets.arch`: the same body under a narrow neck and head."""
    return narrow(FULL_ARCH(space, path), NECK, HEAD)


class PhaseMeter(Meter):
    """Whoever calls `switch` says what time is for, and nobody else does."""

    def say(self, text: str) -> None:
        pass

    def start_step(self, text: str, total: int) -> None:
        pass


@dataclass(frozen=True)
class Rows:
    """All of one seed; whatever is done is kept in files and not done again.

    Attributes:
        asked: what all seeds of a report have to share.
        size: canvas (width, height).
        kept: images of `train` that are kept out of everything but judging; `fit` are the others.
    """

    options: argparse.Namespace
    asked: Mapping[str, Any]
    seed: int
    folder: Path
    data: Path
    size: tuple[int, int]
    train: Dataset
    fit: Dataset
    kept: Dataset
    val: Dataset
    meter: PhaseMeter

    @classmethod
    def of(cls, options: argparse.Namespace) -> Rows:
        folder, size = options.work / f"seed-{options.seed}", parse_size(options.size)
        folder.mkdir(parents=True, exist_ok=True)
        data = options.data or folder / "data"
        if options.data is None:
            write_shapes(data, train=options.images, val=options.val, size=size, seed=options.seed)
        train, val = read_dataset(data, "train").first(options.images), read_dataset(data, "val").first(options.val)
        left_out = ("action", "work", "seed", "seeds", "first_seed", "data")
        asked = {name: value for name, value in vars(options).items() if name not in left_out}
        asked["data"] = options.data.name if options.data is not None else "generated shapes"
        asked["images"], asked["val"] = len(train.records), len(val.records)
        fit, kept = keep_out(train)
        meter = PhaseMeter(folder / "clock.json")
        return cls(options, asked, options.seed, folder, data, size, train, fit, kept, val, meter)

    def make(self) -> None:
        figures = self.folder / "figures.json"
        if figures.exists():
            return
        pools = {SCRATCH: self.train_supernet(SCRATCH), PRETRAINED: self.train_supernet(PRETRAINED)}
        judges = {
            PRETRAINED: PoolJudge(pools[PRETRAINED], self.fit, self.kept),
            SCRATCH: PoolJudge(pools[SCRATCH], self.fit, self.kept),
            CLASSES: self.open_classes(),
        }  # fmt: skip
        searches = {name: self.search(name, judge) for name, judge in judges.items()}
        rows = list(self.train_paths({name: search["found"] for name, search in searches.items()}))
        self.meter.switch("rank correlation")
        paths = dict.fromkeys(row["path"] for row in rows)
        fitness = {name: [judge(self.read_path(path)) for path in paths] for name, judge in judges.items()}
        self.meter.switch("time of judging")
        sizes, seed = (self.size, (320, 240)), derive_seed(self.seed, "judging")
        judging = {
            "{}x{}".format(*size): list(time_judging(pools[PRETRAINED], self.train, size, seed)) for size in sizes
        }
        self.meter.switch("end")
        content = {
            "seed": self.seed, "asked": dict(self.asked), "machine": describe_machine(1), "searches": searches,
            "depths": PATH_SPACES[self.options.space].depths, "rows": rows, "paths": list(paths),
            "fitness": fitness, "judging": judging, "kept": len(self.kept.records),
            "seconds": self.meter.seconds, "starts": self.meter.starts,
        }  # fmt: skip
        write_file(figures, (json.dumps(content) + "\n").encode())
        self.tell("finished")

    def tell(self, text: str) -> None:
        print(f"seed {self.seed}, {sum(self.meter.seconds.values()):.0f} s: {text}", flush=True)

    def config(self, name: str) -> PathConfig:
        """Of the super-network, which is one with pre-training or from scratch."""
        recipe, options = quick().paths, self.options
        assert recipe is not None
        recipe = recipe.with_precision("fp32")  # which is the faster one for these bodies on a CPU
        assert recipe.pretraining is not None
        before = recipe.pretraining.train.model_copy(update={"epochs": options.pretrain_epochs, "lr": PRETRAIN_LR})
        epochs = options.epochs if name == PRETRAINED else 2 * options.epochs
        changes = {
            "train": recipe.train.model_copy(update={"epochs": epochs, "lr": LR}),
            "pretraining": recipe.pretraining.model_copy(update={"train": before, **VIEW})
            if name == PRETRAINED
            else None,
        }
        made = recipe.model_copy(update=changes).make(options.space, (self.size,), PROPOSALS, "faster_rcnn")
        return made.model_copy(update={"seed": self.seed})

    @cached_property
    def space(self) -> PathSubnets:
        return self.config(PRETRAINED).space()

    def read_path(self, choices: str) -> PathSubnet:
        return PathSubnet(tuple(map(int, choices)), self.size)

    def train_supernet(self, name: str) -> TeacherPool:
        config, place = self.config(name), self.folder / name
        if config.pretraining is not None:
            self.pretrain(config, place)
        self.meter.switch(f"super-network of {name}")
        images = PoolImages(self.data, self.fit, self.val, True, self.kept)
        pool = train_pool(place, config, images, CPU, self.meter)
        self.tell(f"super-network of {name}: {json.dumps(dict(pool.manifest.ap))}")
        return pool

    def pretrain(self, config: PathConfig, place: Path) -> None:
        """What `train_pool` would do first, except that the classifier is kept as well."""
        self.meter.switch("pre-training")
        place.mkdir(exist_ok=True)
        if not self._classifier.exists():
            job = PretrainJob(config=config, folder=place, data=self.data, keep_out=True)
            classifier = train_classifier(job, self.fit, CPU, self.meter)
            save_weights(classifier.body, pretrained_path(place))
            save_weights(classifier, self._classifier)
            checkpoint_path(job).unlink(missing_ok=True)

    @property
    def _classifier(self) -> Path:
        return self.folder / "classifier.safetensors"

    def open_classes(self) -> ClassJudge:
        config = self.config(PRETRAINED)
        assert config.pretraining is not None
        view = PictureView(config.pretraining.size, least_area=1.0, jitter=0.0)
        supernet = config.build(len(self.fit.class_names))
        fit, kept = ObjectCrops(self.fit, view), ObjectCrops(self.kept, view)
        classifier = BodyClassifier(supernet, len(fit.class_names), 0)
        load_weights(classifier, self._classifier)
        batch = config.pretraining.batch_size
        spaced = range(0, len(fit), max(1, len(fit) // (CROPS * config.calibration_images)))
        return ClassJudge(
            supernet, classifier, read_crops(fit, spaced, batch), read_crops(kept, range(len(kept)), batch)
        )

    def search(self, name: str, judge: Judge) -> dict[str, Any]:
        """What evolution looked at, and the best path within each limit, by the limit."""
        self.meter.switch(f"search of {name}")
        options, place = self.options, self.folder / f"search of {name}.json"
        looked = json.loads(place.read_text()) if place.exists() else []
        history = [self.read_trial(number, entry) for number, entry in enumerate(looked)]
        share = max(options.population // 5, 2)
        breeding = Breeding(
            options.population, 2 * share, 2 * share, share
        )  # the code's, for populations of other sizes
        found = {}
        for limit in map(float, options.limits.split(",")):
            evolution = Evolution(self.space, (limit * 1e6,), no_price, breeding, options.generations)
            while True:
                proposal = evolution.ask(history, draw_numbers(derive_seed(self.seed, name), len(history)))
                path = proposal.subnet
                assert isinstance(path, PathSubnet)
                if not proposal.screens:
                    break
                started = process_time()
                entry = {"path": encode(path), "limit": limit, "note": proposal.note, "fitness": judge(path)}
                looked.append(entry | {"seconds": process_time() - started})
                write_file(place, json.dumps(looked).encode(), flushed=False)
                history.append(self.read_trial(len(history), looked[-1]))
            found[f"{limit:g}"] = encode(path)
        self.tell(f"search of {name}: {found}, fitness {max(trial.ap for trial in history):.3f}")
        return {"looked": looked, "found": found}

    def read_trial(self, number: int, entry: Mapping[str, Any]) -> ScreenedTrial:
        path = self.read_path(entry["path"])
        arch = self.space.arch(path)
        proposal = Proposal(None, (), entry["note"], subnet=path, epochs=0, aim=1e6 * entry["limit"])
        counts = count(arch, len(self.train.class_names))
        return ScreenedTrial(number, proposal, arch, entry["fitness"], 0.0, counts, entry["seconds"])

    def train_paths(self, found: Mapping[str, Mapping[str, str]]) -> Iterator[dict[str, Any]]:
        """Every row: a path, whose it is, and its AP after training."""
        self.meter.switch("training of paths")
        plain = "0" * self.space.places
        for repeat in range(self.options.repeats):
            yield self.train_path("plain", plain, repeat)
        searched = [(name, limit, path) for name, paths in found.items() for limit, path in paths.items()]
        for name, limit, path in searched:
            yield self.train_path(name, path) | {"limit": limit}
        for limit, path in found[SCRATCH].items():
            yield self.train_path(SCRATCH_TOO, path, longer=True, pretrained=False) | {"limit": limit}
            yield self.train_path(LONGER, path, longer=True) | {"limit": limit}
        known = {plain, *(path for _, _, path in searched)}
        for number, path in enumerate(self.draw_paths(known)):
            if number >= max(self.options.random, self.options.correlated - len(known)):
                break
            yield self.train_path("random" if number < self.options.random else "more random", path)

    def draw_paths(self, known: set[str]) -> Iterator[str]:
        """New random paths within the largest limit."""
        rng, limit = Random(derive_seed(self.seed, "random")), 1e6 * max(map(float, self.options.limits.split(",")))
        drawn = set(known)
        while True:
            path = self.space.sample(rng)
            if encode(path) not in drawn and count_body(self.space.arch(path)) <= limit:
                drawn.add(encode(path))
                yield encode(path)

    def train_path(
        self, row: str, choices: str, repeat: int = 0, *, longer: bool = False, pretrained: bool = True
    ) -> dict[str, Any]:
        way = ("-longer" if longer else "") if pretrained else "-scratch"
        place = self.folder / f"path-{choices}-{repeat}{way}.json"
        path = self.read_path(choices)
        if not place.exists():
            started = process_time()
            config, epochs = self.config(PRETRAINED if pretrained else SCRATCH), self.options.retrain_epochs
            supernet = config.build(len(self.train.class_names))
            if pretrained:
                load_weights(supernet.body, pretrained_path(self.folder / PRETRAINED))
            detector = supernet.extract(path)
            recipe = config.phases[0].train.model_copy(update={"epochs": 2 * epochs if longer else epochs})
            job = StudentJob(
                arch=detector.arch, recipe=recipe, seed=derive_seed(self.seed, "path", repeat),
                batches=Batches(data=self.data, size=config.batch_size, augment="light", workers=0),
                checkpoint=place.with_suffix(".ckpt"),
            )  # fmt: skip
            result = train_student(job, detector, self.train, None, CPU, self.meter.advance_training)
            row_found = {
                "path": choices, "macs": count_body(detector.arch), "ap": evaluate_teacher(detector, self.val, CPU),
                "epochs": recipe.epochs, "repeat": repeat, "seconds": process_time() - started,
                "loss": result.curve[-1][1] if result.curve else None,
            }  # fmt: skip
            write_file(place, json.dumps(row_found).encode())
            job.checkpoint.unlink(missing_ok=True)
            self.tell(f"{row} {choices}: AP {row_found['ap']:.3f}")
        found: dict[str, Any] = json.loads(place.read_text())
        return {"row": row, **found}


def encode(path: PathSubnet) -> str:
    return "".join(map(str, path.choices))


def no_price(history: History) -> Price:
    raise AssertionError("limits are of the body's operations")


def write_report(work: Path, report: Path | None) -> None:
    folders = sorted(work.glob("seed-*"), key=lambda folder: int(folder.name.partition("-")[2]))
    seeds = [json.loads(path.read_text()) for folder in folders if (path := folder / "figures.json").exists()]
    if not seeds:
        sys.exit(f"no seed in {work} is finished; `run` goes on with them")
    if any(seed["asked"] != seeds[0]["asked"] for seed in seeds):
        sys.exit(f"the seeds in {work} were run with different options: one folder for each")
    result = {"date": datetime.now(timezone.utc).date().isoformat(), "seeds": seeds}
    text = "\n".join(list_lines(result, report.with_suffix(".json").name if report else ""))
    print(text)
    if report is not None:
        report.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
        report.write_text(text + "\n")


if __name__ == "__main__":
    main()
