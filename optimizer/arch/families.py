"""The base detectors a search starts from: the papers' four bodies, under any head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from optimizer.arch.bodies import AnyBody
from optimizer.arch.bodies.ofa_resnet import OfaResNetSpec, OfaShape, read_ofa
from optimizer.arch.bodies.resnet import make_resnet
from optimizer.arch.bodies.shufflenet import ShuffleNetSpec, make_shufflenet, read_choices
from optimizer.arch.heads import make_head
from optimizer.arch.necks import usual_neck
from optimizer.arch.spec import ArchSpec
from optimizer.errors import InputError

__all__ = [
    "FAMILIES", "OFA_SHAPES", "PATH_SPACES", "PathSpace", "base_arch", "body_from_choices", "body_from_ofa",
    "count_classifier", "count_path", "find_body", "find_family",
]  # fmt: skip

BASIC = ((64, 64), (128, 128), (256, 256), (512, 512))
BOTTLENECK = ((64, 64, 256), (128, 128, 512), (256, 256, 1024), (512, 512, 2048))
RESNEXT_32X4D = ((128, 128, 256), (256, 256, 512), (512, 512, 1024), (1024, 1024, 2048))


@dataclass(frozen=True)
class PathSpace:
    """Places and widths of a DetNAS space (FACTS 3.2); what is chosen is the block in each place.

    Attributes:
        classifier_width: of the last convolution before the classifier in pre-training.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    stem_width: int
    classifier_width: int

    def make(self, choices: tuple[int, ...], shuffle: str = "split") -> ShuffleNetSpec:
        """The body of a path."""
        return make_shufflenet(choices, self.depths, self.widths, self.stem_width, shuffle)

    def count_classifier(self, size: tuple[int, int], classes: int) -> int:
        """MACs of what follows any path's body in a classifier: the last convolution, and one linear layer."""
        last = self.make((0,) * sum(self.depths)).maps(size)[-1]
        return last.width * self.classifier_width * last.cells + self.classifier_width * classes


PATH_SPACES: Mapping[str, PathSpace] = {
    "shufflenetv2_20": PathSpace((4, 4, 8, 4), (64, 160, 320, 640), 16, 1024),
    "shufflenetv2_40": PathSpace((8, 8, 16, 8), (96, 240, 480, 960), 48, 1024),
    "shufflenetv2_40w": PathSpace((8, 8, 16, 8), (172, 432, 864, 1728), 72, 1728),
}

OFA_SHAPES: Mapping[str, OfaShape] = {"ofa_resnet50": OfaShape()}

FAMILIES: Mapping[str, AnyBody] = {  # as the papers' tables have them, unpruned
    "r18": make_resnet((2, 2, 2, 2), BASIC),
    "r50": make_resnet((3, 4, 6, 3), BOTTLENECK),
    "r101": make_resnet((3, 4, 23, 3), BOTTLENECK),
    "x101": make_resnet((3, 4, 23, 3), RESNEXT_32X4D, (4, 8, 16, 32)),
    **{name: space.make((0,) * sum(space.depths)) for name, space in PATH_SPACES.items()},
    **{name: shape.largest() for name, shape in OFA_SHAPES.items()},
}


def find_family(body: AnyBody) -> str | None:
    """The family whose unpruned body this is; None where it is none's."""
    return next((name for name, unpruned in FAMILIES.items() if unpruned == body), None)


def body_from_choices(text: str, space: str = "") -> tuple[str, ShuffleNetSpec]:
    """The name of a space and the body whose blocks such an encoding names: "2120 2112 33130031 3132".

    Args:
        space: a key of `PATH_SPACES`; empty is the first with as many places.

    Raises:
        InputError: it is no such encoding, or no space has so many places.
    """
    choices = read_choices(text)
    fitting = [name for name, known in PATH_SPACES.items() if sum(known.depths) == len(choices)]
    if space and space not in PATH_SPACES:
        raise InputError(f"there is no space {space!r}; choose one of {', '.join(PATH_SPACES)}")
    if not fitting or (space and space not in fitting):
        sizes = ", ".join(f"{name} {sum(known.depths)}" for name, known in PATH_SPACES.items())
        raise InputError(f"an encoding of {len(choices)} places fits no space asked for; they have: {sizes}")
    name = space or fitting[0]
    return name, PATH_SPACES[name].make(choices)


def body_from_ofa(text: str) -> tuple[str, OfaResNetSpec] | None:
    """A family and the body that an encoding such as "ofa_resnet50:D2 E0.35 W1,1,0.8,0.65" names; None for other texts.

    Raises:
        InputError: of the encoding, see `read_ofa`.
    """
    name, colon, encoding = text.partition(":")
    if not colon or name not in OFA_SHAPES:
        return None
    return name, read_ofa(encoding, OFA_SHAPES[name])


def find_body(name: str) -> AnyBody:
    """The body of a family, or of an encoding behind its name: "shufflenetv2_20:2120 2112 33130031 3132".

    Raises:
        InputError: there is no such family, or no such encoding in it.
    """
    space, colon, encoding = name.partition(":")
    if colon and space in PATH_SPACES:
        return body_from_choices(encoding, space)[1]
    if (found := body_from_ofa(name)) is not None:
        return found[1]
    if name not in FAMILIES:
        raise InputError(f"there is no base {name!r}; choose one of {', '.join(FAMILIES)}")
    return FAMILIES[name]


def count_classifier(body: AnyBody, size: tuple[int, int] = (224, 224)) -> int:
    """MACs of a body with a linear classifier of 1000 behind the mean of its last map (FACTS 2.3)."""
    return body.count(size).macs + body.maps(size)[-1].width * 1000


def count_path(body: ShuffleNetSpec, space: PathSpace, size: tuple[int, int] = (224, 224)) -> tuple[int, int]:
    """MACs of convolutions: of the body alone, and with the last convolution and a classifier of 1000 (FACTS 2.2)."""
    alone = body.count(size).macs
    return alone, alone + space.count_classifier(size, 1000)


def base_arch(
    name: str, input_size: tuple[int, int], detector: str = "faster_rcnn", region_proposals: int | None = None
) -> ArchSpec:
    """The unpruned detector of a family or an encoding, with the papers' neck and head.

    Their widths are 256, 256 and 1024, and there are 1000 region proposals.

    Args:
        name: as in `find_body`.
        input_size: canvas (width, height) in pixels.
        detector: a `Head.name`.
        region_proposals: of a Faster R-CNN; None is the papers' 1000.
    """
    body = find_body(name)
    head = make_head(detector, input_size)
    if region_proposals is not None:
        if head.region_proposals is None:
            raise InputError(
                f"a {detector} has no region proposals, but {region_proposals} were asked for: leave it out"
            )
        head = head.propose(region_proposals)
    return ArchSpec(input_size, body, usual_neck(head), head)
