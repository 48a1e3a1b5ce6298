"""Files, bundles and plans on a disk that fails at any call: one line, nothing half-written, and the next try works."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from failing import CALLS, CODES, fail_at_every_call

from deploy import BundleManifest, open_bundle, write_bundle
from deploy.builders.plans import find_plan, write_plan
from deploy.engines.plan import BuildSettings, PlanKey, Platform
from deploy.errors import DeployError, EngineError
from deploy.files import replace_folder, write_file

pytestmark = [pytest.mark.parametrize("call", CALLS), pytest.mark.parametrize("code", CODES), pytest.mark.timeout(120)]


def test_a_file(tmp_path: Path, call: str, code: int) -> None:
    def prepare(folder: Path) -> None:
        folder.mkdir()
        (folder / "a").write_bytes(b"old" * 100)

    def work(folder: Path) -> None:
        try:
            write_file(folder / "a", b"new" * 100)
        except OSError:
            assert (folder / "a").read_bytes() in (b"old" * 100, b"new" * 100)
            raise

    def check(folder: Path) -> None:
        assert (folder / "a").read_bytes() == b"new" * 100 and len(list(folder.iterdir())) == 1

    assert fail_at_every_call(call, code, tmp_path, work, (OSError,), check, prepare) >= 1


@pytest.mark.parametrize("way", ["new", "exchanged", "by two renames"])
def test_a_bundle(
    tmp_path: Path, call: str, code: int, way: str, tiny_model: Path, manifest: BundleManifest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("deploy.bundles.bundle.write_archive", lambda path: path.write_bytes(b"PK"))
    if way == "by two renames":
        monkeypatch.setattr("ctypes.CDLL", lambda *words, **options: None)

    def prepare(folder: Path) -> None:
        folder.mkdir()
        if way != "new":
            write_bundle(folder / "bundle", tiny_model, replace(manifest, name="old"))

    def work(folder: Path) -> None:
        try:
            write_bundle(folder / "bundle", tiny_model, replace(manifest, name="new"))
        except DeployError:
            if way != "new" or (folder / "bundle").exists():
                assert open_bundle(folder / "bundle").manifest.name in ("old", "new")
            raise

    def check(folder: Path) -> None:
        assert open_bundle(folder / "bundle").manifest.name == "new"
        assert [path.name for path in folder.iterdir()] == ["bundle"]

    (tmp_path / "cases").mkdir()
    failed = fail_at_every_call(call, code, tmp_path / "cases", work, (DeployError,), check, prepare)
    assert failed >= (0 if (call, way) == ("rename", "exchanged") else 1)


def test_a_plan(tmp_path: Path, call: str, code: int) -> None:
    key = PlanKey("0" * 64, Platform("10.3", "a GPU", "8.7", "12.6"), BuildSettings(3))

    def prepare(folder: Path) -> None:
        folder.mkdir(mode=0o700)
        write_plan(folder, key, b"old" * 100, {})

    def work(folder: Path) -> None:
        try:
            write_plan(folder, key, b"new" * 100, {})
        except EngineError:
            plan, _ = find_plan(folder, key)  # a plan and its manifest are two files: what does not fit is not loaded
            assert plan is None or plan.content in (b"old" * 100, b"new" * 100)
            raise

    def check(folder: Path) -> None:
        plan, why = find_plan(folder, key)
        assert plan is not None and plan.content == b"new" * 100, why

    assert fail_at_every_call(call, code, tmp_path, work, (EngineError,), check, prepare) >= 2


def test_a_folder_whose_old_one_cannot_be_put_aside(tmp_path: Path, call: str, code: int) -> None:
    def work(folder: Path) -> None:
        with replace_folder(folder / "a") as aside:
            (aside / "content").write_text("whole")

    def check(folder: Path) -> None:
        assert (folder / "a" / "content").read_text() == "whole"

    assert fail_at_every_call(call, code, tmp_path, work, (OSError,), check) >= 1
