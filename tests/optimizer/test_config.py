"""Recipes, the values of the command line, and the public API's manners."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import optimizer
from optimizer.config import RunConfig, parse_config, parse_duration, parse_size
from optimizer.errors import InputError
from optimizer.plan import Plan
from optimizer.recipes import RECIPES, paper, quick, scaled_sizes
from optimizer.search.base import Proposal, Trial
from optimizer.store import RunStore


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("20m", 1200), ("2h", 7200), ("1h30m", 5400), ("45", 45), ("1.5m", 90), (" 2h ", 7200)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5m", "0", "5 minutes", "m", "1m2h"])
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(InputError, match="90s, 20m, 2h or 1h30m"):
        parse_duration(text)


def test_sizes() -> None:
    assert parse_size("1333x800") == (1333, 800) and parse_size(" 640X480 ") == (640, 480)
    for text in ("640", "640x", "axb", "640x480x3", "-1x5"):
        with pytest.raises(InputError, match="WIDTHxHEIGHT"):
            parse_size(text)


def test_scaled_sizes_keep_the_shape_and_are_multiples_of_eight() -> None:
    assert scaled_sizes((320, 240)) == ((320, 240), (288, 216), (256, 192))


@pytest.mark.parametrize("preset", sorted(RECIPES))
@pytest.mark.parametrize("base", ["r18", "r50", "r101", "x101"])
def test_every_preset_fits_every_base_and_survives_json(preset: str, base: str) -> None:
    config = RECIPES[preset](Path("images")).changed({"base": base})
    assert parse_config(json.loads(config.model_dump_json())) == config
    assert config.base_arch().input_size == config.input_size
    assert config.input_size in config.search.space.sizes
    assert config.region_proposals in config.search.space.region_proposals


def test_paper_holds_the_supplements_numbers() -> None:
    """FACTS 1.2 to 1.5; the pool and the distillation are not part of this release."""
    config = paper()
    trial, search = config.trial_train, config.search
    assert (trial.epochs, trial.lr, trial.schedule, trial.bn_l1) == (3, 0.01, "cosine", 1e-5)
    assert (config.batch_size, search.trials, search.top_k, search.fixed_trials) == (4, 100, 5, 5)
    assert (search.alpha, search.beta, search.space.prune_ratio, search.space.round_to) == (0.4, 0.8, 0.1, 1)
    assert search.space.sizes == ((512, 512), (800, 600), (1080, 720), (1333, 800))
    assert config.region_proposals == 1000


def test_a_change_is_validated() -> None:
    assert quick().changed({"search.trials": 20}).search.trials == 20
    with pytest.raises(InputError, match=r"search\.trials: .*greater than or equal to 1"):
        quick().changed({"search.trials": 0})
    with pytest.raises(InputError, match="r19"):
        quick().changed({"base": "r19"})
    with pytest.raises(InputError, match="wonderful"):
        quick().changed({"search.objective": "wonderful"})


def trial(number: int, seconds: float) -> Trial:
    return Trial(number, Proposal(0), status="done", seconds=seconds)


def test_a_budget_leaves_room_for_the_handover() -> None:
    plan = Plan(base_s=100, trial_s=20, handover_s=30, trials=50, budget_s=300)
    assert plan.has_time_for_trial(240, [trial(0, 100)])
    assert not plan.has_time_for_trial(250, [trial(0, 100)])
    slow = [trial(0, 100), trial(1, 60), trial(2, 20), trial(3, 20)]
    assert not plan.has_time_for_trial(240, slow), "what students really took counts"
    assert plan.has_time_for_trial(240, [*slow, trial(4, 20)]), "the last three of them"
    assert "the budget of 5 min will end the search earlier" in plan.describe()


def test_without_a_budget_there_is_always_time() -> None:
    assert Plan(1, 1, 1, 5, None).has_time_for_trial(1e9, [])


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, optimizer; print([name for name in ('torch', 'pydantic', 'plotly') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_public_names_are_there() -> None:
    assert optimizer.RunConfig is RunConfig and optimizer.quick is quick
    assert all(getattr(optimizer, name) for name in optimizer.__all__)
    with pytest.raises(AttributeError, match="no attribute 'slow'"):
        optimizer.slow  # noqa: B018


def test_a_folder_with_a_run_of_other_settings_is_not_continued(tmp_path: Path) -> None:
    with RunStore.create(tmp_path / "run", quick().model_dump(mode="json")):
        pass
    with pytest.raises(InputError, match="holds a run with other settings"):
        optimizer.optimize(quick().changed({"seed": 3}), tmp_path / "run")
