"""A checkpoint is whole, belongs to one training, and holds nothing that could run."""

from __future__ import annotations

import os
import pickle
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


@pytest.mark.parametrize("cut", [0, 10, -20])
def test_a_truncated_one_is_refused(cut: int, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", "mine", {"weight": torch.zeros(100)})
    (tmp_path / "c").write_bytes((tmp_path / "c").read_bytes()[:cut])
    with pytest.raises(RunFailed, match=r"cannot be read.*delete it to start over"):
        load_checkpoint(tmp_path / "c", "mine")


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
    for name in ("c", "plain"):
        with pytest.raises(RunFailed, match="cannot be read"):
            load_checkpoint(tmp_path / name, "mine")
    assert not (tmp_path / "harm").exists()
