"""What the report of `detnas_rows.py` makes of figures."""

from __future__ import annotations

import pytest
from detnas_table import CLASSES, LONGER, PRETRAINED, SCRATCH, SCRATCH_TOO, list_lines, list_pairs

PLAIN, FOUND, OTHER = "0" * 20, "1" * 20, "2" * 20


def make_row(row: str, path: str, ap: float) -> dict[str, object]:
    return {"row": row, "path": path, "ap": ap, "macs": 2.5e8}


def make_seed(seed: int) -> dict[str, object]:
    """The paper's order of rows; the plain path twice, and one that the search from scratch and chance both found."""
    looked = [{"fitness": value} for value in (0.1, 0.2, 0.4)]
    search = {"looked": looked, "found": {"300": FOUND}}
    rows = [
        make_row("plain", PLAIN, 0.10), make_row("plain", PLAIN, 0.14), make_row(PRETRAINED, FOUND, 0.4),
        make_row(SCRATCH, OTHER, 0.3), make_row(CLASSES, FOUND, 0.4), make_row(SCRATCH_TOO, OTHER, 0.9),
        make_row("random", OTHER, 0.3), make_row(LONGER, OTHER, 0.8),
    ]  # fmt: skip
    asked = {
        "data": "generated shapes", "space": "shufflenetv2_20", "size": "96x72", "images": 300, "val": 128,
        "pretrain_epochs": 12, "epochs": 24,
        "retrain_epochs": 12, "limits": "300", "population": 2, "repeats": 2,
    }  # fmt: skip
    return {
        "seed": seed, "asked": asked, "machine": {"cpu": "a CPU", "load_average": [1, 1, 1]}, "kept": 45,
        "depths": [4, 4, 8, 4], "rows": rows,
        "searches": dict.fromkeys((PRETRAINED, SCRATCH, CLASSES), search), "paths": [PLAIN, FOUND, OTHER],
        "fitness": {PRETRAINED: [0.1, 0.3, 0.2], SCRATCH: [0.3, 0.1, 0.2], CLASSES: [0.5, 0.5, 0.5]},
        "judging": {"96x72": [{"judging": 3.0, "passes": 2.0}]}, "seconds": {"pre-training": 60.0}, "starts": seed,
    }  # fmt: skip


@pytest.fixture
def text() -> str:
    return "\n".join(list_lines({"date": "2026-11-27", "seeds": [make_seed(1), make_seed(2)]}, "figures.json"))


def test_a_row_has_the_papers_figures_beside_it(text: str) -> None:
    assert "all blocks 3x3 (ShuffleNetV2-20) | 10.0, 14.0 | 10.0, 14.0 | 12.0 | 80.6 | 34.8 | 79.4 | 32.1 |" in text


def test_a_found_path_is_written_by_stages(text: str) -> None:
    assert (
        "| 1 | AP in the pre-trained super-network | 3 | 0.100 to 0.200 | 0.400 | 1111 1111 11111111 1111, 250 |"
        in text
    )


def test_what_contradicts_the_paper_is_below_zero(text: str) -> None:
    assert f"| {PRETRAINED} | plain | +28.0 | +28.0 | +28.0 |" in text
    assert f"| {PRETRAINED} | {SCRATCH_TOO} | -50.0 | -50.0 | -50.0 |" in text


def test_longer_training_is_not_correlated_with_what_all_paths_have() -> None:
    seed = make_seed(1)
    assert list_pairs(seed, PRETRAINED, blind=False) == [(0.1, pytest.approx(0.12)), (0.3, 0.4), (0.2, 0.3)]
    assert [pair[0] for pair in list_pairs(seed, PRETRAINED, blind=True)] == [0.1, 0.2]  # searched ones are left out


def test_correlation_of_each_judge(text: str) -> None:
    assert "| AP in the pre-trained super-network | all | 1.00 (3) | 1.00 (3) | 1.00 |" in text
    assert "| AP in the super-network from scratch | all | -1.00 (3) | -1.00 (3) | -1.00 |" in text
    assert "| share of crops given their class | all | nan (3) | nan (3) | nan |" in text


def test_a_seed_that_was_stopped_is_named(text: str) -> None:
    assert "stopped and went on (2)" in text and "1.50 times its forward passes" in text
