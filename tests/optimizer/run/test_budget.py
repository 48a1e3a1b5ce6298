"""A budget sizes method detnas: fewer epochs and generations, never more than the recipe's, never none."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path

import pytest

from optimizer.config import RunConfig
from optimizer.errors import InputError
from optimizer.recipes import quick, smoke
from optimizer.run.budget import SIZED, Counted, Durations, describe_fit, find_durations, fit_budget, is_same_request
from optimizer.run.checks import check_run
from optimizer.run.plan import make_plan
from optimizer.supernet.pretrain_config import Pretraining

DURATIONS = Durations(pretraining=10.0, supernet=20.0, look=2.0, last=15.0)
HOUR = 3600.0
COUNTED = Counted(fit=100, kept=20, val=10, pictures=400)


@pytest.fixture
def config() -> RunConfig:
    return quick().changed(
        {"base": "shufflenetv2_20", "search.method": "detnas", "search.limits": (0.9, 0.7), "search.trials": 2,
         "budget_s": HOUR, "search.cost": "macs"}
    )  # fmt: skip


def read(config: RunConfig) -> tuple[int, int, int, int, int]:
    paths, finetune = config.paths, config.finetune
    assert paths is not None and paths.pretraining is not None and finetune is not None
    return (
        paths.pretraining.train.epochs, paths.train.epochs, *reversed(config.generations), finetune.epochs,
    )  # fmt: skip


def read_part(config: RunConfig, path: str) -> object:
    value: object = config
    for part in path.split("."):
        value = getattr(value, part)
    return value


def test_each_part_takes_its_share_and_at_most_what_the_recipe_says(config: RunConfig) -> None:
    recipe = read(config)
    assert recipe == (8, 12, 50, 20, 6)
    assert read(fit_budget(config, DURATIONS)) == (8, 12, 50, 2, 6), "540 s of looks, for each of two limits 135"
    long = fit_budget(config.changed({"budget_s": 100 * HOUR}), DURATIONS)
    assert read(long) == recipe
    short = fit_budget(config.changed({"budget_s": 600.0}), DURATIONS)
    assert read(short) == (6, 6, 22, 1, 4)
    assert short.base_share == 0.15 < config.base_share


def test_the_shortest_budget_leaves_an_epoch_of_everything_and_two_paths(config: RunConfig) -> None:
    assert read(fit_budget(config.changed({"budget_s": 1.0}), DURATIONS)) == (1, 1, 2, 1, 1)


def test_epochs_do_not_follow_the_noise_of_a_clock(config: RunConfig) -> None:
    """So that a super-network is found again."""
    slower = Durations(*(1.04 * seconds for seconds in (10.0, 20.0, 2.0, 15.0)))
    for budget_s in (700.0, 1000.0):
        one, other = (read(fit_budget(config.changed({"budget_s": budget_s}), of)) for of in (DURATIONS, slower))
        assert one[:2] == other[:2]


def test_what_is_trained_already_and_other_methods_are_left_as_they_are(config: RunConfig) -> None:
    there = Durations(pretraining=0.0, supernet=0.0, look=2.0, last=15.0)
    assert read(fit_budget(config.changed({"budget_s": 60.0}), there))[:2] == (8, 12)
    for other in (config.changed({"budget_s": None}), quick().changed({"budget_s": 60.0})):
        assert fit_budget(other, DURATIONS) is other


def test_a_run_that_was_sized_is_still_the_one_that_was_asked_for(config: RunConfig) -> None:
    asked = config.changed({"budget_s": 600.0})
    stored = fit_budget(asked, DURATIONS)
    assert stored != asked and is_same_request(asked, stored) and is_same_request(stored, stored)
    assert not is_same_request(asked.changed({"seed": 9}), stored)
    assert not is_same_request(asked, asked.changed({"paths.batch_size": 2}))
    assert not is_same_request(asked.changed({"budget_s": None}), stored)
    changed = {path for path in SIZED if read_part(asked, path) != read_part(stored, path)}
    assert changed == {path for path in SIZED if not path.startswith("ofa.")}


def test_durations_follow_the_images(config: RunConfig) -> None:
    def find(pool_exists: bool = False, **changes: int) -> Durations:
        return find_durations(config, COUNTED._replace(**changes), 0.4, pool_exists=pool_exists)

    plain = find()
    assert plain.supernet == pytest.approx(100 * 0.1 * 1.8) and plain.last == pytest.approx(120 * 0.1)
    assert find(pictures=800).pretraining == pytest.approx(2 * plain.pretraining)
    assert find(kept=120).look > plain.look
    assert find(fit=10).look < plain.look, "BatchNorm is not measured on more images than there are"
    assert (find(pool_exists=True).supernet, find(pool_exists=True).pretraining) == (0, 0)


def test_the_plan_charges_looks_and_the_last_training_of_each_limit(config: RunConfig) -> None:
    fitted = fit_budget(config.changed({"budget_s": 600.0}), DURATIONS)
    assert fitted.finetune is not None
    plan = make_plan(fitted, 100, 0.4, kept=20, pictures=400)
    durations = find_durations(fitted, COUNTED, 0.4, pool_exists=False)
    assert plan.screen_s == pytest.approx(durations.look * prod(fitted.generations))
    assert plan.trial_s == pytest.approx(plan.screen_s + durations.last * fitted.finetune.epochs + 10)
    more = make_plan(fitted.changed({"search.generations": 19}), 100, 0.4, kept=20, pictures=400)
    assert more.trial_s > plan.trial_s and more.pool_s == plan.pool_s
    owed_s = 2 * (plan.trial_s - plan.screen_s)
    free_s = fitted.budget_s - 1.1 * owed_s - (plan.handover_s - plan.exports_s)  # type: ignore[operator]
    assert plan.has_time_for_trial(free_s - 1, ()) and not plan.has_time_for_trial(free_s + 1, ())


@pytest.mark.parametrize("shrinking", ["none", "dwe"])
def test_all_phases_of_a_once_for_all_network_share_its_time(config: RunConfig, shrinking: str) -> None:
    ofa = config.changed(
        {"base": "ofa_resnet50", "search.method": "detofa", "ofa.shrinking": shrinking, "budget_s": 1600.0}
    )
    assert ofa.pool_config().epochs * DURATIONS.supernet > 400 or shrinking == "none"
    fitted = fit_budget(ofa, DURATIONS)
    assert fitted.pool_config().epochs * DURATIONS.supernet <= 0.25 * 1600
    assert "of the super-network" in describe_fit(fitted) and "pre-training" not in describe_fit(fitted)


def filtered(config: RunConfig, classification_paths: int) -> RunConfig:
    """Its body is pre-trained on 64x48 of the base's 128x96: on a quarter of the pixels."""
    recipe = Pretraining(train=config.base_train, size=(64, 48))
    return config.changed(
        {"base": "ofa_resnet50", "search.method": "detofa", "ofa.shrinking": "filter", "ofa.calibration_images": 64,
         "ofa.filtering.classification_paths": classification_paths, "ofa.pretraining": recipe, "batch_size": 4}
    )  # fmt: skip


