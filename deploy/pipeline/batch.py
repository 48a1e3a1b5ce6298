"""Models of a fixed number of images at once: what they take, and their outputs cut into those of each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from deploy.engines.base import TensorSpec
from deploy.errors import InputError
from deploy.pipeline.decode import Head, Size

__all__ = ["BatchLayout", "ImageInput", "find_image_input", "find_layout"]

Shape = Tuple[Optional[int], ...]


class ImageInput(NamedTuple):
    """What a model takes at once: so many images on canvases of this size."""

    images: int
    width: int
    height: int


@dataclass(frozen=True)
class BatchLayout:
    """How the outputs of a model are those of its images.

    Attributes:
        images: taken at once.
        shapes: of each output of one image, by name; None where the model's outputs are one image's as they are.
        class_count: how many classes the outputs tell apart; None where they do not say.
    """

    images: int
    shapes: Mapping[str, Shape] | None
    class_count: int | None

    def split(self, outputs: Mapping[str, np.ndarray]) -> Iterator[Mapping[str, np.ndarray]]:
        """The outputs of each image, in the order that the images were given."""
        if self.shapes is None:
            yield outputs
            return
        for image in range(self.images):
            yield {name: outputs[name][image].reshape(shape) for name, shape in self.shapes.items()}


def find_image_input(inputs: Sequence[TensorSpec]) -> ImageInput | None:
    """Of a model with these inputs; None if it is not fed with [images, 3, height, width] float32 of fixed shape."""
    shape = inputs[0].shape if len(inputs) == 1 and inputs[0].dtype == "float32" else ()
    if len(shape) != 4 or shape[1] != 3:
        return None
    images, _, height, width = shape
    return None if images is None or height is None or width is None else ImageInput(images, width, height)


def find_layout(head: Head, outputs: Sequence[TensorSpec], images: int, size: Size) -> BatchLayout:
    """The layout of a model of this head; of one image, its outputs may or may not lead with an axis for it.

    Raises:
        InputError: the outputs are not those of the head, or do not all lead with the number of images.
    """
    plain: InputError | None = None
    if images == 1:
        try:
            return BatchLayout(1, None, head.count_classes(outputs, size))
        except InputError as error:
            plain = error
    if not outputs or any(spec.shape[:1] != (images,) or None in spec.shape for spec in outputs):
        raise plain or InputError(
            "a model of {} images at once has outputs of fixed shapes that lead with {}; this model has {}".format(
                images, images, ", ".join(map(str, outputs))
            )
        )
    rest = {spec.name: spec.shape[1:] or (1,) for spec in outputs}
    shapes: dict[str, Shape] = {name: (1, *shape) if head.leads else shape for name, shape in rest.items()}
    try:
        count = head.count_classes([spec._replace(shape=shapes[spec.name]) for spec in outputs], size)
    except InputError as error:
        raise plain or InputError(f"of one image of {images}: {error}") from error
    return BatchLayout(images, shapes, count)
