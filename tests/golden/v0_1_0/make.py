"""Makes the examples in this folder with version 0.1.0: `PYTHONPATH=<checkout of 741107f> python make.py OUT`.

A run whose base is narrow enough to keep, stopped between its first student and its second; the pool its teachers come
from, with the large layers zeroed so that it packs small; and a bundle of the same run carried to its end.
"""

import json
import lzma
import shutil
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from deploy.bundle import open_bundle
from safetensors.torch import load_file, save_file

from optimizer.arch.families import base_arch, lay_out_stages
from optimizer.arch.spec import FasterRCNNHead
from optimizer.config import RunConfig
from optimizer.data.shapes import write_shapes
from optimizer.errors import Interrupted
from optimizer.recipes import smoke
from optimizer.run import resume_run, start_run, train_teachers
from optimizer.search.base import Trial
from optimizer.store.artefacts import hash_file
from optimizer.store.run_store import RunStore

SIZE = (96, 96)
LARGE = 4_000  # elements


def narrow_base(config: RunConfig):
    widths = [[(8, 8)], [(16, 16)], [(16, 16), (16, 16)], [(32, 32)]]
    head = FasterRCNNHead(rpn_width=16, box_width=32, region_proposals=30)
    stages = lay_out_stages(widths, [[0] * len(stage) for stage in widths])
    return replace(base_arch("r18", SIZE), stages=stages, head=head, fpn_width=16)


def make_config(pool: Path | None = None) -> RunConfig:
    recipe = smoke().changed(
        {
            "batch_size": 4,
            "shapes.train": 48,
            "shapes.val": 16,
            "base_train.epochs": 25,
            "base_train.lr": 3e-3,
            "search.trials": 2,
            "search.cost": "macs",
            "search.space.sizes": (SIZE, (88, 88)),
            "search.space.min_width": 8,
            "search.space.round_to": 4,
            "search.space.min_neck_width": 8,
            "search.space.min_box_width": 8,
            "search.space.actions": ("prune_channels",),
            "pool.widths": (0.125, 0.1875, 0.25),
            "seed": 3,
        }
    )
    return recipe if pool is None else recipe.changed({"teacher_pool": pool})


def main(out: Path) -> None:
    torch.set_num_threads(2)
    work = out / "work"
    config = make_config()
    data = write_shapes(work / "data", train=48, val=16, size=config.shapes.size, seed=config.seed)
    pool = train_teachers(config.changed({"data": data}), work / "teachers")
    zero_large_layers(pool)
    teachers = out / "teachers"
    teachers.mkdir(parents=True)
    shutil.copy(pool / "pool.json", teachers)
    (teachers / "phase-2.safetensors.xz").write_bytes(lzma.compress((pool / "phase-2.safetensors").read_bytes()))

    RunConfig.base_arch, whole = narrow_base, RunConfig.base_arch
    record = RunStore.record

    def stop_before_second(store: RunStore, trial: Trial) -> None:
        record(store, trial)
        if trial.number == 2:
            raise KeyboardInterrupt

    RunStore.record = stop_before_second
    run = work / "run"
    with suppress(Interrupted):
        start_run(make_config(pool), run, "optimize --base r18 --preset smoke")
    RunStore.record = record
    kept = out / "run"
    shutil.copytree(run, kept, ignore=shutil.ignore_patterns("data", "*.db-*"))
    resume_run(run)
    RunConfig.base_arch = whole
    with RunStore.open(run) as store:
        rows = [describe(trial) for trial in store.history()]
    (out / "trials.json").write_text(json.dumps(rows, indent=1) + "\n")
    bundle = next((run / "bundles").glob("*"))
    open_bundle(bundle)
    shutil.copytree(bundle, out / "bundle")


def describe(trial: Trial) -> dict[str, object]:
    teacher = trial.proposal.teacher
    return {
        "number": trial.number,
        "arch_id": trial.arch.arch_id,
        "macs": trial.macs,
        "params": trial.params,
        "ap": trial.ap,
        "flops_mmdet": trial.flops_mmdet,
        "actions": [action.to_json() for action in trial.proposal.actions],
        "teacher": teacher.to_json() if teacher is not None else None,
        "depths": trial.arch.depths,
    }


def zero_large_layers(pool: Path) -> None:
    path = pool / "phase-2.safetensors"
    weights = load_file(path)
    save_file(
        {name: value if value.numel() < LARGE else torch.zeros_like(value) for name, value in weights.items()}, path
    )
    manifest = json.loads((pool / "pool.json").read_text())
    manifest["weights_sha256"] = hash_file(path)
    (pool / "pool.json").write_text(json.dumps(manifest, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
