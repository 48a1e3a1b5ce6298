"""After a power cut at any moment a file, a bundle or a plan is the old one or the new one, and never half of one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from power_cut import cut_at_every_moment
from replay import lay

from deploy import BundleManifest, open_bundle, write_bundle
from deploy.builders.plans import find_plan, write_plan
from deploy.engines.plan import BuildSettings, PlanKey, Platform
from deploy.files import replace_file, write_file

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    (tmp_path / "disk").mkdir()
    return tmp_path / "disk"


def test_the_double_loses_what_was_not_flushed(disk: Path) -> None:
    """Else all that follows would show nothing."""

    def work() -> None:
        with replace_file(disk / "a", flushed=False) as aside:
            aside.write_bytes(b"new")

    states = cut_at_every_moment(disk, work)
    assert {} in states, "its name is lost"
    assert {"a": b""} in states, "its name arrives before its content"
    assert not any(state.get("a") for state in states)


def test_a_file(disk: Path) -> None:
    (disk / "a").write_bytes(b"old")
    states = cut_at_every_moment(disk, lambda: write_file(disk / "a", b"new"))
    assert {state["a"] for state in states} == {b"old", b"new"}
    assert states[-2:] == [{"a": b"new"}] * 2


def test_a_new_file_stays_once_it_is_written(disk: Path) -> None:
    states = cut_at_every_moment(disk, lambda: write_file(disk / "a", b"new"))
    assert {state.get("a") for state in states} == {None, b"new"}
    assert states[-2:] == [{"a": b"new"}] * 2


@pytest.mark.parametrize("way", ["new", "exchanged", "by two renames"])
def test_a_bundle(
    disk: Path, tmp_path: Path, tiny_model: Path, manifest: BundleManifest, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr("deploy.bundles.bundle.write_archive", lambda path: path.write_bytes(b"PK"))
    if way == "by two renames":
        monkeypatch.setattr("ctypes.CDLL", lambda *words, **options: None)
    folder = disk / "runs" / "bundle"
    if way != "new":
        write_bundle(folder, tiny_model, replace(manifest, name="old"))
    states = cut_at_every_moment(disk, lambda: write_bundle(folder, tiny_model, replace(manifest, name="new")))
    names = []
    for number, state in enumerate(states):
        left = lay(tmp_path / f"{number}", state) / "runs" / "bundle"
        if left.exists():
            names.append(open_bundle(left).manifest.name)
        else:
            assert way != "exchanged", "there is one at any moment"
            assert way == "new" or list(left.parent.glob(".bundle.*.part/bundle.json")), "it is aside"
    assert names[-2:] == ["new", "new"] and set(names) == ({"new"} if way == "new" else {"old", "new"})


def test_a_plan(disk: Path, tmp_path: Path) -> None:
    disk.chmod(0o700)
    key = PlanKey("0" * 64, Platform("10.3", "a GPU", "8.7", "12.6"), BuildSettings(3))
    write_plan(disk, key, b"old", {})
    found = []
    for number, state in enumerate(cut_at_every_moment(disk, lambda: write_plan(disk, key, b"new", {}))):
        plan, why = find_plan(lay(tmp_path / f"{number}", state), key)
        assert plan is None or plan.content in (b"old", b"new"), why
        found.append(plan)
    assert all(plan is not None and plan.content == b"new" for plan in found[-2:])
