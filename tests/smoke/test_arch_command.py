"""`optimize arch` prints the papers' figures, and does not need torch for it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

R18_STUDENT = "[(64, 64), [(128, 128)-(128, 128)], [(256, 256)-(256, 256)], [(512, 512)-(512, 512)]"
NO_TORCH = "import sys; sys.modules['torch'] = None; from optimizer.cli import main; main()"


def arch_text(*arguments: str) -> str:
    command = [sys.executable, "-c", NO_TORCH, "arch", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def arch_json(*arguments: str) -> dict[str, int]:
    command = [sys.executable, "-c", NO_TORCH, "arch", *arguments, "--json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)


def test_a_base_by_name() -> None:
    values = arch_json("r101", "--size", "1333x800")
    assert abs(values["flops_mmdet"] / 295.7e9 - 1) < 1e-3
    assert values["params"] > 0 and values["macs"] > 0


def test_a_student_by_its_damaged_encoding() -> None:
    values = arch_json(R18_STUDENT, "--size", "1080x720")
    assert abs(values["flops_mmdet"] / 117.3e9 - 1) < 1e-3


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ("D2 E0.35 W1", "body alone at 224x224: 7.4896 G MACs; as a classifier of 1000: 7.4916 G"),  # FACTS 2.3
        ("D0 E0.2 W0.65 S0.65,0.65,0", "as a classifier of 1000: 0.9622 G"),
    ],
)
def test_a_subnet_of_a_once_for_all_network_by_its_choices(choices: str, words: str) -> None:
    assert words in arch_text(f"ofa_resnet50:{choices}")


def test_a_path_by_its_blocks_has_its_operations_both_ways() -> None:
    whole = "body alone at 224x224: 288.1 M MACs; as a classifier of 1000: 321.2 M"  # FACTS 2.2
    assert whole in arch_text("detnas:2120 2112 33130031 3132")
    wide = arch_text("detnas:00312102 03123320 2113202221310333 13333333", "--space", "shufflenetv2_40w")
    assert "3937.8 M MACs; as a classifier of 1000: 4085.9 M" in wide
    assert "00312102 03123320 2113202221310333 13333333" in wide
