"""How well a path of a super-network classifies, which a path filter learns before any path detects (FACTS 4.7).

The paper pre-trains its filter on pairs of a path and its performance on ImageNet. That performance is accuracy on
pictures that the body was not trained on, and that BatchNorm is measured anew for every path, are readings.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deploy.data import Dataset
from optimizer.arch.ofa_space import OfaSpace
from optimizer.data.batches import SampleLoader
from optimizer.data.pictures import Pictures
from optimizer.detectors.base import Truth
from optimizer.errors import InputError
from optimizer.morph.layers import BODY
from optimizer.seeds import derive_seed
from optimizer.supernet.base import LAST, Supernet
from optimizer.supernet.calibrate import measure_norms
from optimizer.supernet.config import SupernetConfig
from optimizer.supernet.manifest import classifier_path, pretrained_path
from optimizer.supernet.pretrain_config import Pretraining
from optimizer.supernet.pretraining import BodyClassifier, open_pictures
from optimizer.supernet.weights import load_weights

__all__ = ["MOST_PICTURES", "ClassificationJudge", "check_judged"]

MOST_PICTURES = 2000  # that a path is judged by
BATCH_SIZE = 32

Batch = tuple[Tensor, Tensor]  # pictures (B, 3, H, W), their classes (B,)


def check_judged(config: SupernetConfig, kept: Dataset | None) -> None:
    """See to it that there are pictures to judge by, where any path is to be judged.

    Args:
        kept: images that are kept out; None where they are yet to be generated.

    Raises:
        InputError: there are none, or of one class alone.
    """
    if config.classification_paths and not (kept is None and _get_recipe(config).folder is None):
        _open_judged(_get_recipe(config), kept)


class ClassificationJudge:
    """The share of pictures that a path takes for another class, by the super-network as its pre-training left it.

    Weights and pictures are read when the first path is judged, and stay in memory: of 224x224, 600 KB each.

    Args:
        folder: of the pool. fit: images that the body was pre-trained on, where that is crops; BatchNorm is measured on
            such pictures. kept: images that crops to judge by are from.
    """

    def __init__(self, config: SupernetConfig, folder: Path, fit: Dataset, kept: Dataset, device: torch.device) -> None:
        self.config, self.folder, self.fit, self.kept, self.device = config, folder, fit, kept, device

    @torch.no_grad()
    def measure(self, genes: NDArray[np.int64]) -> float:
        """Of one path (slots,), from 0 to 1; the same whenever it is asked for."""
        supernet, classifier = self._networks
        space = cast(OfaSpace, self.config.space())
        body = supernet.extract(space.subnet(genes.tolist(), space.sizes[0])).get_submodule(BODY)
        measure_norms(body, body, (images for images, _ in self._calibration), self.device)
        wrong = [
            classifier.classify(body(images.to(self.device))[LAST]).argmax(1).cpu() != classes
            for images, classes in self._judged
        ]
        return float(torch.cat(wrong).double().mean())

    @cached_property
    def _networks(self) -> tuple[Supernet, BodyClassifier]:
        names = _open_judged(_get_recipe(self.config), self.kept).class_names
        supernet = self.config.build(len(self.kept.class_names))
        classifier = BodyClassifier(supernet, len(names), seed=0)
        load_weights(classifier.body, pretrained_path(self.folder))
        load_weights(classifier.head, classifier_path(self.folder))
        return supernet, classifier.to(self.device).eval()

    @cached_property
    def _calibration(self) -> list[Batch]:
        """Of what the body was trained on, as the training shows it."""
        pictures = open_pictures(_get_recipe(self.config), self.fit, "fit")
        loader = SampleLoader(pictures, batch_size=BATCH_SIZE, seed=derive_seed(self.config.seed, "classified"))
        wanted = max(1, min(self.config.calibration_images, len(pictures)) // BATCH_SIZE)
        return [(images, _list_classes(truths)) for images, truths in islice(loader.epoch(0), wanted)]

    @cached_property
    def _judged(self) -> list[Batch]:
        """Pictures that can be read, spread over all."""
        pictures = _open_judged(_get_recipe(self.config), self.kept)
        chosen = range(0, len(pictures), -(-len(pictures) // MOST_PICTURES))
        read = list(_read(pictures, chosen))
        if not read:
            raise InputError(
                f"not one of {len(chosen)} pictures to judge paths by can be read ({pictures.name(0)} ...)"
            )
        parts = (read[start : start + BATCH_SIZE] for start in range(0, len(read), BATCH_SIZE))
        return [
            (torch.stack([image for image, _ in part]), _list_classes([truth for _, truth in part])) for part in parts
        ]


def _read(pictures: Pictures, chosen: range) -> Iterator[tuple[Tensor, Truth]]:
    for index in chosen:
        with suppress(InputError):  # of such, pre-training has warned
            yield pictures.read(index, 0, 0)


def _list_classes(truths: list[Truth]) -> Tensor:
    return torch.cat([truth.labels for truth in truths])


def _open_judged(recipe: Pretraining, kept: Dataset | None) -> Pictures:
    try:
        return open_pictures(recipe, kept, "judged")
    except InputError as error:
        raise InputError(
            "what is kept out of training shows no two classes to judge classification paths by: give more images "
            "(--data, or --pretrain FOLDER), or fit the path filter to none (--classification-paths 0)"
        ) from error


def _get_recipe(config: SupernetConfig) -> Pretraining:
    assert config.pretrained_on is not None, "a body that was not pre-trained"
    return config.pretrained_on
