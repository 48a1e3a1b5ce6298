"""A checkpoint is whole, belongs to one training, and holds nothing that could run."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from optimizer.errors import RunFailed
from optimizer.train import checkpoint as module
from optimizer.train.checkpoint import load_checkpoint, save_checkpoint


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    state = {"model": {"weight": torch.arange(6.0)}, "position": {"step": 4, "curve": [(1, 0.5)]}}
    save_checkpoint(tmp_path / "c", "mine", state)
    loaded = load_checkpoint(tmp_path / "c", "mine")
    assert loaded is not None
    assert torch.equal(loaded["model"]["weight"], state["model"]["weight"])
    assert loaded["position"] == state["position"]
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_a_process_killed_while_saving_leaves_the_old_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path / "c", "mine", {"step": 1})

    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", die)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path / "c", "mine", {"step": 2})
    assert load_checkpoint(tmp_path / "c", "mine") == {"step": 1}
    monkeypatch.undo()
    save_checkpoint(tmp_path / "c", "mine", {"step": 3})
    assert load_checkpoint(tmp_path / "c", "mine") == {"step": 3}


def test_a_full_disk_is_one_line_and_leaves_the_old_one_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path / "c", "mine", {"step": 1})

    def full(*arguments: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(module.torch, "save", full)
    with pytest.raises(RunFailed, match=r"No space left.*resume the run"):
        save_checkpoint(tmp_path / "c", "mine", {"step": 2})
    monkeypatch.undo()
    assert load_checkpoint(tmp_path / "c", "mine") == {"step": 1}
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(("since_s", "flushed"), [(20.0, False), (601.0, True)])
def test_only_a_long_training_waits_for_the_disk(
    since_s: float, flushed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr("os.fsync", asked.append)
    save_checkpoint(tmp_path / "c", "mine", {"step": 1}, since_s)
    assert bool(asked) is flushed and load_checkpoint(tmp_path / "c", "mine") == {"step": 1}


@pytest.mark.parametrize("damage", ["empty", "cut early", "cut late", "hole"])
def test_a_damaged_one_is_noticed_and_the_training_starts_over(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_checkpoint(tmp_path / "c", "mine", {"weight": torch.ones(10_000)})
    content = bytearray((tmp_path / "c").read_bytes())
    ends = {"empty": 0, "cut early": 10, "cut late": -20}
    if damage == "hole":  # blocks of a file that never arrived on the disk read as zeros
        content[8192:12288] = bytes(4096)
    (tmp_path / "c").write_bytes(content[: ends.get(damage, len(content))])
    assert load_checkpoint(tmp_path / "c", "mine") is None
    assert "is damaged, as by a power cut: this training starts over" in caplog.text


def test_one_of_another_training_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", "mine", {})
    with pytest.raises(RunFailed, match="belongs to another training"):
        load_checkpoint(tmp_path / "c", "other")


class Harmful:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("harm",)


def test_nothing_in_it_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"schema": 1, "fingerprint": "mine", "state": Harmful()}, tmp_path / "c")
    (tmp_path / "plain").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(RunFailed, match="cannot be read"):
        load_checkpoint(tmp_path / "c", "mine")
    assert load_checkpoint(tmp_path / "plain", "mine") is None
    assert not (tmp_path / "harm").exists()


def compress(path: Path) -> None:
    """The same archive, whose zeros take a thousandth of the space."""
    with zipfile.ZipFile(path) as archive:
        content = {item.filename: archive.read(item) for item in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in content.items():
            archive.writestr(name, part)


def test_one_that_is_compressed_is_not_unfolded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_checkpoint(tmp_path / "a", "fingerprint", {"zeros": torch.zeros(1_000_000)})
    compress(tmp_path / "a")
    assert load_checkpoint(tmp_path / "a", "fingerprint") is None and "is damaged" in caplog.text
