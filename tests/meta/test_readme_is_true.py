"""What README.md lists is what the catalogues hold."""

from __future__ import annotations

import re
from pathlib import Path

from deploy.targets import TARGETS
from optimizer.arch.actions import ACTIONS
from optimizer.arch.families import FAMILIES
from optimizer.detectors import DETECTORS
from optimizer.distill.catalogue import DISTILLERS
from optimizer.recipes import RECIPES
from optimizer.search import STRATEGIES
from optimizer.search.objective import OBJECTIVES

ROOT = Path(__file__).resolve().parents[2]


def listed(name: str) -> set[str]:
    """The names in code style in the row `| name | ... |` of README's table of choices."""
    row = re.search(rf"^\| {name} \|(.*)\|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert row, f"README.md has no row {name!r}"
    return set(re.findall(r"`([^`]+)`", row[1]))


def test_the_table_of_choices_equals_the_catalogues() -> None:
    assert listed("base") == set(FAMILIES)
    assert listed("detector") == set(DETECTORS)
    assert listed("method") == set(STRATEGIES)
    assert listed("action") == set(ACTIONS)
    assert listed("distiller") == set(DISTILLERS)
    assert listed("objective") == set(OBJECTIVES)
    assert listed("preset") == set(RECIPES)
    assert listed("target") == set(TARGETS)


def test_every_folder_the_map_names_exists() -> None:
    text = (ROOT / "optimizer" / "README.md").read_text()
    names = re.findall(r"^\| `([\w/]+/|\w+\.py)` \|", text, re.MULTILINE)
    assert len(names) > 8
    for name in names:
        assert (ROOT / "optimizer" / name).exists(), name
