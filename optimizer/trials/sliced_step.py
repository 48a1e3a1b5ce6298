"""Training a base so that its children work untrained: in some steps one of them is trained in its place.

A child is made of slices of the base's weights, those that pruning would leave; all of them share what they have in
common (once-for-all networks, BigNAS; that one configuration is drawn a step, without a schedule, is RF-DETR's way).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from random import Random

from torch import Tensor, nn

from optimizer.arch.edits import Edit, Importance, merge_edits
from optimizer.arch.space import Space, legal_actions
from optimizer.arch.spec import ArchSpec
from optimizer.detectors.base import Detector, Truth
from optimizer.morph import ask_child, measure_importance
from optimizer.search.predictor import fit_predictor
from optimizer.search.sizing import draw_split, is_saving, size_chain, spread_importance
from optimizer.seeds import derive_seed

__all__ = ["SlicedStep"]

AIMS = (0.15, 0.9)  # what a child costs of the base's latency, as guessed from operations; drawn uniformly


class SlicedStep:
    """The detector's own losses, or in a share of the steps those of a child of it.

    How far the training is decides what is drawn: the same in every process of a training, and after a restart. The
    canvas is that of the batch, which the loader draws.

    Args:
        arch: of the detector. space: of its children. share: of the steps that train one of them.
    """

    def __init__(self, arch: ArchSpec, space: Space, num_classes: int, share: float, seed: int) -> None:
        self.arch, self.share, self.seed = arch, share, seed
        self.space = replace(space, sizes=(arch.input_size,))
        kinds = {action.kind for action in legal_actions(arch, self.space) if is_saving(action)}
        self._sensitivities: Mapping[str, float] = dict.fromkeys(sorted(kinds), 1.0)
        self._predictor = fit_predictor(arch, (), num_classes)
        self._done = 0.0

    def set_progress(self, done: float) -> None:
        self._done = done

    def __call__(self, model: nn.Module, images: Tensor, truths: list[Truth]) -> dict[str, Tensor]:
        assert isinstance(model, Detector), "slices of something else than a detector"
        rng = Random(derive_seed(self.seed, "child", repr(self._done)))
        edit = self.draw(model, rng) if rng.random() < self.share else None
        if edit is None:
            return model.losses(images, truths)
        return ask_child(model, edit, lambda child: child.losses(images, truths))

    def draw(self, detector: Detector, rng: Random) -> Edit | None:
        """A random child; None where the actions that were drawn come to nothing."""
        split = draw_split(list(self._sensitivities), self._sensitivities, rng)
        chain = size_chain(self.arch, rng.uniform(*AIMS), split, self.space, self._predictor)
        edits: list[Edit] = []
        for action in chain:
            arch = edits[-1].child if edits else self.arch
            edits.append(action.apply(arch, spread_importance(arch) if edits else self._rank(detector)))
        return merge_edits(edits) if edits else None

    def _rank(self, detector: Detector) -> Importance:
        """As the search will, which judges children by the same weights."""
        return measure_importance(detector.state_dict(), self.arch)
