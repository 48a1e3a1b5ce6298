"""`detect.pyz` runs a bundle with nothing of ours installed, and is the same bytes every time."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from deploy import Bundle, open_bundle
from deploy.bundles.archive import list_board_files, write_archive


def test_equal_sources_give_equal_bytes(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.pyz")
    write_archive(tmp_path / "b.pyz")
    assert (tmp_path / "a.pyz").read_bytes() == (tmp_path / "b.pyz").read_bytes()


def test_the_exporter_stays_at_home() -> None:
    files = list_board_files()
    assert "targets/known/cpu.toml" in files and "engines/ort.py" in files
    assert not [name for name in files if name.startswith("export")]


def test_the_archive_finds_objects_with_nothing_installed(
    tiny_bundle: Bundle, write_image: Callable[..., Path], tmp_path: Path
) -> None:
    write_image()
    away = tmp_path / "away"
    away.mkdir()
    # -I leaves out the current folder and PYTHONPATH; the guard leaves out an installed copy of the package
    guard = (
        "import runpy, sys; sys.path.insert(0, sys.argv[1]); import deploy; assert '.pyz' in deploy.__file__; "
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    archive = str(tiny_bundle.folder / "detect.pyz")
    command = [sys.executable, "-I", "-c", guard, archive, "run", "../bundle", "../image.png", "--json"]
    result = subprocess.run(command, cwd=away, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    assert [item["class"] for item in json.loads(result.stdout)["objects"]] == ["dog", "cat"]


def test_known_targets_need_no_reader_of_toml(
    tiny_bundle: Bundle, write_image: Callable[..., Path], tmp_path: Path
) -> None:
    without = "import runpy, sys; sys.modules.update(tomllib=None, tomli=None); sys.argv = sys.argv[1:]; "
    command = [sys.executable, "-I", "-c", without + "runpy.run_path(sys.argv[0], run_name='__main__')"]
    command += [str(tiny_bundle.folder / "detect.pyz"), "run", str(tiny_bundle.folder), str(write_image()), "--json"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    assert len(json.loads(result.stdout)["objects"]) == 2


def test_the_archive_runs_as_a_file_and_knows_its_targets(tiny_bundle: Bundle, tmp_path: Path) -> None:
    command = [sys.executable, "-I", str(tiny_bundle.folder / "detect.pyz"), "targets"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "target cpu: works" in result.stdout
    assert zipfile.is_zipfile(tiny_bundle.folder / "detect.pyz")


def test_an_archive_adopts_a_model_and_hands_itself_on(tiny_bundle: Bundle, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    command = [sys.executable, "-I", str(tiny_bundle.folder / "detect.pyz"), "adopt", str(tiny_model), "--trust"]
    command += ["--head", "detections", "--classes", "names.txt", "--out", "adopted"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    archive = open_bundle(tmp_path / "adopted").folder / "detect.pyz"
    assert archive.read_bytes() == (tiny_bundle.folder / "detect.pyz").read_bytes()


def test_the_archive_does_not_load_a_model_that_was_altered(
    tiny_bundle: Bundle, write_image: Callable[..., Path]
) -> None:
    tiny_bundle.model.write_bytes(tiny_bundle.model.read_bytes() + b" ")
    guard = (
        "import runpy, sys; sys.modules['onnxruntime'] = None; sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    for command in (["run", ".", str(write_image())], ["measure", ".", "--level", "quick"], ["compare", ".", "."]):
        line = [sys.executable, "-I", "-c", guard, "detect.pyz", *command]
        result = subprocess.run(line, cwd=tiny_bundle.folder, capture_output=True, text=True, check=False, timeout=60)
        assert result.returncode == 2 and "altered" in result.stderr, "not: ONNX Runtime is not installed"
        assert result.stderr.count("\n") == 1 and result.stdout == ""
