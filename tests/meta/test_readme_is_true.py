"""What docs/search.md lists is what the catalogues hold, and the maps name what exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy.targets import TARGETS
from optimizer.arch.actions import ACTIONS
from optimizer.arch.families import FAMILIES
from optimizer.detectors import DETECTORS
from optimizer.distill.catalogue import DISTILLERS
from optimizer.recipes import RECIPES
from optimizer.search import STRATEGIES
from optimizer.search.costs import COSTS
from optimizer.search.objective import OBJECTIVES
from optimizer.track.catalogue import TRACKERS

ROOT = Path(__file__).resolve().parents[2]


def listed(name: str) -> set[str]:
    """The names in code style in the row `| name | ... |` of the table of choices."""
    row = re.search(rf"^\| {name} \|(.*)\|$", (ROOT / "docs" / "search.md").read_text(), re.MULTILINE)
    assert row, f"docs/search.md has no row {name!r}"
    return set(re.findall(r"`([^`]+)`", row[1]))


def test_the_table_of_choices_equals_the_catalogues() -> None:
    assert listed("base") == set(FAMILIES)
    assert listed("detector") == set(DETECTORS)
    assert listed("method") == set(STRATEGIES)
    assert listed("action") == set(ACTIONS)
    assert listed("distiller") == set(DISTILLERS)
    assert listed("score") == set(COSTS)
    assert listed("objective") == set(OBJECTIVES)
    assert listed("preset") == set(RECIPES)
    assert listed("tracker") == set(TRACKERS)
    assert listed("target") == set(TARGETS)


@pytest.mark.parametrize("package", ("optimizer", "deploy"))
def test_a_map_names_every_room_and_every_room_it_names_exists(package: str) -> None:
    root = ROOT / package
    rows = re.findall(r"^\| (`.*?) \|", (root / "README.md").read_text(), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([\w/]+/|\w+\.py)`", row)}
    assert all((root / name).exists() for name in named), named
    assert {f"{path.parent.name}/" for path in root.glob("*/__init__.py")} <= named
