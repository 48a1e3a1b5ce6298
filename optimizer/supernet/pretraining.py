"""Pre-training, as a sentence: subnets of a super-network classify pictures; the body stays, the classifier goes.

Only where a path filter judges paths as classifiers does that stay too, as `classifier.safetensors` beside the body.

DetNAS' first step (FACTS 3.4), and what once-for-all networks for detection start from (DetOFA). In every step one
subnet is drawn, and only that is trained.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from deploy.data import Dataset
from optimizer.data.batches import SampleLoader
from optimizer.data.class_folder import ClassFolder, Part
from optimizer.data.crops import ObjectCrops
from optimizer.data.pictures import Pictures, PictureView, View, WholeView, count_unreadable
from optimizer.detectors.base import Truth
from optimizer.progress import RunProgress
from optimizer.seeds import derive_seed
from optimizer.supernet.base import Supernet
from optimizer.supernet.job import SupernetJob
from optimizer.supernet.manifest import classifier_path, pretrained_path
from optimizer.supernet.pretrain_config import Pretraining
from optimizer.supernet.weights import save_weights
from optimizer.track.base import SEARCH
from optimizer.train.distributed import current_world
from optimizer.train.loop import Progress, train

__all__ = [
    "BodyClassifier", "ClassifyStep", "PretrainJob", "check_pictures", "checkpoint_path", "count_pictures",
    "open_pictures", "pretrain_body", "train_classifier",
]  # fmt: skip

REMEMBERED = 50  # steps that the share of right answers is an average of
NAMED = 3  # unreadable images that a message names


class PretrainJob(SupernetJob):
    """The pre-training of a pool's body, for whatever process takes part in it; crops are from the training images."""

    kind: Literal["pretraining"] = "pretraining"

    @property
    def pretraining(self) -> Pretraining:
        assert self.config.pretrained_on is not None
        return self.config.pretrained_on


def pretrain_body(job: PretrainJob, dataset: Dataset, device: torch.device, progress: RunProgress | None) -> None:
    """Train the body, in every process of the world alike, from wherever an earlier one left it; the first writes it.

    Args:
        dataset: what crops are from.

    Raises:
        InputError: the images show no two classes, or cannot be read.
        RunFailed: the training diverged, or the disk is full.
    """
    classifier = train_classifier(job, dataset, device, progress)
    if current_world().is_first:
        if job.config.classification_paths:
            save_weights(classifier.head, classifier_path(job.folder))
        save_weights(classifier.body, pretrained_path(job.folder))
        checkpoint_path(job).unlink(missing_ok=True)


def checkpoint_path(job: PretrainJob) -> Path:
    """Where the training stands meanwhile."""
    return job.folder / "pretraining.ckpt"


def train_classifier(
    job: PretrainJob,
    dataset: Dataset,
    device: torch.device,
    progress: RunProgress | None,
) -> BodyClassifier:
    """The trained body with its classifier, on `device`; nothing is written but the checkpoint.

    Raises:
        InputError, RunFailed: as `pretrain_body`.
    """
    config, recipe, world = job.config, job.pretraining, current_world()
    pictures = open_pictures(recipe, dataset, "fit" if config.classification_paths else "all")
    seed = derive_seed(config.seed, "pretraining")
    supernet = config.build(len(dataset.class_names))
    classifier = BodyClassifier(supernet, len(pictures.class_names), seed)
    step = ClassifyStep(supernet, config.classified(), seed, recipe.label_smoothing)
    loader = SampleLoader(
        pictures, batch_size=recipe.batch_size, seed=derive_seed(seed, "pictures"), workers=job.workers,
        share=(world.rank, world.size),
    )  # fmt: skip
    if progress is not None:
        what = f"{len(pictures)} images of {len(pictures.class_names)} classes"
        total = len(loader) * recipe.train.epochs
        progress.start_training(f"pre-training on {recipe}: {what}", total, SEARCH, prefix="pretraining/")

    def show(at: Progress) -> None:
        assert progress is not None
        progress.advance_training(at, note=f", {float(step.right):.0%} right")

    train(
        classifier.to(device), loader, step.to(device), recipe.train, seed=seed, checkpoint=checkpoint_path(job),
        report=show if progress is not None else None,
    )  # fmt: skip
    if progress is not None:
        progress.say(f"pre-training: of the last images {float(step.right):.0%} were given their class")
    if progress is not None and loader.unreadable:
        progress.say(f"pre-training: {loader.unreadable} of {len(pictures)} images cannot be read; others stood in")
    return classifier


