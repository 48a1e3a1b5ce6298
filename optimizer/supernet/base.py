"""What every super-network can do: many subnets on one set of weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor, nn

from optimizer.arch.subnets import SubnetSpace
from optimizer.detectors.base import Detector, RegionView, Truth
from optimizer.morph.layers import BODY

__all__ = ["Supernet"]

T = TypeVar("T")
LAST = "3"  # of a body's maps


class Supernet(ABC):
    """One set of weights, the subnets that share it, how one of them is run, and how one is taken out.

    Training, calibration, AP, search and the files of a pool know this class alone. Arguments typed `Any` are subnets
    of `space`.

    Attributes:
        space: the subnets.
        shared: holds every weight and statistic of all subnets; a training optimises it, a file keeps its state.
    """

    def __init__(self, space: SubnetSpace, shared: nn.Module) -> None:
        self.space, self.shared = space, shared

    @abstractmethod
    def ask(self, subnet: Any, question: Callable[[Detector], T]) -> T:
        """The answer of a detector that computes on the shared weights what the extracted subnet would.

        Gradients and BatchNorm statistics reach what the subnet holds of `shared`, and nothing else. The detector is
        the subnet until the question is answered, and no longer; its canvas is that of the images it is shown.
        """

    def run(
        self, subnet: Any, images: Tensor, truths: list[Truth], with_view: bool = False
    ) -> tuple[dict[str, Tensor], list[Tensor], RegionView | None]:
        """What `Detector.losses_and_regions` of the extracted subnet would give, computed on the shared weights."""
        return self.ask(subnet, lambda detector: detector.losses_and_regions(images, truths, with_view))

    @property
    def body(self) -> nn.Module:
        """The part of `shared` that pre-training trains: the body of all subnets."""
        return self.shared.get_submodule(BODY)

    @property
    def classifier_width(self) -> int:
        """Of a convolution between the body and the classifier in pre-training; 0 is none."""
        return 0

    def run_body(self, subnet: Any, images: Tensor) -> Tensor:
        """The last map of a subnet's body, as `ask` computes it: (B, 3, H, W) to (B, C, H / 32, W / 32)."""
        maps: dict[str, Tensor] = self.ask(subnet, lambda detector: detector.get_submodule(BODY)(images))
        return maps[LAST]

    @abstractmethod
    def extract(self, subnet: Any) -> Detector:
        """A plain detector with copies of the subnet's weights, in evaluation mode on the CPU.

        It shares no memory with `shared`. Its BatchNorm statistics are the shared ones, which fit no subnet:
        `calibrate.recalibrate` measures its own.
        """

    def begin_phase(self, number: int) -> None:  # noqa: B027 - most have nothing to do
        """Called before the first step of each phase of a training, with the weights that the phase before left.

        It may move weights about, as long as the largest subnet computes what it did.
        """
