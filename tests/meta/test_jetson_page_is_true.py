"""Commands that the pages show are commands there are, and docs/jetson.md says of boards what the code does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from command_pages import make_deploy_page, make_optimize_page
from typer.testing import CliRunner

from deploy.builders.known_bad import find_known_bad
from deploy.builders.releases import RELEASES
from deploy.cli.parser import build_parser
from deploy.targets import read_target
from deploy.targets.examine import examine_machine
from deploy.targets.hosts import apply_host
from deploy.targets.parse import parse_target
from optimizer.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "deploy/README.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md")))
JETSON = (ROOT / "docs" / "jetson.md").read_text()
ROWS = [[cell.strip() for cell in line.split("|")[1:-1]] for line in JETSON.splitlines() if line.startswith("|")]
BOARDS = [row for row in ROWS if re.match(r"\d\.\d", row[0])]


def commands(*programs: str) -> list[list[str]]:
    """The arguments of each indented line that starts one of these programs."""
    found = []
    for page in PAGES:
        for line in (ROOT / page).read_text().splitlines():
            for program in programs:
                if line.startswith(f"    {program} "):
                    found.append(shlex.split(line, comments=True)[len(program.split()) :])
    return found


@pytest.mark.parametrize("arguments", commands("deploy", "python3 detect.pyz"), ids=" ".join)
def test_deploy_takes_the_commands_of_the_pages(arguments: list[str]) -> None:
    assert build_parser().parse_args(arguments).work


@pytest.mark.parametrize("arguments", commands("optimize", "torchrun --nproc-per-node 4 -m optimizer"), ids=" ".join)
def test_optimize_takes_the_commands_of_the_pages(arguments: list[str]) -> None:
    """With --help it stops after parsing, which refuses unknown options."""
    result = CliRunner().invoke(app, [*arguments, "--help"])
    assert result.exit_code == 0, result.output


def test_commands_within_sentences_have_options_that_there_are() -> None:
    known = {name: set(re.findall(r"--[a-z][\w-]*", page)) for name, page in sections().items()}
    spans = [
        (page, span)
        for page in PAGES
        for span in re.findall(r"`((?:optimize|deploy) [^`]+)`", (ROOT / page).read_text())
    ]
    assert len(spans) > 40
    for page, span in spans:
        words = " ".join(span.split()).split()
        name = max((name for name in known if name.split() == words[: len(name.split())]), key=len)
        assert set(re.findall(r"--[a-z][\w-]*", span)) <= known[name] | {"--help"}, (page, span)


def sections() -> dict[str, str]:
    """What the reference says of each command."""
    text = make_optimize_page() + make_deploy_page()
    return {part.split("\n")[0]: part for part in re.split(r"(?m)^## ", text)[1:]}


def test_parsing_does_refuse() -> None:
    assert CliRunner().invoke(app, ["--no-such-option", "--help"]).exit_code != 0
    with pytest.raises(SystemExit):
        build_parser().parse_args(["run", "bundle", "image", "--no-such-option"])


def test_the_files_it_shows_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts, target = re.findall(r"```toml\n(.*?)```", JETSON, re.DOTALL)
    (tmp_path / "detopt").mkdir()
    (tmp_path / "detopt" / "hosts.toml").write_text(re.sub(r"(?m)^# ", "", hosts))  # what is commented out too
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    link = apply_host(read_target("jetson")).link
    assert link.host == "user@board" and link.python.startswith("~/") and link.cache.startswith("/")
    own = parse_target(target, "orin.toml")
    known = read_target("jetson")
    assert (own.link.kind, own.engine.name, own.engine.nms) == (known.link.kind, known.engine.name, known.engine.nms)


def test_every_line_of_a_check_is_explained(tmp_path: Path) -> None:
    section = JETSON.split("## 4. The check")[1].split("## 5.")[0]
    cells = re.findall(r"^\| (`[^|]*)\|", section, re.MULTILINE)
    explained = {name for cell in cells for name in cell.split("`")[1::2]}
    found = {condition.what.replace("engine ort", "engine trt") for condition in examine_machine("ort", 1, tmp_path)}
    assert found | {"ssh", "power mode"} <= explained
    assert len(found) > 9


def test_what_is_refused_on_a_jetpack_is_refused_before_a_build() -> None:
    assert len(BOARDS) == 7
    for jetpack, _, _, python, cuda, tensorrt, release, state in BOARDS:
        too_old = tuple(map(int, python.split("."))) < (3, 8)
        plain, int8 = (
            find_known_bad(tensorrt, cuda, frozenset(holds), "aarch64") for holds in (["topk"], ["topk", "int8"])
        )
        assert (plain is not None) == state.startswith("[refused]"), jetpack
        assert (int8 is not None) == ("refused" in state), jetpack
        assert too_old == state.startswith("no:"), jetpack
        assert (release.strip("`") in RELEASES) == (not too_old and plain is None), jetpack


def test_links_lead_to_headings_and_files() -> None:
    for page in PAGES:
        for path, anchor in re.findall(r"\]\((?!http)([^)#]*)(?:#([\w-]+))?\)", (ROOT / page).read_text()):
            target = (ROOT / page).parent / path if path else ROOT / page
            assert target.exists(), (page, path)
            if anchor:
                headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
                slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
                assert anchor in slugs, (page, path, anchor)
