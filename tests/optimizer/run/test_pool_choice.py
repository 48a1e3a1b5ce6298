"""The teachers of a run: which pool it draws on, what is refused, what the search is told of it."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from deploy.data import Dataset, read_dataset
from optimizer.config import RunConfig
from optimizer.data.shapes import write_shapes
from optimizer.data.splits import Splits
from optimizer.errors import InputError
from optimizer.progress import RunProgress
from optimizer.recipes import smoke
from optimizer.run import teachers as module
from optimizer.run.teachers import (
    PoolChoice,
    choose_pool,
    default_pools,
    make_settings,
    prepare_pool,
    require_own,
    warn_of_weak_teachers,
)
from optimizer.supernet.config import SupernetConfig
from optimizer.supernet.manifest import Manifest, key_pool
from optimizer.supernet.pool import TeacherPool
from optimizer.supernet.training import PoolImages


class Lines(RunProgress):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__(Console(file=io.StringIO()))
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = write_shapes(tmp_path_factory.mktemp("data") / "shapes", train=2, val=1, size=(64, 64), seed=0)
    return read_dataset(folder, "train")


@pytest.fixture
def config() -> RunConfig:
    """Canvases 96x96, 88x88 and 80x80; the teacher looks at the student's."""
    return smoke(Path("images")).changed({"search.space.sizes": ((96, 96), (88, 88), (80, 80))})


def write_pool(folder: Path, config: SupernetConfig, images: Dataset) -> Path:
    """A pool's manifest; its weights are not there."""
    folder.mkdir(parents=True)
    replace(Manifest.of_training(folder, config, images), weights_sha256="0" * 64).write()
    return folder


def test_pools_are_beside_the_run_unless_the_configuration_says_where(config: RunConfig, tmp_path: Path) -> None:
    assert default_pools(config, tmp_path / "runs" / "one") == tmp_path / "runs" / "teachers"
    named = config.changed({"teacher_pool": tmp_path / "elsewhere"})
    assert default_pools(named, tmp_path / "runs" / "one") == tmp_path / "elsewhere"
    assert default_pools(config, Path("one")).is_absolute()


def test_a_file_in_place_of_a_folder_is_refused(config: RunConfig, images: Dataset, tmp_path: Path) -> None:
    (tmp_path / "pool.json").write_text("{}")
    for data in (images, None):
        with pytest.raises(InputError, match=r"pool\.json is a file; --teacher-pool takes a folder of teacher pools"):
            choose_pool(config, tmp_path / "pool.json", data)


def share(path: Path) -> None:
    path.chmod(0o777)


def give_away(path: Path) -> None:
    os.chown(path, 12345, -1)


@pytest.mark.parametrize("what", ["the folder", "the pool", "the weights"])
@pytest.mark.parametrize("change", [share, give_away])
def test_a_pool_that_is_found_is_the_users_own_and_one_that_is_named_may_be_anybodys(
    config: RunConfig, images: Dataset, tmp_path: Path, what: str, change: Callable[[Path], None]
) -> None:
    """In a folder such as /tmp anybody can put a pool where a run will look for one."""
    pools = tmp_path / "teachers"
    pool = write_pool(pools / f"{config.pool_config().name}-{key_pool(config.pool_config(), images)}",
                      config.pool_config(), images)  # fmt: skip
    (pool / "phase-2.safetensors").touch()
    assert choose_pool(config, pools, images).trained
    place = {"the folder": pools, "the pool": pool, "the weights": pool / "phase-2.safetensors"}[what]
    try:
        change(place)
    except PermissionError:
        pytest.skip("only the superuser gives files away")
    with pytest.raises(InputError, match=r"may be somebody else's: .* name them by --teacher-pool"):
        choose_pool(config, pools, images)
    assert choose_pool(config, pools, images, is_named=True).trained


