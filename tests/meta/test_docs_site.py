"""The documentation as a site: reference pages leave nothing out, drawings are whole, and no link is dead."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from command_pages import make_deploy_page, make_optimize_page, walk_deploy, walk_optimize
from python_pages import PACKAGES, make_python_page, name_homes

from optimizer.cli.options import OPTIONS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
DRAWINGS = sorted(DOCS.glob("concepts/drawings/*.svg"))
needs_mkdocs = pytest.mark.skipif(
    not all(find_spec(name) for name in ("mkdocs", "material", "mkdocstrings_handlers")),
    reason="the site is built by mkdocs: pip install 'detopt[docs]'",
)


def section(page: str, name: str) -> str:
    (found,) = re.findall(rf"(?ms)^## {re.escape(name)}$(.*?)(?=^## |\Z)", page)
    return found


def test_the_reference_has_every_command_and_option_of_optimize() -> None:
    page, names = make_optimize_page(), []
    for name, command, _ in walk_optimize():
        names.append(name)
        for param in command.params:
            for flag in (*param.opts, *param.secondary_opts):
                assert param.hidden or flag.startswith("-") is False or flag in section(page, name), (name, flag)
    assert {"optimize", "optimize distill", "optimize data check", "optimize supernets train"} <= set(names)
    flags = (option.switch.split("/")[0] or option.flag for option in OPTIONS)
    assert all(f"`{flag}" in section(page, "optimize") for flag in flags)


def test_the_reference_has_every_command_and_option_of_deploy() -> None:
    page, names = make_deploy_page(), []
    for name, parser in walk_deploy():
        names.append(name)
        for action in parser._actions:
            for flag in action.option_strings:
                assert flag in ("-h", "--help") or flag in section(page, name), (name, flag)
    assert {"deploy run", "deploy pack", "deploy targets check"} <= set(names) and "deploy agent" not in names


@pytest.mark.parametrize("package", PACKAGES)
def test_the_reference_has_every_public_name_where_it_is_defined(package: str) -> None:
    page = make_python_page(package)
    for name, home in name_homes(package).items():
        module, _, attribute = home.rpartition(".")
        assert getattr(import_module(module), attribute) is getattr(PACKAGES[package], name)
        assert f"::: {home}\n" in page and (attribute == name or f"## {name}\n" in page)


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda path: path.stem)
def test_a_drawing_is_whole_fetches_nothing_and_has_colours_in_the_site_too(drawing: Path) -> None:
    classes = set(re.findall(r"\.([\w-]+)", re.sub(r"\{.*?\}", "", (DOCS / "style.css").read_text(), flags=re.DOTALL)))
    used = {name for node in ElementTree.parse(drawing).iter() for name in node.get("class", "").split()}
    assert used and used <= classes
    assert "http" not in drawing.read_text().replace("http://www.w3.org/2000/svg", "")
    page = (DOCS / "concepts" / f"{drawing.stem}.md").read_text()
    assert re.search(rf"!\[[^\]]{{20,}}\]\(drawings/{drawing.stem}\.svg\)", page), (
        "shown, with a text for who cannot see it"
    )


def test_every_page_is_in_the_navigation_and_every_concept_has_a_drawing() -> None:
    written = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    shown = set(re.findall(r": ([\w/.-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert written <= shown
    assert {path.stem for path in DRAWINGS} == {path.stem for path in DOCS.glob("concepts/*.md")}
    assert yaml.safe_load((ROOT / "mkdocs.yml").read_text())["docs_dir"] == "docs"


@needs_mkdocs
def test_links_of_the_repository_become_links_of_the_site() -> None:
    turn_links = import_module("detopt_site").turn_links
    assert turn_links("[a](docs/search.md#x)", "index.md") == "[a](search.md#x)"
    assert turn_links("[a](../../benchmarks/README.md)", "concepts/lease.md") == "[a](../benchmarks/README.md)"
    assert turn_links("[a](../README.md#first-result)", "jetson.md") == "[a](index.md#first-result)"
    assert turn_links("[code](../deploy/convert.py)", "using.md") == "code", "the site has no source code"
    assert turn_links("[a](gone.md)", "using.md") == "[a](gone.md)", "mkdocs is to complain"
    assert turn_links("`[a](docs/search.md)`", "index.md") == "`[a](docs/search.md)`", "code stays as it is"


@needs_mkdocs
def test_the_site_is_built_without_a_warning_and_fetches_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert built.returncode == 0, built.stdout + built.stderr
    pages = {path: path.read_text() for path in (tmp_path / "site").rglob("*.html")}
    assert len(pages) > 40
    for path, text in pages.items():
        assert not re.search(r'(?:src|<link[^>]*href)="(?:https?:)?//', text), path
    front = (tmp_path / "site" / "concepts" / "front.html").read_text()
    assert '<svg class="drawing"' in front and "drawings/front.svg" not in front, "a part of the page"
    history = (tmp_path / "site" / "benchmarks" / "history.html").read_text()
    assert history.count("<figure>") > 10 and "ours over torchvision" in history
    names = (tmp_path / "site" / "python" / "deploy.html").read_text()
    assert 'id="deploy.pipeline.detector.Detector.detect_batch"' in names
