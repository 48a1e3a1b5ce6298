"""`Origin`: what has to be known of another project's detectors to take over their weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from optimizer.arch.parts import Form
from optimizer.arch.spec import ArchSpec

__all__ = ["Origin"]

ANCHOR_SCALE = 8  # 32 to 512 pixels, on any canvas: both projects'


@dataclass(frozen=True)
class Origin:
    """A project, and one of its conventions for ResNets; all else is as torchvision has it.

    Attributes:
        name: what `--from` takes. title: what a person calls it.
        mark: how the names of its bodies' tensors begin, which no other project's do.
        names: regular expressions of its names, and ours for each (as in `re.sub`); the first that fits is taken.
        names_by_head: more of them, which differ between kinds of heads.
        left_out: of names of what is not weights.
        caffe: whether ResNets are as Caffe had them: channels blue to red, deviations of pixels within the first
            convolution's weights, strides on the first convolution of a bottleneck. Otherwise as torchvision's.
        coarser: how P6 and P7 of a RetinaNet are made, as in `FpnSpec.coarser`.
        sides_first: whether the nine anchors of a RetinaNet's cell go side by side instead of ratio by ratio.
        class_keys: where its checkpoints name the classes, if they do: keys on the way there from `meta`.
    """

    name: str
    title: str
    mark: str
    names: Mapping[str, str]
    names_by_head: Mapping[str, Mapping[str, str]]
    left_out: str
    caffe: bool
    coarser: str
    sides_first: bool = False
    class_keys: tuple[tuple[str, ...], ...] = ()

    def rename(self, name: str, head: str) -> str | None:
        """Our name of a tensor of a detector with such a head; its own where it is not known, None if left out."""
        if re.match(self.left_out, name):
            return None
        for pattern, ours in (*self.names_by_head[head].items(), *self.names.items()):
            if re.match(pattern, name):
                return re.sub(pattern, ours, name, count=1)
        return name

    def form(self, arch: ArchSpec) -> ArchSpec:
        """The architecture in the form that its weights are for.

        Raises:
            InputError: there are no such weights for it.
        """
        form = Form(self.caffe, self.coarser, ANCHOR_SCALE)
        parts = (arch.body.take_form(form), arch.neck.take_form(form), arch.head.take_form(form))
        return ArchSpec(arch.input_size, *parts)
