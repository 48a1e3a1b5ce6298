"""Any bytes at all as labels: a data set, or one InputError; never another error, never a file outside."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import SEEDS, assert_read_or_refused, mutate, plant

SETTINGS = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("kind", SEEDS)
def test_mutated_label_files_are_read_or_refused(tmp_path: Path, kind: str) -> None:
    for seed in range(100):
        rng = random.Random(seed)
        folder = plant(tmp_path / str(seed), kind, lambda content, rng=rng: mutate(content, rng))
        assert_read_or_refused(folder)


@pytest.mark.parametrize("kind", SEEDS)
@SETTINGS
@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, kind: str, content: bytes) -> None:
    assert_read_or_refused(plant(tmp_path_factory.mktemp("fuzz"), kind, lambda _: content))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["id", "image_id", "bbox", "file_name", "name", "category_id", "x"]), inner)
    ),
    max_leaves=12,
)


@SETTINGS
@given(images=JSON, annotations=JSON, categories=JSON)
def test_any_json_in_cocos_place_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, images: object, annotations: object, categories: object
) -> None:
    content = json.dumps({"images": images, "annotations": annotations, "categories": categories})
    assert_read_or_refused(plant(tmp_path_factory.mktemp("fuzz"), "coco", lambda _: content.encode()))


@SETTINGS
@given(name=st.text(max_size=30))
def test_any_file_name_stays_inside(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    content = {
        "images": [{"id": 1, "file_name": name}, {"id": 2, "file_name": "a.png"}],
        "annotations": [{"image_id": i, "category_id": 1, "bbox": [1, 1, 5, 5]} for i in (1, 2)],
        "categories": [{"id": 1, "name": "cat"}],
    }
    assert_read_or_refused(plant(tmp_path_factory.mktemp("fuzz"), "coco", lambda _: json.dumps(content).encode()))
