"""Every name of TensorRT that we use as it is exists from 8.6 to 11.4; whatever does not is asked for first."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
ADAPTER = [ROOT / "deploy" / name for name in ("builders/trt.py", "engines/trt.py", "engines/tensorrt_library.py")]
NAMES: dict[str, list[str]] = json.loads((ROOT / "tests" / "doubles" / "tensorrt_names.json").read_text())
VERSIONS = ["8.6.1", "10.3.0", "10.16.1", "11.4.0"]

# What our variables hold. A new one that is missing here fails in the double, which lacks what the table lacks.
OBJECTS = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "config": "IBuilderConfig",
    "parser": "OnnxParser",
    "engine": "ICudaEngine",
    "self._engine": "ICudaEngine",
    "self._context": "IExecutionContext",
    "self._runtime": "Runtime",
    "tensorrt.Runtime(logger)": "Runtime",
    "inspector": "EngineInspector",
    "saved": "ITimingCache",
    "layer": "ILayer",
    "layer.get_output(number)": "ITensor",
    "network.get_input(place)": "ITensor",
    "parser.get_error(place)": "ParserError",
}


def find_names(source: str) -> tuple[set[str], set[str]]:
    """TensorRT's names in a file: those used as they are, and those used where `hasattr` has found them."""
    plain: set[str] = set()
    guarded: set[str] = set()

    def visit(node: ast.AST, known: frozenset[str]) -> None:
        if isinstance(node, ast.If | ast.IfExp):
            probes = {ast.unparse(call) for call in ast.walk(node.test) if isinstance(call, ast.Call)}
            visit(node.test, known)
            for child in node.body if isinstance(node.body, list) else [node.body]:
                visit(child, known | probes)
            for child in node.orelse if isinstance(node.orelse, list) else [node.orelse]:
                visit(child, known)
            return
        if isinstance(node, ast.Attribute) and not node.attr.startswith("__"):
            base = ast.unparse(node.value)
            owner = OBJECTS.get(base) or (base.removeprefix("tensorrt.") if base.startswith("tensorrt.") else None)
            name = node.attr if base == "tensorrt" else f"{owner}.{node.attr}" if owner else None
            if name:
                (guarded if f"hasattr({base}, '{node.attr}')" in known else plain).add(name)
        for child in ast.iter_child_nodes(node):
            visit(child, known)

    visit(ast.parse(source), frozenset())
    return plain, guarded


@pytest.mark.parametrize("path", ADAPTER, ids=lambda path: path.name)
def test_names_used_without_a_probe_are_in_all_versions(path: Path) -> None:
    plain, guarded = find_names(path.read_text())
    assert len(plain) > 4
    absent = {name: sorted(set(VERSIONS) - set(NAMES.get(name, []))) for name in plain}
    assert not {name: versions for name, versions in absent.items() if versions}
    assert guarded <= set(NAMES)


def test_the_list_of_names_holds_what_is_used_and_no_more() -> None:
    used: set[str] = set()
    probed: set[str] = set()
    for path in ADAPTER:
        plain, guarded = find_names(path.read_text())
        used |= plain | guarded
        probed |= {str(node.value) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
    probed |= {name.upper() for name in probed}
    members = {name for name in NAMES if "." in name}
    unused = {name for name in members - used if name.split(".")[1] not in probed}
    assert unused == {"ILogger.log", "TensorIOMode.INPUT"}  # TensorRT calls the one, and answers with the other


def test_the_walk_tells_a_probe_from_none() -> None:
    plain, guarded = find_names(
        "config.int8_calibrator = 1\n"
        "if hasattr(config, 'progress_monitor'):\n    config.progress_monitor = tensorrt.BuilderFlag.FP16\n"
        "else:\n    config.algorithm_selector\n"
    )
    assert plain == {
        "IBuilderConfig.int8_calibrator", "IBuilderConfig.algorithm_selector", "BuilderFlag", "BuilderFlag.FP16",
    }  # fmt: skip
    assert guarded == {"IBuilderConfig.progress_monitor"}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_list_of_names_is_what_the_release_has(version: str) -> None:
    folders = [ROOT.parent / "shared"]
    if os.environ.get("DETOPT_REAL_DATA"):
        folders.append(Path(os.environ["DETOPT_REAL_DATA"]).resolve().parent)
    lists = [folder / "tensorrt-api" / f"{version}.json" for folder in folders]
    path = next((path for path in lists if path.is_file()), None)
    if path is None:
        pytest.skip(f"no list of the names of TensorRT {version} in {', '.join(str(path.parent) for path in lists)}")
    real: dict[str, list[str] | None] = json.loads(path.read_text())
    for name, versions in NAMES.items():
        owner, _, member = name.partition(".")
        there = owner in real and (not member or member in (real[owner] or []))
        assert there == (version in versions), name


@pytest.mark.parametrize("version", VERSIONS)
def test_the_double_has_no_name_that_the_release_lacks(pretend_tensorrt: Callable[..., Any], version: str) -> None:
    double = pretend_tensorrt(version)
    private = {"Runtime.SEEN", "INetworkDefinition.types", "ILogger.log"}
    for owner, kind in double.DOUBLED.items():
        for member in [name for name in vars(kind) if not name.startswith("_")]:
            name = f"{owner}.{member}"
            assert name in private or version in NAMES[name], name
    assert hasattr(double.NetworkDefinitionCreationFlag, "STRONGLY_TYPED") == (version != "8.6.1")
    assert hasattr(double.BuilderFlag, "FP16") == (version != "11.4.0")
