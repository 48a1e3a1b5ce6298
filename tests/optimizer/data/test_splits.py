"""Which training images are kept out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.data import Dataset, Record
from optimizer.data.splits import Splits, count_kept, keep_out


def make_dataset(images: list[list[int]]) -> Dataset:
    """One record for each list of labels."""
    records = tuple(
        Record(
            number, Path(f"{number}.png"), 8, 8, np.zeros((len(labels), 4), np.float32), np.array(labels, np.int64),
            np.zeros(len(labels), bool),
        )
        for number, labels in enumerate(images)
    )  # fmt: skip
    return Dataset(("a", "b", "c", "d"), records, ())


def list_ids(dataset: Dataset) -> list[object]:
    return [record.image_id for record in dataset.records]


def find_classes(dataset: Dataset) -> set[int]:
    return {int(label) for record in dataset.records for label in record.labels}


@pytest.mark.parametrize(
    ("images", "kept"), [(1, 1), (2, 1), (16, 5), (72, 24), (160, 24), (200, 30), (1000, 128), (100_000, 128)]
)
def test_about_a_seventh_is_kept_within_limits(images: int, kept: int) -> None:
    assert count_kept(images) == kept


@settings(max_examples=200)
@given(st.lists(st.lists(st.integers(0, 3), max_size=4), min_size=1, max_size=60))
def test_every_class_of_two_images_is_in_both_parts(images: list[list[int]]) -> None:
    whole = make_dataset(images)
    fit, kept = keep_out(whole)
    holders = {label: sum(label in labels for labels in images) for label in find_classes(whole)}
    if fit is whole:
        assert kept is whole  # nothing to judge by can be spared
        return
    assert sorted([*list_ids(fit), *list_ids(kept)]) == list_ids(whole)
    assert find_classes(fit) == find_classes(whole)
    assert find_classes(kept) and len(kept.records) <= count_kept(len(images))
    assert all(count == 1 for label, count in holders.items() if label not in find_classes(fit))


def test_rare_classes_are_kept_too() -> None:
    images = [[0]] * 80 + [[1], [1], [2, 0], [2, 0], [3]]
    fit, kept = keep_out(make_dataset(images))
    assert len(kept.records) == 24 and find_classes(kept) == {0, 1, 2} and find_classes(fit) == {0, 1, 2, 3}


@pytest.mark.parametrize("images", [[[0]], [[], [0], []], [[0], [1]], [[], []]])
def test_where_no_object_can_be_spared_both_parts_are_the_whole(images: list[list[int]]) -> None:
    whole = make_dataset(images)
    assert keep_out(whole) == (whole, whole)


def test_crowds_are_nothing_to_judge_by() -> None:
    whole = make_dataset([[0], [0]])
    whole.records[0].crowd[:] = True
    assert keep_out(whole) == (whole, whole)


def test_the_same_images_are_kept_every_time_and_none_unless_asked() -> None:
    whole = make_dataset([[0], [1]] * 50)
    assert keep_out(whole) == keep_out(whole)
    plain = Splits.divide(whole, whole)
    assert plain.fit is plain.train is whole and plain.kept.records == ()
    keeping = Splits.divide(whole, whole, keeps=True)
    assert len(keeping.kept.records) == 24 and len(keeping.fit.records) == 76
