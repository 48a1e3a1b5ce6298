"""A run's images are the same ones when it goes on."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from optimizer.data.shapes import write_shapes
from optimizer.errors import InputError
from optimizer.progress import RunProgress
from optimizer.recipes import smoke
from optimizer.run.images import describe_data, read_data, read_splits, say_images
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


@pytest.mark.parametrize(
    ("count", "words"), [(1, "warning: none of 1 training images can be kept out"), (40, "13 of the 40")]
)
def test_what_is_kept_out_is_said_and_that_nothing_can_be(tmp_path: Path, count: int, words: str) -> None:
    """A path filter and a search then judge by images that were trained on, which nobody would guess."""
    folder = write_shapes(tmp_path / "shapes", train=count, val=1, size=(64, 64), seed=0)
    said = io.StringIO()
    say_images(read_splits(folder, keeps=True), RunProgress(Console(file=said, width=200)))
    assert words in said.getvalue()
