"""Training a super-network: pre-training, its phases one after the other, then the AP of some of its subnets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from deploy import Preprocess
from deploy.data import Dataset
from deploy.files import make_folder
from optimizer.data.loader import TrainLoader
from optimizer.distill.step import DistillStep
from optimizer.progress import RunProgress
from optimizer.seeds import derive_seed
from optimizer.store.artefacts import explain_disk_errors
from optimizer.store.lock import wait_for_lock
from optimizer.supernet.base import Supernet
from optimizer.supernet.config import SupernetConfig
from optimizer.supernet.filtering import choose_paths, hash_states, require_kept, train_filtered
from optimizer.supernet.job import SupernetJob
from optimizer.supernet.manifest import Manifest, is_trained, phase_path, pretrained_path
from optimizer.supernet.path_latency import MeasuredPaths
from optimizer.supernet.pool import TeacherPool, evaluate_teacher, extract_calibrated, open_pool
from optimizer.supernet.pretraining import PretrainJob, pretrain_body
from optimizer.supernet.step import SubnetStep
from optimizer.supernet.weights import load_weights, save_weights
from optimizer.track.base import SEARCH
from optimizer.train.distributed import current_world
from optimizer.train.loop import train

__all__ = ["PoolImages", "PoolJob", "train_phase", "train_pool"]


class PoolJob(SupernetJob):
    """One phase of a pool's training, for whatever process takes part in it."""

    kind: Literal["pool"] = "pool"
    phase: int


@dataclass(frozen=True)
class PoolImages:
    """What a pool is trained on and judged by: records of the images in a folder.

    Attributes:
        keep_out: whether `train` is without the images that a run keeps to judge subnets by.
        kept: those images; a path filter is fitted to losses on them.
    """

    folder: Path
    train: Dataset
    val: Dataset
    keep_out: bool = False
    kept: Dataset | None = None


def train_pool(
    folder: Path,
    config: SupernetConfig,
    images: PoolImages,
    device: torch.device,
    progress: RunProgress,
    workers: int | None = None,
    tell: Callable[[PoolJob | PretrainJob], None] = lambda job: None,
    measured: MeasuredPaths | None = None,
) -> TeacherPool:
    """Train a pool in `folder`, from wherever an earlier process left it; a trained one is only opened.

    Args:
        tell: called before each phase, so that other processes can join it.
        measured: latencies of subnets, where the recipe asks for some.

    Raises:
        RunFailed: the training diverged, or the disk is full; what was trained so far is kept.
    """
    if is_trained(folder):
        return open_pool(folder, images.train)
    with explain_disk_errors(folder):
        make_folder(folder)
    with wait_for_lock(folder, progress.say), explain_disk_errors(folder):
        if not is_trained(folder):  # another process may have trained it meanwhile
            kept = require_kept(config, images.kept) if config.filtered_by is not None else None
            manifest = Manifest.of_training(folder, config, images.train)
            manifest.write()
            if config.pretrained_on and not (pretrained_path(folder).exists() or phase_path(folder, 0).exists()):
                first = PretrainJob.model_validate(
                    {"config": config, "folder": folder, "data": images.folder, "workers": workers,
                     "keep_out": images.keep_out}
                )  # fmt: skip
                tell(first)
                pretrain_body(first, images.train, device, progress)

            def train_one(phase: int) -> None:
                job = PoolJob(
                    config=config, folder=folder, phase=phase, data=images.folder, workers=workers,
                    keep_out=images.keep_out,
                )  # fmt: skip
                if not phase_path(folder, phase).exists():
                    tell(job)
                    train_phase(job, images.train, device, progress)

            if kept is not None:
                train_filtered(config, folder, kept, train_one, device, images.train, progress.say, measured)
            else:
                for phase in range(len(config.phases)):
                    train_one(phase)
            ap = _evaluate(manifest, images, device, progress)
            manifest.trained(ap, hash_states(folder)).write()
    return open_pool(folder, images.train)


def train_phase(job: PoolJob, dataset: Dataset, device: torch.device, progress: RunProgress | None = None) -> None:
    """Train one phase, in every process of the world alike; the first process writes the super-network."""
    config, world = job.config, current_world()
    seed = derive_seed(config.seed, job.phase)
    recipe = config.phases[job.phase].train
    supernet = config.build(len(dataset.class_names))
    if job.phase > 0:
        load_weights(supernet.shared, phase_path(job.folder, job.phase - 1))
    elif config.pretrained_on is not None:
        load_weights(supernet.shared.get_submodule("backbone.body"), pretrained_path(job.folder))
    supernet.begin_phase(job.phase)
    step = _build_step(job, supernet, len(dataset.class_names), seed).to(device)
    loader = TrainLoader(
        dataset, [Preprocess.imagenet(*size) for size in config.sizes], batch_size=config.batch_size,
        seed=derive_seed(config.seed, "pool", job.phase), augment="light", workers=job.workers,
        share=(world.rank, world.size),
    )  # fmt: skip
    checkpoint = job.folder / f"phase-{job.phase}.ckpt"
    if progress is not None:
        count = step.sampled.count()
        what = "the super-network" if count == 1 else f"{count} sub-networks"
        progress.start_training(
            f"teachers {job.phase + 1}/{len(config.phases)}: {what}", len(loader) * recipe.epochs, SEARCH,
            prefix=f"teachers/{job.phase + 1}/",
        )  # fmt: skip

    train(
        supernet.shared.to(device), loader, step, recipe, seed=seed, checkpoint=checkpoint,
        report=progress.advance_training if progress is not None else None,
    )  # fmt: skip
    if world.is_first:
        save_weights(supernet.shared, phase_path(job.folder, job.phase))
        checkpoint.unlink(missing_ok=True)


def _build_step(job: PoolJob, supernet: Supernet, num_classes: int, seed: int) -> SubnetStep:
    """What each step of a phase trains, and who teaches it."""
    config = job.config
    distillation = None
    phase = config.teacher_phase(job.phase)
    if phase is not None:
        whole = config.build(num_classes)
        load_weights(whole.shared, phase_path(job.folder, phase))
        teacher = whole.extract(whole.space.largest())
        same_canvas = config.distill.model_copy(update={"teacher_canvas": "student"})
        distillation = DistillStep(teacher.arch, teacher, same_canvas)
    choose = choose_paths(config, job.folder, job.phase) if config.filtered_by is not None else None
    return SubnetStep(supernet, config.space(job.phase), seed, distillation, choose)


def _evaluate(manifest: Manifest, images: PoolImages, device: torch.device, progress: RunProgress) -> dict[str, float]:
    """AP of some subnets from the largest to the smallest, by name."""
    supernet = manifest.config.build(len(images.train.class_names))
    load_weights(supernet.shared, manifest.weights)
    subnets = supernet.space.representatives()
    ap = {}
    progress.start_step(f"teachers: AP of {len(subnets)} members", len(subnets))
    for number, subnet in enumerate(subnets):
        detector = extract_calibrated(supernet, subnet, manifest.config, images.train, device)
        ap[str(subnet)] = evaluate_teacher(detector, images.val, device)
        progress.advance_step(number + 1)
    listed = ", ".join(f"{name} AP {value:.3f}" for name, value in ap.items())
    progress.say(f"teacher pool {manifest.folder.name}: {supernet.space.count()} members; {listed}")
    return ap
