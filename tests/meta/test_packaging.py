"""What is installed is what is here: wheel and source archive are whole, are built without a warning, and work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import deploy
import optimizer

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("optimizer", "deploy")
BUILD = "from setuptools import build_meta; print(build_meta.build_{kind}({folder!r}))"


def list_files() -> set[str]:
    """What an installation needs: code, and the files that code reads."""
    found = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in found if path.suffix not in (".pyc", ".md")}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, since setuptools builds in its source."""
    copy = tmp_path_factory.mktemp("packaging") / "source"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def build(kind: str, source: Path) -> tuple[Path, str]:
    """The wheel or source archive, and what setuptools said."""
    made = run([sys.executable, "-c", BUILD.format(kind=kind, folder=str(source.parent))], source)
    return source.parent / made.stdout.split()[-1], made.stdout + made.stderr


def run(command: Sequence[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run it without what this process has on its path."""
    left_out = ("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE")
    clean = {name: value for name, value in os.environ.items() if name not in left_out}
    done = subprocess.run([str(word) for word in command], cwd=folder, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


def test_a_wheel_holds_all_that_is_needed_and_is_built_without_a_warning(source: Path) -> None:
    wheel, said = build("wheel", source)
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in names if name.split("/")[0] in PACKAGES} == list_files()
    assert wheel.name == f"detopt-{deploy.__version__}-py3-none-any.whl"
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "arning" not in said and "namespace" not in said, said


def test_a_source_archive_makes_the_same_wheel(source: Path, tmp_path: Path) -> None:
    archive, _ = build("sdist", source)
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    wheel, _ = build("wheel", unpacked)
    assert {name for name in zipfile.ZipFile(wheel).namelist() if name.split("/")[0] in PACKAGES} == list_files()


def test_the_version_is_the_same_everywhere() -> None:
    assert optimizer.__version__ == deploy.__version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == deploy.__version__
    first = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first and first[1] == deploy.__version__
    for command in ("optimizer", "deploy.cli.parser"):
        code = f"import sys; sys.argv = ['x', '--version']; import {command} as m; m.main()"
        code = code.replace("optimizer as m", "optimizer.cli as m")
        said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        assert (said.returncode, said.stdout) == (0, f"detopt {deploy.__version__}\n")


@pytest.mark.slow
@pytest.mark.timeout(1200)  # a whole run; a machine that others measure on lets it wait
def test_a_clean_environment_with_the_wheel_alone_does_the_main_job(source: Path, tmp_path: Path) -> None:
    """Its dependencies are those of this environment, by a path file, in which an editable install does not count."""
    wheel, _ = build("wheel", source)
    run([sys.executable, "-m", "venv", "clean"], tmp_path)
    bin_folder = tmp_path / "clean" / "bin"
    (library,) = (tmp_path / "clean" / "lib").glob("python*/site-packages")
    (library / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run([bin_folder / "python", "-m", "pip", "install", "--no-deps", "--no-index", wheel], tmp_path)
    where = run(
        [bin_folder / "python", "-c", "import deploy, optimizer; print(deploy.__file__, optimizer.__file__)"], tmp_path
    )
    assert where.stdout.count(str(library)) == 2

    assert run([bin_folder / "optimize", "--version"], tmp_path).stdout == f"detopt {deploy.__version__}\n"
    known = run([bin_folder / "optimize", "targets"], tmp_path).stdout.split()
    assert {"cpu", "jetson"} <= set(known)
    search = "--preset smoke --base r18 --target cpu --trials 1 --score macs --out run"
    run([bin_folder / "optimize", *search.split()], tmp_path)
    assert "<html" in (tmp_path / "run" / "report.html").read_text()
    bundle = tmp_path / "run" / "bundles" / "base"
    Image.fromarray(np.full((90, 120, 3), 90, np.uint8)).save(tmp_path / "street.png")
    found = run([bin_folder / "deploy", "run", bundle, "street.png", "--json"], tmp_path).stdout
    alone = run([bin_folder / "python", bundle / "detect.pyz", "run", bundle, "street.png", "--json"], tmp_path).stdout
    assert found.startswith('{"source"') and alone.startswith('{"source"')
