"""Models of a fixed number of images at once: what they take, and their outputs cut into those of each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from deploy.engines.base import TensorSpec
from deploy.errors import InputError
from deploy.pipeline.decode import Head, Size

__all__ = ["BatchLayout", "ImageInput", "explain_input", "find_image_input", "find_layout"]

Shape = Tuple[Optional[int], ...]
DTYPES = ("float32", "float16", "uint8")  # that images are fed as


class ImageInput(NamedTuple):
    """What a model takes at once: so many images on canvases of this size.

    Attributes:
        name, dtype: of the input. channels_last: whether it is [images, height, width, 3].
        sizes: the input that is told each canvas's width and height, as deployed RT-DETR has one; empty for none.
    """

    images: int
    width: int
    height: int
    name: str
    dtype: str = "float32"
    channels_last: bool = False
    sizes: str = ""

    def feed(self, canvases: np.ndarray) -> dict[str, np.ndarray]:
        """The inputs by name for (images, 3, height, width) float32 canvases."""
        if self.channels_last:
            canvases = canvases.transpose(0, 2, 3, 1)
        if self.dtype == "uint8":
            canvases = np.clip(np.rint(canvases), 0, 255)
        feeds = {self.name: np.ascontiguousarray(canvases, self.dtype)}
        if self.sizes:
            feeds[self.sizes] = np.array([(self.width, self.height)] * self.images, np.int64)
        return feeds


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
    """Of a model with these inputs; None if it is not fed with [images, 3, height, width] of fixed shape.

    The channels may also be last, the numbers float32, float16 or uint8; a second input [images, 2] of int64 is told
    the canvas's size.
    """
    if not 0 < len(inputs) <= 2:
        return None
    image, *rest = sorted(inputs, key=lambda spec: -len(spec.shape))
    if len(image.shape) != 4 or None in image.shape or image.dtype not in DTYPES:
        return None
    images, *sides = (int(side or 0) for side in image.shape)
    last = sides[0] != 3 and sides[2] == 3
    if not last and sides[0] != 3:
        return None
    if rest and (rest[0].shape != (images, 2) or rest[0].dtype != "int64"):
        return None
    height, width = sides[:2] if last else sides[1:]
    return ImageInput(images, width, height, image.name, image.dtype, last, rest[0].name if rest else "")


def explain_input(inputs: Sequence[TensorSpec]) -> str:
    """What to do about inputs that `find_image_input` does not take."""
    if any(None in spec.shape for spec in inputs):
        return (
            "export it with fixed shapes, also of the batch, or fix them: "
            "python3 -m onnxruntime.tools.make_dynamic_shape_fixed --help"
        )
    if any(spec.dtype not in (*DTYPES, "int64") for spec in inputs):
        return f"export it with an input of {', '.join(DTYPES)}"
    return "an input is [images, 3, height, width] or [images, height, width, 3]"


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
            f"a model of {images} images at once has outputs of fixed shapes that lead with {images}; this model has "
            f"{', '.join(map(str, outputs))}"
        )
    rest = {spec.name: spec.shape[1:] or (1,) for spec in outputs}
    shapes: dict[str, Shape] = {name: (1, *shape) if head.leads else shape for name, shape in rest.items()}
    try:
        count = head.count_classes([spec._replace(shape=shapes[spec.name]) for spec in outputs], size)
    except InputError as error:
        raise plain or InputError(f"of one image of {images}: {error}") from error
    return BatchLayout(images, shapes, count)
