"""The curves of the error analysis: by hand, by a second implementation, and what always holds of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.data.records import Dataset, Record
from deploy.detections import Detections
from deploy.error_analysis import AREAS, CURVES, LOSSES, ErrorAnalysis, analyse_errors
from deploy.errors import InputError
from deploy.evaluate import evaluate_detections

Box = Sequence[float]
CAT, DOG, CAR = 0, 1, 2
NAMES, PARENTS = ("cat", "dog", "car"), ("animal", "animal", "vehicle")
LEFT, MIDDLE, RIGHT = (0, 0, 50, 50), (60, 0, 110, 50), (120, 0, 170, 50)


def record(
    image_id: int, objects: Sequence[tuple[int, Box]], crowd: Sequence[int] = (), difficult: Sequence[int] = ()
) -> Record:
    """An image of objects (label, box); some of them, by position, are crowds or difficult."""
    marks = [np.isin(np.arange(len(objects)), list(marked)) for marked in (crowd, difficult)]
    boxes = np.array([box for _, box in objects], np.float32).reshape(-1, 4)
    labels = np.array([label for label, _ in objects], np.int64)
    return Record(image_id, Path(f"{image_id}.png"), 200, 200, boxes, labels, *marks)


def found(*objects: tuple[int, Box, float]) -> Detections:
    ordered = sorted(objects, key=lambda item: -item[2])
    return Detections(
        np.array([box for _, box, _ in ordered], np.float32).reshape(-1, 4),
        np.array([score for _, _, score in ordered], np.float32),
        np.array([label for label, _, _ in ordered], np.int64),
    )


def analyse_one(image: Record, detections: Detections) -> ErrorAnalysis:
    return analyse_errors(Dataset(NAMES, (image,), (), supercategories=PARENTS), [(image.image_id, detections)])


def means(analysis: ErrorAnalysis, label: int) -> list[float]:
    return list(analysis.classes[label].means().values())


def make_case(seed: int, ignored: bool) -> tuple[Dataset, list[tuple[int, Detections]]]:
    """Images of a few objects of all sizes; detections are shifted, confused, doubled and made up; scores have ties."""
    rng = np.random.default_rng(seed)
    records, results = [], []
    for image_id in range(3):
        count = int(rng.integers(0, 6)) + (image_id == 0)
        corners = rng.uniform(0, 90, (count, 2))
        sides = rng.uniform(8, 109, (count, 2)) * rng.choice([0.3, 1.0], (count, 1))
        boxes = np.concatenate([corners, corners + sides], 1)
        labels = rng.integers(0, len(NAMES), count)
        marked = [rng.random(count) < 0.2 if ignored else np.zeros(count, bool) for _ in range(2)]
        for marks in marked:
            marks[:1] = False
        records.append(Record(image_id, Path("a.png"), 200, 200, boxes.astype(np.float32), labels, *marked))
        made_up = rng.uniform(0, 80, (3, 2))
        guesses = np.concatenate([boxes, boxes, np.concatenate([made_up, made_up + rng.uniform(5, 100, (3, 2))], 1)])
        guesses[:, 2:] = np.maximum(guesses[:, 2:] + rng.normal(0, 12, (len(guesses), 2)), guesses[:, :2] + 1)
        confused = rng.integers(0, len(NAMES), len(guesses))
        said = np.where(
            rng.random(len(guesses)) < 0.5, np.concatenate([labels, labels, rng.integers(0, 3, 3)]), confused
        )
        scores = -np.sort(-rng.integers(1, 8, len(guesses)) / 8).astype(np.float32)
        results.append((image_id, Detections(guesses.astype(np.float32), scores, said)))
    return Dataset(NAMES, tuple(records), (), supercategories=PARENTS), results


def test_a_confusion_with_a_similar_class_is_forgiven_by_sim_and_one_with_another_class_by_oth() -> None:
    """By hand: of three boxes called a cat one is a dog and one a car; every recall is reached with all three."""
    image = record(1, [(CAT, LEFT), (DOG, MIDDLE), (CAR, RIGHT)])
    analysis = analyse_one(image, found((CAT, MIDDLE, 0.9), (CAT, RIGHT, 0.8), (CAT, LEFT, 0.7)))
    assert means(analysis, CAT) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1 / 2, 1, 1, 1])
    assert analysis.classes[CAT].losses() == pytest.approx({"Loc": 0, "Sim": 1 / 6, "Oth": 1 / 2, "BG": 0, "FN": 0})


def test_each_other_mistake_is_in_its_own_share() -> None:
    """By hand, with 51 of 101 points of recall up to a half."""
    loose = analyse_one(record(1, [(CAT, LEFT)]), found((CAT, (0, 0, 50, 30), 0.9)))
    assert means(loose, CAT) == pytest.approx([0, 1, 1, 1, 1, 1, 1])
    bad = analyse_one(record(1, [(CAT, LEFT)]), found((CAT, (0, 0, 50, 15), 0.9)))
    assert means(bad, CAT) == pytest.approx([0, 0, 1, 1, 1, 1, 1])
    nowhere = analyse_one(record(1, [(CAT, LEFT)]), found((CAT, RIGHT, 0.9), (CAT, LEFT, 0.8)))
    assert means(nowhere, CAT) == pytest.approx([1 / 2] * 5 + [1, 1])
    both = record(1, [(CAT, LEFT), (CAT, MIDDLE)])
    doubled = analyse_one(both, found((CAT, LEFT, 0.9), (CAT, LEFT, 0.8), (CAT, MIDDLE, 0.7)))
    assert means(doubled, CAT) == pytest.approx([(51 + 50 * 2 / 3) / 101] * 5 + [1, 1])
    missed = analyse_one(record(1, [(CAT, LEFT), (CAT, RIGHT)]), found((CAT, LEFT, 0.9)))
    assert means(missed, CAT) == pytest.approx([51 / 101] * 6 + [1])
    assert missed.classes[CAT].losses()["FN"] == pytest.approx(50 / 101)


def test_a_box_inside_an_object_of_another_class_is_not_forgiven_as_a_crowd_would_forgive_it() -> None:
    """Its IoU is 0.04. As a crowd, the dog would be compared with the box's own area, of which it holds all."""
    inside, dog = (60, 0, 70, 10), MIDDLE
    detections = found((CAT, inside, 0.9), (CAT, LEFT, 0.8))
    assert means(analyse_one(record(1, [(CAT, LEFT), (DOG, dog)]), detections), CAT)[4] == pytest.approx(1 / 2)
    crowd = Dataset(("cat",), (record(1, [(CAT, LEFT), (CAT, dog)], crowd=[1]),), ())
    assert evaluate_detections(crowd, [(1, detections)]).ap50 == pytest.approx(1)


