"""The table of options against `RunConfig`: every part exists, takes what the option reads, and is changed by it."""

from __future__ import annotations

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from optimizer.cli import app
from optimizer.cli.option import Option
from optimizer.cli.options import OPTIONS, read_options
from optimizer.config import Published, RunConfig
from optimizer.errors import InputError
from optimizer.recipes import quick

CONFIG = quick(Path("images"))
VALUES: dict[str, Any] = {
    "base": "r50", "target": ["jetson", "cpu"], "host": "user@board", "detector": "retinanet", "method": "pipeline",
    "teacher": "fixed", "teacher_pool": Path("pools").resolve(), "teacher_epochs": "4,2,1", "inherit": False,
    "actions": "resize,prune_channels", "finetuned": 2, "elastic": 0.5,
    "finetune_epochs": 7, "trials": 9, "budget": "1h30m",
    "size": "320x240", "sizes": "320x240,256x192", "region_proposals": "90,60", "epochs": "11", "trial_epochs": 3,
    "score": "macs", "objective": "product", "batch_size": 6, "workers": 2, "weights": "weights.pth",
    "weights_from": "mmdet",
    "base_run": Path("other").resolve(), "precision": "bf16", "precisions": "fp32,int8", "export_proposals": "80,40",
    "max_ap_drop": 0.05, "seed": 3, "freeze_stages": 1, "freeze_norm": True, "importance": "taylor", "compensate": True,
    "continuity": True, "distillers": "feature=0.5,classification", "teacher_canvas": "own", "defeat": "voc",
    "distill_decay": "cosine", "max_detections": 250, "limit": "0.7,0.5", "population": 6, "generations": 3,
    "supernet_epochs": 2, "box_head": "conv4fc1", "shrinking": "filter", "coupled": True, "pretrain": "./pictures",
    "bucket": "latency", "ranker": "filter", "classification_paths": 80,
    "max_latency": "33ms", "max_size": "20MB", "max_memory": "512MB", "min_ap": 0.3, "keep": "5GB",
    "workers_on": "ray", "at_once": 4, "gpus_per_trial": 0.5, "shared_folder": False,
    "track": "tensorboard,mlflow",
}  # fmt: skip
UNIONS = (types.UnionType, typing.Union)
PAIRS = [pytest.param(option, path, id=f"{option.flag} {path}") for option in OPTIONS for path in option.changes]


def list_choices(annotation: Any) -> tuple[Any, ...]:
    """The types of a union; any other type is its only choice."""
    return typing.get_args(annotation) if typing.get_origin(annotation) in UNIONS else (annotation,)


def step_into(annotation: Any, part: str) -> Any:
    """The type of a part of a type, whether that may be None or not."""
    for choice in list_choices(annotation):
        if part.isdigit() and typing.get_origin(choice) is tuple:
            return typing.get_args(choice)[0]
        if isinstance(choice, type) and issubclass(choice, BaseModel):
            return choice.model_fields[part].annotation
        if dataclasses.is_dataclass(choice):
            return typing.get_type_hints(choice)[part]
    raise AssertionError(f"{annotation} has no part {part}")


def find_type(path: str) -> Any:
    annotation: Any = RunConfig
    for part in path.split("."):
        annotation = step_into(annotation, part)
    return annotation


def find_value(config: RunConfig, path: str) -> Any:
    value: Any = config
    for part in path.split("."):
        value = value[int(part)] if part.isdigit() else getattr(value, part)
    return value


@pytest.mark.parametrize(("option", "path"), PAIRS)
def test_an_option_changes_the_part_it_names(option: Option, path: str) -> None:
    changes = read_options({option.name: VALUES[option.name]})
    changed = CONFIG.changed(changes)
    assert find_value(changed, path) == changes[path] != find_value(CONFIG, path)


@pytest.mark.parametrize(("option", "path"), PAIRS)
def test_what_an_option_reads_is_of_the_type_of_that_part(option: Option, path: str) -> None:
    value, annotation = option.changes[path](VALUES[option.name]), find_type(path)
    choices = list_choices(annotation)
    plain = [typing.get_origin(choice) or choice for choice in choices]
    kinds = tuple(str if kind is Literal else kind for kind in plain)
    assert isinstance(value, kinds), f"{value!r} is not of {annotation}"
    assert isinstance(VALUES[option.name], typing.get_origin(option.kind) or option.kind)


