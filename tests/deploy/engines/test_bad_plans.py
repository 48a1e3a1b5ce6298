"""A corpus of plans that nobody loads: a plan runs as it is loaded, so each is refused before, in one line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy.builders.plans import find_best_plan, find_plan, write_plan
from deploy.engines.plan import BuildSettings, Plan, PlanKey, Platform, read_plan
from deploy.errors import EngineError
from deploy.files import hash_file

pytestmark = pytest.mark.timeout(30)
KEY = PlanKey("0" * 64, Platform("10.3", "a GPU", "8.7", "12.6"), BuildSettings(3))


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    tmp_path.chmod(0o700)
    return write_plan(tmp_path, KEY, b"machine code", {"model": "a.onnx"})


def saying(text: str) -> Callable[[Path], None]:
    return lambda path: (path.parent / "plan.json").write_text(text) and None


def changed(**changes: Any) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        place = path.parent / "plan.json"
        place.write_text(json.dumps({**json.loads(place.read_text()), **changes}))

    return damage


def lacking(key: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        place = path.parent / "plan.json"
        place.write_text(json.dumps({k: v for k, v in json.loads(place.read_text()).items() if k != key}))

    return damage


def instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        (path.parent / "plan.json").unlink()
        make(path.parent / "plan.json")

    return damage


CORPUS: dict[str, Callable[[Path], object]] = {
    "altered": lambda path: path.write_bytes(b"other code"),
    "cut short": lambda path: os.truncate(path, 3),
    "empty": lambda path: os.truncate(path, 0),
    "gone": lambda path: path.unlink(),
    "an empty manifest": saying(""),
    "a brace": saying("{"),
    "a list": saying("[]"),
    "lists without end": saying("[" * 100_000),
    "NaN": saying("NaN"),
    "a later version": changed(schema_version=99),
    **{f"no {key}": lacking(key) for key in ("schema_version", "key", "plan_sha256", "record")},
    "a key that is a list": changed(key=[]),
    "a key of too much": changed(key={**KEY.to_json(), "platform": {**KEY.to_json()["platform"], "more": 1}}),
    "a record that is a text": changed(record="good"),
    "another hash": changed(plan_sha256="0" * 64),
    "a hash that is a number": changed(plan_sha256=3),
    "zeros for a manifest": instead(lambda place: place.symlink_to("/dev/zero")),
    "a manifest without end": instead(lambda place: (place.touch(), os.truncate(place, 1 << 34))),
    "a folder that anybody may write to": lambda path: path.parent.chmod(0o777),
    "a folder that a group may write to": lambda path: path.parent.chmod(0o770),
}


@pytest.mark.parametrize("damage", CORPUS.values(), ids=CORPUS)
def test_a_bad_plan_is_not_loaded(plan: Plan, damage: Callable[[Path], object]) -> None:
    damage(plan.path)
    found, why = find_plan(plan.path.parents[1], KEY)
    assert found is None and why and "\n" not in why
    if (plan.path.parent / "plan.json").is_file():
        with pytest.raises(EngineError) as caught:
            read_plan(plan.path)
        assert "\n" not in str(caught.value)


def test_a_pipe_for_a_manifest_is_none(plan: Plan) -> None:
    instead(os.mkfifo)(plan.path)
    assert find_plan(plan.path.parents[1], KEY) == (None, "none is there yet")


def test_a_plan_of_another_model_or_device_is_not_taken(plan: Plan, tmp_path: Path) -> None:
    folder = plan.path.parents[1]
    assert find_plan(folder, KEY)[0] == plan
    elsewhere = replace(KEY, platform=replace(KEY.platform, tensorrt="10.4"))
    found, why = find_plan(folder, elsewhere)
    assert found is None and why == "it is of platform.tensorrt 10.3, and this is 10.4"
    model = tmp_path / "other.onnx"
    model.write_bytes(b"another model")
    place = plan.path.parent.with_name(f"{hash_file(model)[:24]}-level3")
    plan.path.parent.rename(place)  # somebody puts the plan where that of the other model would be
    assert find_best_plan(folder, model, KEY.platform) is None