def test_an_object_of_another_class_forgives_one_box() -> None:
    """By hand: two boxes lie on one dog, and the second is on nothing that is left. A crowd would take both."""
    detections = found((CAT, MIDDLE, 0.9), (CAT, MIDDLE, 0.8), (CAT, LEFT, 0.7))
    analysis = analyse_one(record(1, [(CAT, LEFT), (DOG, MIDDLE)]), detections)
    assert means(analysis, CAT)[2:5] == pytest.approx([1 / 3, 1 / 2, 1 / 2])


def test_a_crowd_of_another_class_stays_a_crowd() -> None:
    detections = found((CAT, (60, 0, 70, 10), 0.9), (CAT, (80, 0, 90, 10), 0.8), (CAT, LEFT, 0.7))
    analysis = analyse_one(record(1, [(CAT, LEFT), (DOG, MIDDLE)], crowd=[1]), detections)
    assert means(analysis, CAT)[2:5] == pytest.approx([1 / 3, 1, 1])


def test_perfect_detections_are_ones() -> None:
    image = record(1, [(CAT, LEFT), (DOG, MIDDLE), (CAR, (0, 60, 150, 190)), (CAT, (100, 60, 110, 70))])
    detections = found(*((int(label), box, 0.9) for label, box in zip(image.labels, image.boxes_xyxy)))
    analysis = analyse_one(image, detections)
    for curves in (analysis.overall, *analysis.supercategories, *analysis.classes):
        for index, area in enumerate(AREAS):
            if curves.count(area):
                assert curves.precision[index] == pytest.approx(np.ones((7, 101)))
                assert curves.losses(area) == pytest.approx(dict.fromkeys(LOSSES, 0), abs=1e-12)
    assert [analysis.overall.count(area) for area in AREAS] == [4, 1, 2, 1]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_without_ignored_objects_no_curve_falls_below_the_one_before(seed: int) -> None:
    analysis = analyse_errors(*make_case(seed, ignored=False))
    for curves in (analysis.overall, *analysis.supercategories, *analysis.classes):
        assert (np.diff(curves.precision[0], axis=0) >= -1e-12).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_with_ignored_objects_and_in_every_size_no_curve_from_loc_on_falls_below_the_one_before(seed: int) -> None:
    analysis = analyse_errors(*make_case(seed, ignored=True))
    for curves in (analysis.overall, *analysis.supercategories, *analysis.classes):
        assert (np.diff(curves.precision[:, 2:], axis=1) >= -1e-12).all()
        assert ((curves.precision >= 0) & (curves.precision <= 1)).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_bg_fn_and_the_sim_of_a_class_alone_are_as_defined(seed: int, ignored: bool) -> None:
    analysis = analyse_errors(*make_case(seed, ignored))
    loc, sim, oth, background, missed = (list(CURVES).index(name) for name in LOSSES)
    for curves in analysis.classes:
        assert ((curves.precision[:, background] == 1) == (curves.precision[:, oth] > 0)).all()
        assert (curves.precision[:, missed] == 1).all()
    alone = analysis.classes[CAR].precision
    assert (alone[:, sim] == alone[:, loc]).all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ignored", [False, True])