def open_pictures(recipe: Pretraining, dataset: Dataset | None, part: Part = "all") -> Pictures:
    """What a body is pre-trained on; crops are from the images of `dataset`.

    Args:
        part: of a folder of classes: whether some of its images are left out ("fit"), or are all ("judged").

    Raises:
        InputError: a folder of classes is not one, or there are images of fewer than two classes.
    """
    view: View = PictureView(recipe.size, recipe.least_area, recipe.jitter)
    if part == "judged":
        view = WholeView(recipe.size)
    if recipe.folder is not None:
        return ClassFolder(recipe.folder, view, part)
    assert dataset is not None, "crops of no images"
    return ObjectCrops(dataset, view)


def count_pictures(recipe: Pretraining, dataset: Dataset | None) -> int:
    """How many images a body is pre-trained on in an epoch.

    Raises:
        InputError: as `open_pictures`.
    """
    return len(open_pictures(recipe, dataset))


def check_pictures(recipe: Pretraining, dataset: Dataset | None) -> str:
    """What a person should know of the images before a body is pre-trained on them; empty where that is nothing.

    Args:
        dataset: None where the images that crops are from are yet to be generated.

    Raises:
        InputError: they cannot be used; the text says why.
    """
    if dataset is None and recipe.folder is None:
        return ""
    pictures = open_pictures(recipe, dataset)
    names, tried = count_unreadable(pictures)
    if not names:
        return ""
    listed = ", ".join(names[:NAMED]) + (" ..." if len(names) > NAMED else "")
    return f"{len(names)} of {tried} images tried for pre-training cannot be read and are skipped: {listed}"


class Drawn(Protocol):
    """What subnets are drawn from."""

    def sample(self, rng: Random) -> Any: ...


class BodyClassifier(nn.Module):
    """The shared body of a super-network, and behind it what only pre-training needs.

    Args:
        seed: the first weights of the classifier depend on that alone.
    """

    def __init__(self, supernet: Supernet, num_classes: int, seed: int) -> None:
        super().__init__()
        space, hidden = supernet.space, supernet.classifier_width
        width = space.arch(space.largest()).body_maps[-1].width
        self.body = supernet.body
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.last = nn.Sequential()
            if hidden:
                convolution = nn.Conv2d(width, hidden, 1, bias=False)
                nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
                self.last = nn.Sequential(convolution, nn.BatchNorm2d(hidden), nn.ReLU())
            self.classifier = nn.Linear(hidden or width, num_classes)
            nn.init.normal_(self.classifier.weight, std=0.01)
            nn.init.zeros_(self.classifier.bias)

    @property
    def head(self) -> nn.Module:
        """All but the body."""
        return nn.ModuleDict({"last": self.last, "classifier": self.classifier})

    def classify(self, features: Tensor) -> Tensor:
        """(B, classes) logits of a body's last map (B, C, h, w); a narrower body has the first C columns of weights."""
        pooled = self.last(features).mean((2, 3))
        return linear(pooled, self.classifier.weight[:, : pooled.shape[1]], self.classifier.bias)


class ClassifyStep(nn.Module):
    """One subnet per step, which the number of the step alone decides: the same in every process, and after a restart.

    Attributes:
        right: moving average of the share of images whose class got the highest score.
    """

    drawn: Tensor
    right: Tensor

    def __init__(self, supernet: Supernet, paths: Drawn, seed: int, label_smoothing: float) -> None:
        super().__init__()
        self.supernet, self.paths, self.seed, self.label_smoothing = supernet, paths, seed, label_smoothing
        self.register_buffer("drawn", torch.zeros((), dtype=torch.int64))
        self.register_buffer("right", torch.zeros(()))

    def forward(self, model: nn.Module, images: Tensor, truths: list[Truth]) -> dict[str, Tensor]:
        assert isinstance(model, BodyClassifier) and model.body is self.supernet.body
        path = self.paths.sample(Random(derive_seed(self.seed, "path", int(self.drawn))))
        self.drawn += 1
        logits = model.classify(self.supernet.run_body(path, images))
        labels = torch.cat([truth.labels for truth in truths])
        now = (logits.detach().argmax(1) == labels).float().mean()
        self.right.lerp_(now, 1 / min(int(self.drawn), REMEMBERED))
        return {"class": cross_entropy(logits, labels, label_smoothing=self.label_smoothing)}
