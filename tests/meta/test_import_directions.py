"""Layering is a test that fails, not a sentence in a README (optimizer/README.md shows the arrows)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# For each folder or module: the folders and modules of ours it may import. Itself is always allowed.
ALLOWED = {
    "optimizer": {"optimizer.run", "optimizer.config", "optimizer.recipes", "optimizer.arch", "optimizer.errors"},
    "optimizer.errors": set(),
    "optimizer.seeds": set(),
    "optimizer.environment": set(),
    "optimizer.arch": {"optimizer.errors"},
    "optimizer.data": {"optimizer.detectors", "optimizer.errors", "optimizer.seeds", "deploy"},
    "optimizer.detectors": {"optimizer.arch", "optimizer.errors"},
    "optimizer.morph": {"optimizer.arch", "optimizer.errors"},
    "optimizer.distill": {"optimizer.arch", "optimizer.detectors", "optimizer.errors"},
    "optimizer.supernet": {
        "optimizer.arch",
        "optimizer.data",
        "optimizer.detectors",
        "optimizer.distill",
        "optimizer.errors",
        "optimizer.morph",
        "optimizer.progress",
        "optimizer.seeds",
        "optimizer.store",
        "optimizer.train",
        "deploy",
    },
    "optimizer.train": {"optimizer.detectors", "optimizer.errors", "deploy"},
    "optimizer.cost": {"optimizer.arch", "optimizer.errors", "deploy"},
    "optimizer.search": {"optimizer.arch", "optimizer.errors", "optimizer.seeds"},
    "optimizer.store": {"optimizer.search", "optimizer.arch", "optimizer.errors"},
    "optimizer.report": {"optimizer.search", "optimizer.arch", "optimizer.errors"},
    "optimizer.config": {
        "optimizer.arch",
        "optimizer.distill",
        "optimizer.errors",
        "optimizer.search",
        "optimizer.supernet",
        "optimizer.train",
    },
    "optimizer.recipes": {
        "optimizer.config",
        "optimizer.arch",
        "optimizer.distill",
        "optimizer.supernet",
        "optimizer.train",
    },
    "optimizer.export": {"optimizer.arch", "optimizer.detectors", "optimizer.train", "deploy"},
    "optimizer.progress": {"optimizer.search"},
    "optimizer.plan": {
        "optimizer.config",
        "optimizer.detectors",
        "optimizer.errors",
        "optimizer.progress",
        "optimizer.search",
        "optimizer.train",
        "deploy",
    },
    "optimizer.base_run": {"optimizer.config", "optimizer.errors", "optimizer.search", "optimizer.store"},
    "optimizer.snapshots": {"optimizer.report", "optimizer.search", "optimizer.store", "deploy"},
    "optimizer.variants": {"optimizer.arch", "optimizer.config", "optimizer.cost", "optimizer.errors", "deploy"},
    "optimizer.front": {"optimizer.search", "optimizer.store", "optimizer.variants"},
    "optimizer.reexport": {
        "optimizer.arch",
        "optimizer.cost",
        "optimizer.evaluation",
        "optimizer.export",
        "optimizer.search",
        "optimizer.variants",
        "deploy",
    },
    "optimizer.handover": {
        "optimizer.cost",
        "optimizer.errors",
        "optimizer.evaluation",
        "optimizer.export",
        "optimizer.front",
        "optimizer.reexport",
        "optimizer.search",
        "optimizer.store",
        "optimizer.variants",
        "deploy",
    },
    "optimizer.evaluation": {
        "optimizer.arch",
        "optimizer.config",
        "optimizer.cost",
        "optimizer.detectors",
        "optimizer.errors",
        "optimizer.export",
        "optimizer.jobs",
        "optimizer.morph",
        "optimizer.progress",
        "optimizer.search",
        "optimizer.seeds",
        "optimizer.store",
        "optimizer.supernet",
        "optimizer.team",
        "optimizer.train",
        "deploy",
    },
    "optimizer.finetune": {
        "optimizer.config",
        "optimizer.evaluation",
        "optimizer.front",
        "optimizer.search",
        "optimizer.store",
    },
    "optimizer.teachers": {
        "optimizer.arch",
        "optimizer.config",
        "optimizer.distill",
        "optimizer.errors",
        "optimizer.jobs",
        "optimizer.progress",
        "optimizer.search",
        "optimizer.supernet",
        "optimizer.team",
        "deploy",
    },
    "optimizer.jobs": {
        "optimizer.arch",
        "optimizer.data",
        "optimizer.detectors",
        "optimizer.distill",
        "optimizer.supernet",
        "optimizer.train",
        "deploy",
    },
    "optimizer.team": {
        "optimizer.arch",
        "optimizer.detectors",
        "optimizer.errors",
        "optimizer.jobs",
        "optimizer.supernet",
        "optimizer.train",
        "deploy",
    },
    "optimizer.run": {"optimizer", "deploy"},
    "optimizer.run_report": {
        "deploy",
        "optimizer.config",
        "optimizer.environment",
        "optimizer.front",
        "optimizer.progress",
        "optimizer.report",
        "optimizer.snapshots",
        "optimizer.store",
        "optimizer.variants",
    },
    "optimizer.stopping": {"deploy", "optimizer.errors", "optimizer.store"},
    "optimizer.cli": {"optimizer", "deploy"},
    "optimizer.__main__": {"optimizer.cli"},
    "deploy": {"deploy"},
    "benchmarks": {"optimizer", "deploy"},
}
NO_TORCH = ("optimizer/arch", "optimizer/search", "optimizer/store", "optimizer/report")


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported_names(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


def unit_of(module: str) -> str:
    """The folder or top-level module a dotted name belongs to: optimizer.arch.spec -> optimizer.arch."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "optimizer" else parts[0]


@pytest.mark.parametrize("path", modules("optimizer") + modules("deploy"), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_imports_only_what_the_arrows_allow(path: Path) -> None:
    dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    unit = unit_of(dotted)
    allowed = ALLOWED[unit]
    for name in imported_names(path):
        if name.split(".")[0] not in ("optimizer", "deploy"):
            continue
        target = unit_of(name)
        permitted = target == unit or any(target == a or target.startswith(a + ".") for a in allowed)
        assert permitted, f"{dotted} imports {name}"


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