def test_the_means_of_c50_and_c75_are_ap50_and_ap75(seed: int, ignored: bool) -> None:
    dataset, results = make_case(seed, ignored)
    precision = evaluate_detections(dataset, results)
    of_all = analyse_errors(dataset, results).overall.means()
    assert 0 < precision.ap50 < 1
    assert (of_all["C50"], of_all["C75"]) == pytest.approx((precision.ap50, precision.ap75), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_loc_sim_and_oth_equal_a_second_implementation(seed: int) -> None:
    dataset, results = make_case(seed, ignored=False)
    analysis = analyse_errors(dataset, results)
    for label, parent in enumerate(PARENTS):
        similar = [other for other in range(3) if other != label and PARENTS[other] == parent]
        for curve, forgiven in (("Loc", []), ("Sim", similar), ("Oth", [0, 1, 2])):
            ours = analysis.classes[label].precision[0, list(CURVES).index(curve)]
            assert ours == pytest.approx(match_by_hand(dataset, results, label, forgiven), abs=1e-12), (label, curve)


def match_by_hand(
    dataset: Dataset, results: list[tuple[int, Detections]], label: int, forgiven: Sequence[int]
) -> np.ndarray:
    """(101,) precision at IoU 0.1: each box takes the best free object of its class, else one of `forgiven`."""
    outcomes = []
    for image, (_, detections) in zip(dataset.records, results):
        taken: set[int] = set()
        for box, score, said in zip(detections.boxes_xyxy, detections.scores, detections.labels):
            if said != label:
                continue
            outcome = "wrong"
            for wanted, name in (([label], "right"), ([other for other in forgiven if other != label], "ignored")):
                free = [i for i, other in enumerate(image.labels) if other in wanted and i not in taken]
                overlaps = {i: find_iou(box, image.boxes_xyxy[i]) for i in free}
                best = max(overlaps, key=lambda i: overlaps[i], default=None)
                if outcome == "wrong" and best is not None and overlaps[best] >= 0.1:
                    taken.add(best)
                    outcome = name
            outcomes.append((-score, len(outcomes), outcome))
    right = np.cumsum([outcome == "right" for _, _, outcome in sorted(outcomes)])
    wrong = np.cumsum([outcome == "wrong" for _, _, outcome in sorted(outcomes)])
    total = sum(int((image.labels == label).sum()) for image in dataset.records)
    curve = np.zeros(101)
    for point, recall in enumerate(np.linspace(0, 1, 101) if total else ()):
        reached = right / total >= recall
        curve[point] = (right[reached] / np.maximum(right + wrong, 1)[reached]).max(initial=0)
    return curve


def find_iou(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one.astype(float), other.astype(float)
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    both = np.prod(np.maximum(high - low, 0))
    return float(both / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - both))


def test_a_lower_iou_may_cost_something_where_an_object_is_ignored() -> None:
    """By hand: at 0.75 the first box lies on the difficult object, at 0.5 it takes the object of the second box."""
    image = record(1, [(CAT, (0, 0, 100, 100)), (CAT, (0, 0, 100, 60)), (CAT, RIGHT)], difficult=[1])
    detections = found((CAT, (0, 0, 100, 70), 0.9), (CAT, (0, 20, 100, 100), 0.8), (CAT, RIGHT, 0.7))
    tight, usual, loose, *_ = means(analyse_one(image, detections), CAT)
    assert (tight, usual, loose) == pytest.approx((1, (51 + 50 * 2 / 3) / 101, 1))


def test_a_class_without_an_object_counts_in_no_mean() -> None:
    analysis = analyse_one(record(1, [(CAT, LEFT)]), found((CAT, LEFT, 0.9), (CAR, RIGHT, 0.8)))
    assert means(analysis, CAR) == [0, 0, 0, 0, 0, 0, 1] and analysis.classes[CAR].count() == 0
    assert analysis.overall.means()["C75"] == pytest.approx(1)
    assert [curves.name for curves in analysis.supercategories] == ["animal", "vehicle"]
    assert analysis.supercategories[0].means()["C75"] == pytest.approx(1)
    assert list(analysis.supercategories[1].means().values()) == [0, 0, 0, 0, 0, 0, 1]


def test_means_are_over_classes_not_over_objects() -> None:
    """By hand: both dogs are found, the cat is not."""
    image = record(1, [(CAT, LEFT), (DOG, MIDDLE), (DOG, RIGHT)])
    analysis = analyse_one(image, found((DOG, MIDDLE, 0.9), (DOG, RIGHT, 0.8)))
    assert analysis.overall.means()["C50"] == pytest.approx(1 / 2)
    assert analysis.overall.losses()["FN"] == pytest.approx(1 / 2) and analysis.overall.count() == 3


def test_without_detections_all_is_missed() -> None:
    for results in ([], [(1, Detections.empty())]):
        analysis = analyse_errors(Dataset(NAMES, (record(1, [(CAT, LEFT), (CAR, RIGHT)]),), ()), results)
        assert list(analysis.overall.means().values()) == [0, 0, 0, 0, 0, 0, 1] and analysis.detections == 0


def test_without_an_object_there_is_nothing_to_analyse() -> None:
    dataset = Dataset(NAMES, (record(1, []), record(2, [(CAT, LEFT)], crowd=[0])), ())
    with pytest.raises(InputError, match="no object in 2 images"):
        analyse_errors(dataset, [])


def test_super_categories_are_those_of_the_data_else_coco_s_else_each_class_its_own() -> None:
    def analyse(names: tuple[str, ...], parents: tuple[str, ...] = ()) -> ErrorAnalysis:
        return analyse_errors(Dataset(names, (record(1, [(0, LEFT)]),), (), supercategories=parents), [])

    of_data = analyse(("cat", "person"), ("pet", "owner"))
    assert (of_data.supercategory_of, of_data.grouped_by) == (("pet", "owner"), "the data set")
    of_coco = analyse(("cat", "person", "horse"))
    assert of_coco.supercategory_of == ("animal", "person", "animal") and "COCO" in of_coco.grouped_by
    own = analyse(("cat", "basilisk"))
    assert (own.supercategory_of, own.grouped_by) == (("cat", "basilisk"), "")


def test_json_has_every_curve_and_null_for_what_the_data_does_not_have() -> None:
    image = record(1, [(CAT, LEFT), (DOG, MIDDLE), (CAR, RIGHT)])
    values = analyse_one(image, found((CAT, MIDDLE, 0.9), (CAT, RIGHT, 0.8), (CAT, LEFT, 0.7))).to_json()
    cat = values["classes"][CAT]
    assert (cat["name"], cat["supercategory"], values["detections"]) == ("cat", "animal", 3)
    assert cat["areas"]["small"] is None and cat["areas"]["all"]["objects"] == 1
    assert cat["areas"]["all"]["losses"]["Oth"] == 0.5 and cat["areas"]["all"]["means"]["Sim"] == 0.5
    assert list(cat["areas"]["medium"]["curves"]) == list(CURVES)
    assert cat["areas"]["all"]["curves"]["Sim"] == [0.5] * 101


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    analyse_one(record(1, [(CAT, LEFT)]), found((CAT, LEFT, 0.9)))
    assert capsys.readouterr().out == ""
