"""Parts of a detector that a training leaves as they are: for few images, and weights worth keeping."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from optimizer.train.config import Freeze

__all__ = ["frozen"]

NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)


@contextmanager
def frozen(model: nn.Module, freeze: Freeze) -> Iterator[None]:
    """A detector in training mode whose frozen parts are neither trained nor, where BatchNorms, measured anew.

    Within the context. Its modules stay the very objects they are, so that what is exported later is the same graph.
    """
    parts = _list_stages(model, freeze.stages) if freeze.stages else []
    norms = [module for part in parts for module in part.modules() if isinstance(module, NORMS)]
    if freeze.norm:
        parts += (every := [module for module in model.modules() if isinstance(module, NORMS)])
        norms += every
    stopped = [parameter for part in parts for parameter in part.parameters() if parameter.requires_grad]
    for parameter in stopped:
        parameter.requires_grad_(False)
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for parameter in stopped:
            parameter.requires_grad_(True)


def _list_stages(model: nn.Module, count: int) -> list[nn.Module]:
    """The stem and the first stages of the body, which has them as "layer1" or "stage1" and so on, behind the stem."""
    body = dict(model.get_submodule("backbone.body").named_children())
    last = [number for number, name in enumerate(body, start=1) if name in (f"layer{count}", f"stage{count}")]
    assert last, f"a backbone without a stage {count}: {', '.join(body)}"
    return list(body.values())[: last[0]]