def test_a_folder_where_nobody_touches_what_is_anothers_may_hold_ones_own_pools(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    require_own(tmp_path, tmp_path / "absent")


def test_for_images_that_are_yet_to_be_generated_there_is_no_pool(config: RunConfig, tmp_path: Path) -> None:
    choice = choose_pool(config, tmp_path, None)
    assert choice.config == config.pool_config() and not choice.trained and not choice.folder.exists()


def test_the_runs_own_recipe_decides_among_the_pools_of_a_folder(
    config: RunConfig, images: Dataset, tmp_path: Path
) -> None:
    wanted = config.pool_config()
    choice = choose_pool(config, tmp_path, images)
    assert choice == PoolChoice(tmp_path / f"r18-{key_pool(wanted, images)}", wanted) and not choice.trained
    write_pool(choice.folder, wanted, images)
    assert choose_pool(config, tmp_path, images).trained
    other = config.changed({"pool.batch_size": 1})
    assert not choose_pool(other, tmp_path, images).trained


def test_a_pool_that_is_named_brings_its_own_recipe(config: RunConfig, images: Dataset, tmp_path: Path) -> None:
    theirs = config.pool_config().model_copy(update={"sizes": ((128, 96),), "seed": 7})
    folder = write_pool(tmp_path / "mine", theirs, images)
    choice = choose_pool(config, folder, images)
    assert choice == PoolChoice(folder, theirs) and choice.trained
    with pytest.raises(InputError, match="were trained on other images than these"):
        choose_pool(config, folder, images.first(1))


def test_a_teacher_whose_anchors_are_not_the_students_is_refused(
    config: RunConfig, images: Dataset, tmp_path: Path
) -> None:
    """The named pool's canvases count, not those of the run's recipe."""
    one_stage = config.changed({"detector": "retinanet", "search.space.actions": ("prune_channels",)})
    choose_pool(one_stage, tmp_path, images)
    large = one_stage.pool_config().model_copy(update={"sizes": ((800, 640),)})
    folder = write_pool(tmp_path / "mine", large, images)
    with pytest.raises(InputError, match=r"those of the teacher \(scale 8\) are not the student's \(scale 4\)"):
        choose_pool(one_stage, folder, images)
    assert choose_pool(one_stage.changed({"search.method": "etp", "search.teacher": "none"}), folder, images).trained


def test_every_pair_of_canvases_is_looked_at(config: RunConfig, images: Dataset, tmp_path: Path) -> None:
    one_stage = config.changed({"detector": "retinanet", "search.space.actions": ("prune_channels",)})
    own = one_stage.changed({"distill.teacher_canvas": "own"})
    with pytest.raises(InputError, match=r"student 96x96, teacher 88x88; choose one canvas \(--sizes\)"):
        choose_pool(own, tmp_path, images)
    assert not choose_pool(own.changed({"search.space.sizes": ((96, 96),)}), tmp_path, images).trained
    assert not choose_pool(config.changed({"distill.teacher_canvas": "own"}), tmp_path, images).trained


@pytest.mark.parametrize("place", ["distill.weights", "pool.distill.weights"])
def test_an_unknown_distiller_is_refused(config: RunConfig, images: Dataset, tmp_path: Path, place: str) -> None:
    with pytest.raises(InputError, match="no distiller 'relation'"):
        choose_pool(config.changed({place: {"relation": 1.0}}), tmp_path, images)


@pytest.mark.parametrize("trained", [True, False])
def test_a_pool_that_is_not_there_is_trained_by_the_choices_recipe(
    config: RunConfig, images: Dataset, tmp_path: Path, trained: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, told = config.pool_config().model_copy(update={"seed": 7}), []

    def train_pool(folder: Path, recipe: SupernetConfig, *rest: object) -> TeacherPool:
        told.append((folder, recipe, *rest[:1]))
        return TeacherPool(Manifest.of_training(folder, recipe, images), recipe.build(1), images)

    monkeypatch.setattr(module, "train_pool", train_pool)
    folder = write_pool(tmp_path / "mine", wanted, images) if trained else tmp_path / "mine"
    progress = Lines()
    pool = prepare_pool(PoolChoice(folder, wanted), config, Splits.divide(images, images), Path("images"), progress)
    assert pool.config == wanted and told == [(folder, wanted, PoolImages(Path("images"), images, images))]
    assert progress.said[-1] == f"teachers: {folder}, {pool.space.count()} sub-networks of r18"
    assert [f"training {folder}" in line for line in progress.said] == ([False] if trained else [True, False])


@pytest.mark.parametrize(("base_ap", "speaks"), [(0.2, False), (0.4, False), (0.41, True)])
def test_weak_teachers_are_warned_of_where_the_base_is_stronger(
    config: RunConfig, images: Dataset, tmp_path: Path, base_ap: float, speaks: bool
) -> None:
    pool = Manifest.of_training(tmp_path, config.pool_config(), images)
    progress = Lines()
    warn_of_weak_teachers(replace(pool, ap={"one": 0.1, "two": 0.4, "three": 0.3}), base_ap, progress)
    assert len(progress.said) == int(speaks)
    assert not speaks or "(AP up to 0.400) are weaker than the base (AP 0.410)" in progress.said[0]


def test_what_a_teacher_looks_at_is_searched_only_where_it_is_its_own(config: RunConfig) -> None:
    pool = config.pool_config()
    assert pool.sizes == ((96, 96), (88, 88), (80, 80))
    settings = make_settings(config, pool)  # teacher_canvas "student"
    assert settings.teachers is not None and settings.teachers.pool.sizes == ((96, 96),)
    assert settings.teachers.pool.largest() == pool.space().largest()
    assert settings.pool == pool.space(), "etp's students keep their canvases"
    own = make_settings(config.changed({"distill.teacher_canvas": "own"}), pool)
    assert own.teachers is not None and own.teachers.pool == own.pool == pool.space()


def test_the_search_is_told_of_the_pool_there_is_and_not_of_the_recipe(config: RunConfig) -> None:
    named = config.pool_config().model_copy(update={"sizes": ((128, 96), (64, 64))})
    settings = make_settings(config.changed({"distill.teacher_canvas": "own"}), named)
    assert settings.pool is not None and settings.pool.sizes == ((128, 96), (64, 64))
    assert settings.teachers is not None and settings.teachers.pool.sizes == ((128, 96), (64, 64))


def test_settings_follow_the_configuration(config: RunConfig) -> None:
    pool = config.pool_config()
    changed = config.changed({"search.trials": 9, "search.top_k": 3, "search.fixed_trials": 2})
    settings = make_settings(changed, pool)
    assert (settings.space, settings.trials, settings.top_k, settings.fixed_trials) == (config.search.space, 9, 3, 2)
    assert settings.teachers is not None and not settings.teachers.fixed
    fixed = make_settings(config.changed({"search.teacher": "fixed"}), pool)
    assert fixed.teachers is not None and fixed.teachers.fixed
    untaught = make_settings(config.changed({"search.teacher": "none", "search.method": "etp"}), pool)
    assert untaught.teachers is None and untaught.pool == pool.space()
    alone = make_settings(config.changed({"search.teacher": "none"}), None)
    assert alone.teachers is None and alone.pool is None
