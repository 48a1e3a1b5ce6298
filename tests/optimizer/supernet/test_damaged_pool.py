"""A pool that is damaged, or made by somebody else, is refused in one clear line."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from shapes_data import ShapesData
from small_pool import CONFIG, assert_same_weights, train_in, weights_of

from optimizer.errors import InputError, RunFailed
from optimizer.supernet.manifest import read_manifest
from optimizer.supernet.pool import TeacherPool, find_pool, list_pools, open_pool


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"schema": 1}', '{"schema": 1, "config": {"family": "r18"}}', "\x00\x01"],
)
def test_a_damaged_manifest_is_one_clear_line(copied: Path, data: ShapesData, content: str) -> None:
    (copied / "pool.json").write_text(content)
    for use in (lambda: open_pool(copied, data.train), lambda: find_pool(copied, CONFIG, data.train)):
        with pytest.raises(InputError, match=r"the teacher pool .* is damaged: pool\.json cannot be read") as caught:
            use()
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="is damaged"):
        list_pools(copied.parent)


def test_a_manifest_of_another_version_is_refused(copied: Path, data: ShapesData) -> None:
    manifest = json.loads((copied / "pool.json").read_text())
    (copied / "pool.json").write_text(json.dumps(manifest | {"schema": 2}))
    with pytest.raises(InputError, match="schema version 2; this release reads version 1"):
        open_pool(copied, data.train)


@pytest.mark.parametrize("damage", ["missing", "truncated", "altered"])
def test_damaged_weights_are_one_clear_line(copied: Path, data: ShapesData, damage: str) -> None:
    path = copied / "phase-2.safetensors"
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[:-100] if damage == "truncated" else content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=r"is damaged: phase-2\.safetensors is not the file it was made with"):
        open_pool(copied, data.train)


@pytest.mark.parametrize("damage", ["rubbish", "another network's"])
def test_weights_that_fit_the_manifest_and_nothing_else_are_one_clear_line(
    copied: Path, data: ShapesData, damage: str
) -> None:
    """As somebody leaves them who made the manifest fit."""
    path = copied / "phase-2.safetensors"
    if damage == "rubbish":
        path.write_bytes(b"rubbish" * 100)
    else:
        save_file({"weight": torch.zeros(3)}, path)
    content = json.loads((copied / "pool.json").read_text())
    content["weights_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (copied / "pool.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"cannot be read|are of another network") as caught:
        open_pool(copied, data.train)
    assert "\n" not in str(caught.value)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "change",
    [
        {"class_names": "circle"},
        {"class_names": [1]},
        {"images": "6"},
        {"data": 3},
        {"ap": [1]},
        {"ap": {"a": "1"}},
        {"ap": {"a": 1e999}},
        {"weights_sha256": None},
    ],
)
def test_a_manifest_of_wrong_types_is_one_clear_line(copied: Path, change: dict[str, object]) -> None:
    content = json.loads((copied / "pool.json").read_text())
    (copied / "pool.json").write_text(json.dumps(content | change))
    with pytest.raises(InputError, match=r"pool\.json cannot be read") as caught:
        read_manifest(copied)
    assert "\n" not in str(caught.value)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000])
def test_a_manifest_that_no_reader_can_follow_is_one_clear_line(copied: Path, text: str) -> None:
    (copied / "pool.json").write_text(text)
    with pytest.raises(InputError, match=r"pool\.json cannot be read") as caught:
        read_manifest(copied)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_pool(tmp_path: Path, data: ShapesData) -> None:
    with pytest.raises(InputError, match=r"is not a teacher pool: it has no pool\.json"):
        open_pool(tmp_path, data.train)


@pytest.mark.parametrize(
    "damage",
    [
        "garbage",
        "truncated",
        "another network's",
    ],
)
def test_a_damaged_phase_of_an_unfinished_pool_is_one_clear_line(
    trained: TeacherPool, copied: Path, data: ShapesData, damage: str
) -> None:
    for name in ("pool.json", "phase-2.safetensors"):
        (copied / name).unlink()
    path = copied / "phase-1.safetensors"
    if damage == "another network's":
        save_file({"weight": torch.zeros(3)}, path)
    else:
        path.write_bytes(b"garbage" * 100 if damage == "garbage" else path.read_bytes()[:-1000])
    with pytest.raises(RunFailed, match=r"phase-1\.safetensors is damaged .* delete it and the phases after it"):
        train_in(copied, data)
    path.unlink()
    assert_same_weights(weights_of(train_in(copied, data)), weights_of(trained))


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_damaged_note_of_an_unfinished_pool_is_one_clear_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "training.json").write_text(content)
    with pytest.raises(InputError, match=r"is damaged: training\.json cannot be read"):
        list_pools(tmp_path)
