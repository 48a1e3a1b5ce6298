"""What trains, searches, exports and deploys imports without the libraries of the command line and the report.

Pydantic is not among these: configurations and jobs are its models, which training reads (`TrainConfig`).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SPEAKS = ("optimizer/cli/", "optimizer/__main__.py", "optimizer/report/")  # to a person
REPORTS = ("optimizer/run/",)  # a run writes its report

GUARD = """
import importlib
import sys

BLOCKED = ("typer", "click", "rich", "jinja2", "plotly")

class Guard:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Guard())
sys.path[:0] = sys.argv[1:3]
for module in sys.argv[3:]:
    importlib.import_module(module)
"""


def list_modules() -> list[str]:
    files = [path.relative_to(ROOT) for folder in ("optimizer", "deploy") for path in (ROOT / folder).rglob("*.py")]
    files = [path for path in files if not str(path).startswith((*SPEAKS, *REPORTS))]
    parts = [path.relative_to(ROOT / "benchmarks") for path in (ROOT / "benchmarks" / "gpu_parts").glob("*.py")]
    names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in sorted([*files, *parts])]
    return [*names, "gpu_day"]


def run_guarded(*modules: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", GUARD, str(ROOT), str(ROOT / "benchmarks"), *modules]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)


def test_training_search_export_deploy_and_the_gpus_day_import_without_them() -> None:
    modules = list_modules()
    assert {"optimizer.train.loop", "optimizer.trials.trainer", "deploy.export.onnx", "gpu_parts.training"} <= {
        *modules
    }
    found = run_guarded(*modules)
    assert found.returncode == 0, found.stderr


def test_the_guard_does_guard() -> None:
    found = run_guarded("optimizer.report.page")
    assert found.returncode == 1 and "jinja2 is blocked" in found.stderr
