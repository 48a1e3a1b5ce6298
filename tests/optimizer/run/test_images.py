"""A run's images are the same ones when it goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from optimizer.data.shapes import write_shapes
from optimizer.errors import InputError
from optimizer.recipes import smoke
from optimizer.run.images import describe_data, read_data, read_splits
from optimizer.store import DataSummary, RunStore


def change_labels(folder: Path) -> None:
    """Every box moves; nothing else does."""
    for path in folder.rglob("*.json"):
        content = json.loads(path.read_text())
        for item in content.get("annotations", []):
            item["bbox"] = [item["bbox"][0], item["bbox"][1], item["bbox"][2] / 2, item["bbox"][3] / 2]
        path.write_text(json.dumps(content))


def change_picture(folder: Path) -> None:
    """One picture shows something else."""
    path = sorted(folder.rglob("*.png"))[0]
    with Image.open(path) as image:
        Image.new("RGB", image.size).save(path)


def change_crowds(folder: Path) -> None:
    """An object becomes a region that is ignored."""
    for path in folder.rglob("*.json"):
        content = json.loads(path.read_text())
        for item in content.get("annotations", [])[:1]:
            item["iscrowd"] = 1
        path.write_text(json.dumps(content))


@pytest.mark.parametrize("change", [change_labels, change_picture, change_crowds])
def test_a_run_notices_that_its_data_was_rewritten_under_the_same_names(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    folder = write_shapes(tmp_path / "shapes", train=4, val=2, size=(64, 64), seed=0)
    config = smoke(folder)
    with RunStore.create(tmp_path / "run", config.model_dump(mode="json")) as store:
        read_data(store, config)
        read_data(store, config)
        change(folder)
        with pytest.raises(InputError, match="other labels or pictures under the same names; start a new run"):
            read_data(store, config)


def test_a_run_from_before_there_were_fingerprints_goes_on(tmp_path: Path) -> None:
    folder = write_shapes(tmp_path / "shapes", train=4, val=2, size=(64, 64), seed=0)
    config, found = smoke(folder), describe_data(read_splits(folder))
    assert found.fingerprint
    with RunStore.create(tmp_path / "run", config.model_dump(mode="json")) as store:
        store.write_entry("data", json.dumps([*found[:3]]))
        assert store.data == DataSummary(*found[:3])
        read_data(store, config)
