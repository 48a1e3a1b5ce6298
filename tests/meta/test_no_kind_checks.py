"""Whoever needs to know something of a body, a neck or a head asks that part; nobody asks for its kind."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from optimizer.arch.bodies import BODIES
from optimizer.arch.heads import HEADS
from optimizer.arch.necks import NECKS
from optimizer.detectors import DETECTORS
from optimizer.detectors.bodies import BODIES as BODY_MODULES
from optimizer.detectors.necks import NECKS as NECK_MODULES

ROOT = Path(__file__).resolve().parents[2]
CATALOGUES = (BODIES, NECKS, HEADS, BODY_MODULES, NECK_MODULES, DETECTORS)
KINDS = {kind for catalogue in CATALOGUES for kind in catalogue}
CLASSES = {part.__name__ for catalogue in CATALOGUES for part in catalogue.values()}


def list_kind_checks(source: str) -> Iterator[str]:
    """Each `isinstance` with the class of a part, and each comparison with the name of a kind."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
            found = any(isinstance(name, ast.Name) and name.id in CLASSES for name in ast.walk(node.args[1]))
        else:
            values = ast.walk(node) if isinstance(node, ast.Compare) else ()
            found = any(isinstance(value, ast.Constant) and value.value in KINDS for value in values)
        if found:
            yield ast.unparse(node)


def test_kind_checks_are_noticed() -> None:
    source = (
        "if isinstance(arch.head, (A, FasterRCNNHead)): ...\nif head.kind != 'retinanet' or kind in ('resnet',): ..."
    )
    assert len([*list_kind_checks(source)]) == 3
    assert not [*list_kind_checks("isinstance(x, int); a.kind == b.kind; HEADS['retinanet']")]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "optimizer").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_nobody_asks_for_the_kind_of_a_part(path: Path) -> None:
    """The file of a kind is named after it, and may know what it is."""
    if path.stem not in KINDS:
        assert [*list_kind_checks(path.read_text())] == []