def test_what_is_not_given_changes_nothing_and_every_option_is_tried_here() -> None:
    assert read_options(dict.fromkeys(VALUES)) == {}
    assert CONFIG.changed({}) == CONFIG
    assert {option.name for option in OPTIONS} == set(VALUES)


def test_the_searched_canvases_follow_the_bases_unless_they_are_named() -> None:
    assert read_options({"size": "320x240"})["search.space.sizes"][0] == (320, 240)  # type: ignore[index]
    both = read_options({"size": "320x240", "sizes": "320x240,160x120"})
    assert both["input_size"] == (320, 240) and both["search.space.sizes"] == ((320, 240), (160, 120))


def test_none_is_an_empty_list_where_that_means_something() -> None:
    assert read_options({"actions": "none", "export_proposals": "none"}) == {
        "search.space.actions": (), "variants.region_proposals": (),
    }  # fmt: skip


@pytest.mark.parametrize("text", ["8,3", "8,3,5,1", "8,3,0", "many"])
def test_teacher_epochs_are_three(text: str) -> None:
    with pytest.raises(
        InputError, match=f"--teacher-epochs takes three numbers from 1 on, such as 8,3,5; not '{text}'"
    ):
        read_options({"teacher_epochs": text})


def test_help_teaches_every_option() -> None:
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    for option in OPTIONS:
        assert (option.switch.split("/")[0] or option.flag) in text and option.help.split()[0] in text
    assert all(flag in text for flag in ("--data", "--preset", "--out", "--primary"))
    for name in ("supernets", "teachers"):
        supernets = CliRunner().invoke(app, [name, "train", "--help"], env={"COLUMNS": "200"}).output
        assert "--teacher-epochs" in supernets and "--pretrain" in supernets and "--budget" not in supernets
        assert "Detector the teachers are for" in supernets


def test_what_is_pre_trained_on_is_known_by_name_or_a_folder() -> None:
    for text, images in (("crops", "crops"), ("none", "none"), ("./crops", Path("crops").resolve())):
        changed = CONFIG.changed(read_options({"pretrain": text}))
        for recipe in (changed.paths, changed.ofa):
            assert recipe is not None and recipe.pretraining is not None and recipe.pretraining.images == images


@pytest.mark.parametrize("name", typing.get_args(Published))
def test_weights_are_published_ones_by_name_or_none_or_a_file(name: str) -> None:
    assert read_options({"weights": name}) == {"weights": name}
    assert CONFIG.changed(read_options({"weights": "none"})).weights is None
    assert CONFIG.changed(read_options({"weights": f"./{name}"})).weights == Path(name).resolve()


def test_distillers_that_the_search_chooses_have_no_weights() -> None:
    assert read_options({"distillers": "auto"}) == {"distill.weights": {}}


def test_distillers_have_weights_of_their_own_or_1() -> None:
    read = read_options({"distillers": "feature, classification = 0.5,defeat=2"})
    assert read == {"distill.weights": {"feature": 1.0, "classification": 0.5, "defeat": 2.0}}


@pytest.mark.parametrize(
    "text", ["", "feature,", "feature,feature=2", "feature=", "feature=0", "feature=-1", "feature=much", "feature=inf"]
)
def test_distillers_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--distillers takes different names, each with a weight above 0"):
        read_options({"distillers": text})


def test_defeat_has_its_authors_weights_for_two_data_sets() -> None:
    assert CONFIG.changed(read_options({"defeat": "coco"})).distill.defeat == CONFIG.distill.defeat
    with pytest.raises(InputError, match="--defeat takes coco or voc; not 'kitti'"):
        read_options({"defeat": "kitti"})


@pytest.mark.parametrize(
    ("text", "limits"), [("0.8,.6", (0.8, 0.6)), ("300M", (300e6,)), ("1.3G, 0.9", (1.3e9, 0.9)), ("1", (1.0,))]
)
def test_a_limit_is_a_share_or_operations_with_a_unit(text: str, limits: tuple[float, ...]) -> None:
    assert read_options({"limit": text}) == {"search.limits": limits}


@pytest.mark.parametrize("text", ["", "fast", "300X", "M", "0.8,", "1e3", "nan"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"such as 0\.8,0\.6, or MACs of the body, such as 300M"):
        read_options({"limit": text})
