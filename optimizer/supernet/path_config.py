"""How a super-network of paths is made and trained (DetNAS), as a value that JSON can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from optimizer.arch.bodies.shufflenet import CHOICES
from optimizer.arch.paths import PathSubnets
from optimizer.supernet.config import SupernetConfig

if TYPE_CHECKING:
    from optimizer.supernet.single_path import SinglePathSupernet

__all__ = ["PathConfig"]


class PathConfig(SupernetConfig):
    """DetNAS' super-network: in every step one path, uniformly drawn, is trained alone.

    Attributes:
        family: a key of `PATH_SPACES`.
        choices: numbers of the blocks in every place.
        shuffle: how blocks part their channels; the paper's super-networks have "halves", its released nets "split".
    """

    kind: Literal["path"] = "path"
    family: str
    choices: tuple[int, ...] = CHOICES
    shuffle: Literal["split", "halves"] = "split"

    @property
    def name(self) -> str:
        return self.family

    def space(self, phase: int = -1) -> PathSubnets:
        return PathSubnets(self.family, self.sizes, self.region_proposals, self.detector, self.choices, self.shuffle)

    def build(self, num_classes: int) -> SinglePathSupernet:
        from optimizer.supernet.single_path import SinglePathSupernet

        return SinglePathSupernet(self.space(), num_classes, self.seed)