def test_judging_paths_for_a_filter_is_in_the_plan(config: RunConfig) -> None:
    def find(paths: int, pool_exists: bool = False) -> float:
        return make_plan(filtered(config, paths), 100, 0.4, kept=20, pictures=400, pool_exists=pool_exists).pool_s

    forward_s = 0.1 * 0.25
    pictures = 64 + 400 * 20 / 100  # for BatchNorm, and crops of the images that are kept out
    assert find(40) - find(0) == pytest.approx(40 * (pictures * forward_s / 4 + 0.5))
    assert find(80) - find(0) == pytest.approx(2 * (find(40) - find(0)))
    by_loss = 2 * 5 * 20 * ((64 + 20) * forward_s + 0.5)
    assert find_durations(filtered(config, 0), COUNTED, 0.4, pool_exists=False).judging == pytest.approx(by_loss)
    assert find(40, pool_exists=True) == 0
    plain = filtered(config, 40).changed({"ofa.shrinking": "none"})
    assert find_durations(plain, COUNTED, 0.4, pool_exists=False).judging == 0


def test_of_many_pictures_of_a_folder_a_path_is_judged_by_two_thousand(config: RunConfig, tmp_path: Path) -> None:
    def find(pictures: int) -> float:
        of_folder = filtered(config, 40)
        assert of_folder.ofa is not None and of_folder.ofa.pretraining is not None
        recipe = of_folder.ofa.pretraining.model_copy(update={"images": tmp_path})
        counted = COUNTED._replace(pictures=pictures)
        return find_durations(of_folder.changed({"ofa.pretraining": recipe}), counted, 0.4, pool_exists=False).judging

    assert find(20_000) - find(10_000) == pytest.approx(40 * 500 * 0.1 * 0.25 / 4), "a twentieth of each class"
    assert find(1_000_000) == find(40_000) > find(39_000)


def test_trainings_share_what_judging_leaves_of_a_budget(config: RunConfig) -> None:
    asked = filtered(config, 0).changed({"budget_s": 1000.0})
    without, judged = (fit_budget(asked, replace(DURATIONS, judging=judging)) for judging in (0.0, 400.0))
    assert judged.changed({"budget_s": 600.0, "base_share": 0.15}) == fit_budget(
        asked.changed({"budget_s": 600.0}), DURATIONS
    )
    assert judged.pool_config().epochs < without.pool_config().epochs
    none_left = fit_budget(asked, replace(DURATIONS, judging=2000.0))
    assert none_left.finetune is not None and none_left.finetune.epochs == 1
    with pytest.raises(InputError, match="too short for one student"):
        make_plan(none_left, 100, 0.4, kept=2000, pictures=400).check()


def test_what_a_filter_ranks_alone_takes_no_time_of_a_budget(config: RunConfig) -> None:
    alone = config.changed(
        {"base": "ofa_resnet50", "search.method": "detofa", "ofa.shrinking": "filter", "ofa.filtering.ranker": "filter",
         "budget_s": 600.0}
    )  # fmt: skip
    fitted = fit_budget(alone, DURATIONS)
    assert fitted.generations == alone.generations == (500, 100)
    assert make_plan(fitted, 100, 0.4, kept=20).screen_s == 0


def test_a_person_is_told_what_there_is_time_for(config: RunConfig) -> None:
    assert describe_fit(fit_budget(config.changed({"budget_s": 600.0}), DURATIONS)) == (
        "epochs that the budget has time for: 6 of pre-training, 6 of the super-network, 4 of each student; "
        "generations for each limit: 1 of 22"
    )


def test_a_run_is_sized_before_it_starts_and_refused_only_where_one_student_does_not_fit(tmp_path: Path) -> None:
    asked = smoke().changed(
        {"base": "shufflenetv2_20", "search.method": "detnas", "search.teacher": "none", "search.cost": "macs",
         "search.trials": 2, "search.limits": (1.2, 0.9), "budget_s": 600.0}
    )  # fmt: skip
    sized, _, plan = check_run(asked, tmp_path / "run")
    assert is_same_request(asked, sized) and prod(sized.generations) < 20 * 50
    assert plan.screen_s * 2 < 600 and "in all about" in plan.describe()
    with pytest.raises(InputError, match="too short for one student"):
        check_run(asked.changed({"budget_s": 1.0}), tmp_path / "run")
