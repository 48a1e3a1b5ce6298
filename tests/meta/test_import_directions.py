"""Layering is a test that fails, not a sentence in a README (those of the two packages draw the arrows)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# For each room of a package (a folder, or a module at its root): the rooms of the same package that it may import.
# A room may always import itself. Whether it may import the other package is said below.
ARROWS = {
    "optimizer": {
        "": {"run", "config", "notebook", "recipes", "arch"},
        "notebook": {"errors", "progress"},
        "__main__": {"cli"},
        "cli": {"arch", "config", "distill", "errors", "origins", "quantities", "recipes", "run", "supernet", "track"},
        "run": {
            *(
                "arch",
                "config",
                "cost",
                "data",
                "detectors",
                "distill",
                "environment",
                "errors",
                "handover",
                "progress",
                "report",
            ),
            *("search", "store", "supernet", "track", "train", "trials", "workers"),
        },
        "workers": {
            *("config", "cost", "data", "errors", "progress", "search", "store", "supernet", "trials"),
        },
        "handover": {"arch", "config", "cost", "errors", "progress", "search", "store", "trials"},
        "trials": {
            *("arch", "config", "cost", "data", "detectors", "distill", "errors", "morph", "origins", "progress"),
            *("search", "seeds", "store", "supernet", "track", "train"),
        },
        "recipes": {"arch", "config", "distill", "supernet", "train"},
        "config": {"arch", "distill", "errors", "origins", "search", "supernet", "track", "train"},
        "supernet": {
            *("arch", "data", "detectors", "distill", "errors", "morph", "path_filter", "progress", "search", "seeds"),
            *("store", "track", "train"),
        },
        "distill": {"arch", "detectors", "errors"},
        "data": {"detectors", "errors", "seeds"},
        "train": {"detectors", "errors"},
        "morph": {"arch", "detectors", "errors"},
        "detectors": {"arch", "errors", "origins"},
        "origins": {"arch", "errors"},
        "report": {"arch", "errors", "handover", "search", "store"},
        "store": {"arch", "errors", "search"},
        "progress": {"search", "track"},
        "track": {"errors"},
        "cost": {"arch", "errors", "search"},
        "search": {"arch", "errors", "seeds"},
        "path_filter": {"arch", "errors", "seeds"},
        "arch": {"errors"},
        "quantities": {"errors"},
        "environment": set(),
        "seeds": set(),
        "errors": set(),
    },
    "deploy": {
        "": {"builders", "bundles", "detections", "engines", "measuring", "pipeline", "targets", "version"},
        "cli": {
            *("builders", "bundles", "convert", "data", "detections", "engines", "error_analysis", "errors"),
            *("evaluate", "foreign", "measuring", "packs", "pipeline", "targets", "version"),
        },
        "packs": {"bundles", "engines", "errors", "files", "pipeline"},
        "convert": {"builders", "bundles", "data", "engines", "errors", "evaluate", "pipeline", "targets"},
        "error_analysis": {"content_policy", "data", "detections", "errors", "evaluate", "files"},
        "evaluate": {"data", "detections", "errors", "pipeline", "targets"},
        "targets": {
            *("builders", "bundles", "child", "data", "detections", "engines", "errors", "files", "foreign"),
            *("measuring", "pipeline", "reading", "sensors", "toml"),
        },
        "measuring": {"builders", "child", "engines", "errors", "files", "locks", "pipeline", "sensors"},
        "bundles": {"data", "engines", "errors", "files", "foreign", "pipeline", "reading", "toml"},
        "export": {"detections", "engines", "errors", "files", "pipeline"},
        "pipeline": {"data", "detections", "engines", "errors", "video"},
        "builders": {"child", "engines", "errors", "files", "locks", "reading", "sensors"},
        "engines": {"errors", "files", "reading", "sensors"},
        "sensors": {"child"},
        "child": {"errors"},
        "data": {"errors", "reading"},
        "video": {"errors"},
        "reading": {"errors"},
        "toml": {"errors"},
        "content_policy": set(),
        "files": set(),
        "locks": set(),
        "foreign": set(),
        "version": set(),
        "detections": set(),
        "errors": set(),
    },
}
USES_DEPLOY = {
    *(
        "cli",
        "cost",
        "data",
        "errors",
        "handover",
        "notebook",
        "path_filter",
        "progress",
        "report",
        "run",
        "store",
        "supernet",
        "train",
        "trials",
    ),
    "workers",
}
NO_TORCH = ("optimizer/arch", "optimizer/origins", "optimizer/search", "optimizer/store", "optimizer/report")


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def dotted_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported_names(path: Path) -> set[str]:
    """Modules that a file imports; a name that is a module itself counts as that module."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.update(_resolve(node.module or "", alias.name) for alias in node.names)
    return names


def _resolve(module: str, name: str) -> str:
    inside = ROOT.joinpath(*module.split("."), name)
    return f"{module}.{name}" if inside.is_dir() or inside.with_suffix(".py").is_file() else module


def room_of(module: str) -> tuple[str, str]:
    """The package and the room of a dotted name: optimizer.arch.spec is in (optimizer, arch)."""
    package, _, rest = module.partition(".")
    return package, rest.split(".")[0]


def arrows_out(path: Path) -> Iterator[tuple[str, str, str]]:
    for name in sorted(imported_names(path)):
        package, room = room_of(name)
        if package in ("optimizer", "deploy"):
            yield name, package, room


@pytest.mark.parametrize(
    "path",
    [path for package in ARROWS for path in modules(package)],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_a_module_imports_only_what_the_arrows_allow(path: Path) -> None:
    package, room = room_of(dotted_name(path))
    for name, other, its_room in arrows_out(path):
        if other == package:
            assert its_room == room or its_room in ARROWS[package][room], f"{dotted_name(path)} imports {name}"
        else:
            assert package == "optimizer" and room in USES_DEPLOY, f"{dotted_name(path)} imports {name}"


@pytest.mark.parametrize("package", ARROWS)
def test_the_arrows_have_no_circle_and_every_room_has_its_own(package: str) -> None:
    rooms = {room_of(dotted_name(path))[1] for path in modules(package)}
    assert rooms == set(ARROWS[package])
    TopologicalSorter(ARROWS[package]).prepare()  # CycleError names a circle


@pytest.mark.parametrize("package", ("optimizer", "deploy"))
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    graph = {
        dotted_name(path): {name for name, other, _ in arrows_out(path) if other == package}
        for path in modules(package)
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("path", modules("deploy"), ids=lambda p: str(p.relative_to(ROOT)))
def test_deploy_never_imports_optimizer_and_torch_only_in_export(path: Path) -> None:
    names = {name.split(".")[0] for name in imported_names(path)}
    assert "optimizer" not in names
    if (ROOT / "deploy" / "export") not in path.parents:
        assert not names & {"torch", "torchvision"}


@pytest.mark.parametrize("folder", NO_TORCH)
def test_the_thinking_parts_need_no_torch(folder: str) -> None:
    for path in modules(folder):
        assert not {name.split(".")[0] for name in imported_names(path)} & {"torch", "torchvision"}, path


def test_search_knows_neither_detectors_nor_training_nor_the_store() -> None:
    for path in modules("optimizer/search"):
        for name in imported_names(path):
            assert not name.startswith(("optimizer.detectors", "optimizer.train", "optimizer.store", "deploy")), path
