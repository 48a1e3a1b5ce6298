"""Slim networks in place of those that a run knows by name: all else is real, and a run takes seconds.

Names are the real ones, and so are depths and choices, but for the once-for-all network, which is half as deep too.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeVar

import pytest
from warm import IMPORTED

from optimizer.arch import families, ofa_space, paths, pool
from optimizer.arch.bodies.ofa_resnet import OfaShape
from optimizer.arch.bodies.resnet import make_resnet
from optimizer.arch.heads import Head, make_head
from optimizer.arch.necks import Neck, usual_neck

__all__ = ["WIDTH", "slim_down", "start_slim"]

WIDTH = 32  # of necks and heads
R18 = make_resnet((2, 2, 2, 2), ((16, 16), (24, 24), (32, 32), (48, 48)))
SHUFFLENET = replace(families.PATH_SPACES["shufflenetv2_20"], widths=(24, 32, 48, 64))
OFA = OfaShape((1, 1, 2, 1), (1, 1, 1, 1), (64, 128, 256, 512), 32, 16)

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["pytest", *IMPORTED])
Part = TypeVar("Part", Head, Neck)


def slim_down(patch: pytest.MonkeyPatch) -> None:
    """Until the patch is undone, this process makes slim networks."""
    patch.setitem(families.PATH_SPACES, "shufflenetv2_20", SHUFFLENET)  # type: ignore[arg-type]
    patch.setitem(families.OFA_SHAPES, "ofa_resnet50", OFA)  # type: ignore[arg-type]
    bodies = {"r18": R18, "shufflenetv2_20": SHUFFLENET.make((0,) * 20), "ofa_resnet50": OFA.largest()}
    for name, body in bodies.items():
        patch.setitem(families.FAMILIES, name, body)  # type: ignore[arg-type]
    for module in (families, ofa_space, paths, pool):
        patch.setattr(module, "make_head", lambda name, size: _slim(make_head(name, size)))
        patch.setattr(module, "usual_neck", lambda head: _slim(usual_neck(head)))


def start_slim(said: Path, work: Callable[..., object], *arguments: object) -> BaseProcess:
    """A process with everything imported and slim networks that does the work; its stderr goes to `said`."""
    process = FORKS.Process(target=_work, args=(said, work, *arguments))
    process.start()
    return process


def _work(said: Path, work: Callable[..., object], *arguments: object) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 2)
    slim_down(pytest.MonkeyPatch())
    work(*arguments)


def _slim(part: Part) -> Part:
    for name in part.widths:
        part = part.with_width(name, WIDTH)
    return part
