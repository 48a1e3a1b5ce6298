"""Recipes, the values of the command line, and the public API's manners."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from made_trials import make_done

import optimizer
from optimizer.cli.options import read_options
from optimizer.config import MOST_EPOCHS, RunConfig, parse_config
from optimizer.errors import InputError
from optimizer.path_filter.schedule import PAPER
from optimizer.recipes import RECIPES, distilled, paper, quick, scaled_sizes
from optimizer.run.plan import Plan
from optimizer.search.base import DoneTrial, Work
from optimizer.store import RunStore


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
    """FACTS 1.2 to 1.5."""
    config = paper()
    trial, search = config.trial_train, config.search
    assert (trial.epochs, trial.lr, trial.schedule, trial.bn_l1) == (3, 0.01, "cosine", 1e-5)
    assert (config.batch_size, search.trials, search.top_k, search.fixed_trials) == (4, 100, 5, 5)
    assert (search.beta, search.space.prune_ratio, search.space.round_to, search.space.min_width) == (0.8, 0.1, 1, 32)
    assert search.space.sizes == ((512, 512), (800, 600), (1080, 720), (1333, 800))
    assert config.region_proposals == 1000 and config.base_train.bn_l1 == 1e-5
    assert (search.method, search.teacher, search.inherit) == ("joint", "dynamic", True)
    assert set(search.space.actions) == {"prune_channels", "prune_layer", "add_layer", "rearrange", "resize"}
    tuning = config.finetune
    assert tuning is not None and (tuning.epochs, tuning.lr, tuning.schedule) == (16, 0.01, "cosine")
    assert search.finetuned == 1


def test_paper_trains_a_once_for_all_network_as_detofa_does() -> None:
    """FACTS 4.7 and 4.2: Adam at 5e-4, COCO's batch of 64 and 70 epochs, and the baseline's five stages."""
    recipe = paper().ofa
    assert recipe is not None
    train = recipe.train
    assert (train.epochs, train.lr, train.optimizer, train.weight_decay, train.schedule) == (
        70, 5e-4, "adamw", 0.0, "cosine",
    )  # fmt: skip
    assert (recipe.batch_size, recipe.calibration_images, recipe.shrinking) == (64, 2000, "filter")
    shrunk = recipe.model_copy(update={"shrinking": "dwe"}).phases()
    assert [phase.train.epochs for phase in shrunk] == [70, 5, 65, 5, 65]
    filtered = recipe.model_copy(update={"shrinking": "filter"})
    warm_up, rest = (phase.train.epochs for phase in filtered.phases())
    assert filtered.filtering.to_schedule(warm_up, rest, classifies=True) == PAPER["coco"]


@pytest.mark.parametrize("method", ["detnas", "detofa"])
def test_evolution_is_in_the_super_network_of_the_method(method: str) -> None:
    base = {"detnas": "shufflenetv2_20", "detofa": "ofa_resnet50"}[method]
    config = quick().changed({"search.method": method, "base": base, "search.space.actions": ()})
    assert config.pool_config().name == base and config.search.evolves and config.keeps_images
    with pytest.raises(InputError, match=f"method {method} has no teacher pool"):
        config.changed({"search.teacher": "dynamic"})
    with pytest.raises(InputError, match="--base is one of"):
        config.changed({"base": "r18"}).pool_config()


@pytest.mark.parametrize(("base", "alpha"), [("r18", 0.4), ("r50", 0.4), ("r101", 0.4), ("x101", 0.1)])
def test_paper_weighs_the_cost_as_the_supplement_does(base: str, alpha: float) -> None:
    config = paper().changed({"base": base})
    assert config.alpha == alpha
    assert config.changed({"search.alpha": 0.25}).alpha == 0.25, "unless the user says otherwise"


@pytest.mark.parametrize("base", ["r18", "r50", "r101", "x101"])
def test_papers_pool_is_the_supplements_table(base: str) -> None:
    """FACTS 1.3, Table 1: whatever the base, one pool from R101."""
    pool = paper().changed({"base": base}).pool_config()
    table = [  # depths of each stage, width coefficients, first learning rate, epochs
        (((3,), (4,), (23,), (3,)), (1.5,), 0.12, 48),
        (((3,), (4,), tuple(range(12, 24)), (3,)), (1.25, 1.5), 0.04, 24),
        (((2, 3), (2, 3, 4), tuple(range(2, 24)), (2, 3)), (1.0, 1.25, 1.5), 0.04, 36),
    ]
    assert [(phase.depths, phase.widths, phase.train.lr, phase.train.epochs) for phase in pool.phases] == table
    assert {(phase.train.schedule, phase.train.optimizer, phase.train.bn_l1) for phase in pool.phases} == {
        ("step", "sgd", 0.0)
    }
    assert {phase.train.milestones for phase in pool.phases} == {(2 / 3, 11 / 12)}
    assert (pool.family, pool.batch_size, pool.region_proposals, pool.epochs) == ("r101", 64, 1000, 108)
    assert pool.sizes == ((1333, 800), (1080, 720), (800, 600), (512, 512))
    assert [pool.space(phase).count() for phase in range(3)] == [1, 192, 21_384]


def test_paper_distils_three_terms_of_equal_weight() -> None:
    distill = paper().distill
    assert (distill.weights, distill.temperature) == ({"feature": 1, "classification": 1, "localization": 1}, 1)
    assert distill.class_aware and distill.feature_regions == 0 and distill.teacher_canvas == "own"
    assert paper().pool_config().distill == distill.model_copy(update={"teacher_canvas": "student"})


@pytest.mark.parametrize("preset", sorted(RECIPES))
def test_every_presets_pool_has_the_canvases_of_its_search_the_largest_first(preset: str) -> None:
    config = RECIPES[preset](Path("images"))
    pool = config.pool_config()
    assert set(pool.sizes) == set(config.search.space.sizes)
    assert pool.sizes[0] == max(pool.sizes, key=lambda size: size[0] * size[1])
    assert pool.space().largest().size == pool.sizes[0]


def test_a_run_needs_a_pool_for_teachers_and_for_a_search_in_it() -> None:
    alone, taught = quick(Path("images")), quick(Path("images")).changed({"search.teacher": "dynamic"})
    assert taught.needs_pool and not alone.needs_pool
    assert not alone.changed({"search.teacher": "base"}).needs_pool, "the base teaches by itself"
    assert alone.changed({"search.method": "etp"}).needs_pool
    with pytest.raises(InputError, match="method pareto with teachers needs a teacher pool"):
        taught.changed({"pool": None})
    assert alone.changed({"pool": None}).pool is None
    base_alone = taught.changed({"search.trials": 0})
    assert not base_alone.needs_pool and not base_alone.changed({"search.method": "etp"}).needs_pool
    assert base_alone.changed({"pool": None}).pool is None


def test_settings_that_leave_nothing_to_do_are_refused() -> None:
    with pytest.raises(InputError, match="without actions and without a teacher there is nothing to search"):
        quick(Path("images")).changed({"search.teacher": "none", "search.space.actions": ()})
    taught = {"search.method": "joint", "search.teacher": "dynamic", "search.space.actions": ()}
    assert quick(Path("images")).changed(taught).search.space.actions == ()
    with pytest.raises(InputError, match=r"no recipe says how \(finetune\)"):
        quick(Path("images")).changed({"search.finetuned": 1, "finetune": None})


def test_a_random_search_without_actions_is_refused() -> None:
    """Teachers alone do not help it: it draws actions, and nothing else."""
    none: dict[str, object] = {"search.method": "random", "search.space.actions": (), "search.teacher": "dynamic"}
    with pytest.raises(InputError, match="random search draws actions, and this run has none"):
        quick(Path("images")).changed(none)
    with pytest.raises(InputError, match="pareto search draws actions, and this run has none"):
        quick(Path("images")).changed(none | {"search.method": "pareto"})
    assert quick(Path("images")).changed(none | {"search.trials": 0}).search.trials == 0
    assert quick(Path("images")).changed({"search.method": "etp", "search.space.actions": ()}).needs_pool


@pytest.mark.parametrize("trials", [0, 4])
def test_an_unknown_base_is_refused_whatever_follows_it(trials: int) -> None:
    with pytest.raises(InputError, match="there is no base 'r19'; choose one of r18"):
        quick().changed({"base": "r19", "search.trials": trials})


def test_a_change_is_validated() -> None:
    assert quick().changed({"search.trials": 20}).search.trials == 20
    assert quick().changed({"search.trials": 0}).search.trials == 0, "the base alone"
    with pytest.raises(InputError, match=r"search\.trials: .*greater than or equal to 0"):
        quick().changed({"search.trials": -1})
    with pytest.raises(InputError, match="r19"):
        quick().changed({"base": "r19"})
    with pytest.raises(InputError, match="wonderful"):
        quick().changed({"search.objective": "wonderful"})


def trial(number: int, seconds: float) -> DoneTrial:
    return make_done(number, work=Work(1.0, seconds))


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


def test_a_search_in_which_no_action_is_legal_is_refused_before_any_work() -> None:
    with pytest.raises(InputError, match="none of the actions set_region_proposals is legal on the base r18"):
        quick().changed({"search.space.actions": ("set_region_proposals",), "search.space.region_proposals": (100,)})
    with pytest.raises(InputError, match="none of the actions prune_rpn, prune_box_head is legal"):
        quick().changed({"detector": "retinanet", "search.space.actions": ("prune_rpn", "prune_box_head")})


def test_without_actions_and_teacher_there_is_nothing_to_search() -> None:
    with pytest.raises(InputError, match="nothing to search"):
        quick(Path("images")).changed({"search.space.actions": (), "search.teacher": "none"})
    taught = {"search.method": "joint", "search.space.actions": (), "search.teacher": "base"}
    assert quick(Path("images")).changed(taught).search.space.actions == ()


def test_a_retinanet_is_a_base_like_any_other() -> None:
    config = quick().changed({"detector": "retinanet"})
    assert config.base_arch().head.kind == "retinanet" and config.pool_config().detector == "retinanet"


def test_published_weights_are_the_default_on_images_of_a_users_own_and_stored_paths_stay_paths() -> None:
    assert quick(Path("images")).weights == paper(Path("images")).weights == "auto"
    assert {recipe(None).weights for recipe in RECIPES.values()} == {None}
    stored = quick().model_dump(mode="json")
    for weights, meant in ((None, None), ("base.pth", Path("base.pth")), ("coco", "coco")):
        config = parse_config({**stored, "weights": weights})
        assert config.weights == meant
        assert parse_config(config.model_dump(mode="json")) == config


def test_random_weights_are_not_frozen() -> None:
    with pytest.raises(InputError, match="not worth freezing"):
        quick().changed({"freeze.norm": True})
    assert quick(Path("images")).changed({"freeze.stages": 1}).freeze.stages == 1


def test_the_base_of_quick_is_trained_out_on_images_of_ones_own() -> None:
    own = quick(Path("images")).changed({"search.method": "joint"})
    assert own.base_epochs == "auto" and own.keeps_images
    others = (quick(), RECIPES["smoke"](Path("images")), paper(Path("images")))
    assert {config.base_epochs for config in others} == {"fixed"}
    assert not own.changed({"base_run": Path("other")}).keeps_images, "its base is trained already"
    assert not own.changed(read_options({"epochs": "7"})).keeps_images
    assert quick().changed({"search.method": "pareto"}).keeps_images


def test_a_number_of_epochs_is_from_one_on_or_auto() -> None:
    assert read_options({"epochs": "auto"}) == {"base_epochs": "auto", "base_train.epochs": MOST_EPOCHS}
    assert read_options({"epochs": "7"}) == {"base_epochs": "fixed", "base_train.epochs": 7}
    for text in ("0", "-3", "many", "1.5"):
        with pytest.raises(InputError, match="a number from 1 on, or auto"):
            read_options({"epochs": text})


@pytest.mark.parametrize("preset", sorted(RECIPES))
def test_every_preset_can_distil_one_student(preset: str) -> None:
    recipe = RECIPES[preset](Path("images"))
    config = distilled(recipe.changed({"base": "r101"}), "r18", Path("runs/first"))
    assert parse_config(json.loads(config.model_dump_json())) == config
    assert (config.search.method, config.search.trials, config.search.finetuned) == ("distill", 1, 0)
    assert config.trained_family == "r18" and recipe.trained_family == recipe.base
    assert config.trained_arch() == recipe.changed({"base": "r18"}).base_arch() == recipe.trained_arch()
    assert config.base_arch().body.depths == (3, 4, 23, 3), "of a teacher that is a file of weights"
    assert config.base_train == recipe.base_train and config.distill.teacher_canvas == "student"
    assert not config.needs_pool and not config.carries_state


def test_one_student_is_named_where_it_is_distilled_and_its_teacher_is_there() -> None:
    config = distilled(quick(), "r18", Path("runs/first"))
    with pytest.raises(InputError, match=r"distill trains one named student .* optimize distill --student r18"):
        quick().changed({"search.method": "distill"})
    with pytest.raises(InputError, match="distill trains one named student"):
        config.changed({"search.method": "joint"})
    for teacher in ("none", "base", "dynamic"):
        with pytest.raises(InputError, match=f"trained already, which is the base of its run: .*, not {teacher}"):
            config.changed({"search.teacher": teacher})
    with pytest.raises(InputError, match="not other"):
        config.changed({"base_run": Path("other")})
    with pytest.raises(InputError, match=r"unknown student 'r19'; there are: .*r101, r18, r50, shufflenet"):
        distilled(quick(), "r19", Path("runs/first"))


def test_a_base_of_named_blocks_is_searched_in_its_space() -> None:
    named = "shufflenetv2_20:2120 2112 33130031 3132"
    config = quick().changed({"base": named, "search.method": "detnas", "search.limits": (300e6, 0.8)})
    assert config.base_arch().body.encode() == "2120 2112 33130031 3132"
    assert config.pool_config().name == "shufflenetv2_20"
    with pytest.raises(InputError, match=r"of at least a million, not 0\.8, 300000"):
        config.changed({"search.limits": (0.8, 300_000.0)})
