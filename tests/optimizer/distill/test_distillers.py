"""Each distiller against a hand computation."""

from __future__ import annotations

from math import log, sqrt

import pytest
import torch
from torch import Tensor

from optimizer.detectors.base import RegionView
from optimizer.distill.classification import Classification
from optimizer.distill.localization import Localization
from optimizer.distill.proposal import ProposalFeature


def look(
    probs: list[list[list[float]]] | None = None,
    deltas: list[list[list[float]]] | None = None,
    delta_probs: list[list[float]] | None = None,
    features: Tensor | None = None,
) -> RegionView:
    """A view with nothing but what a test is about."""
    return RegionView(
        features if features is not None else torch.zeros(1, 1, 7, 7),
        torch.tensor(probs if probs is not None else [[[1.0]]]).log(),
        torch.tensor(deltas if deltas is not None else [[[0.0] * 4]]),
        torch.tensor(delta_probs if delta_probs is not None else [[1.0]]),
    )


# two regions, two classes; the student says 0, so that the teacher's deltas are the differences
TEACHER = look(
    deltas=[[[1, -2, 0, 4.0], [2, 4, 0, -8]], [[10, 0, 0, 0], [0, -1, 0.5, 0]]],
    delta_probs=[[0.5, 0.25], [0.1, 0.8]],
)
STUDENT = look(deltas=[[[0.0] * 4] * 2] * 2, delta_probs=[[0.9, 0.1]] * 2)


def test_class_aware_localization_by_hand() -> None:
    """L = 1/N sum_i | sum_c p_T(i,c) (r_T(i,c) - r_S(i,c)) |, summed over the four coordinates (FACTS 1.6)."""
    first = abs(0.5 * 1 + 0.25 * 2) + abs(0.5 * -2 + 0.25 * 4) + 0 + abs(0.5 * 4 + 0.25 * -8)  # 1 + 0 + 0 + 0
    second = abs(0.1 * 10) + abs(0.8 * -1) + abs(0.8 * 0.5) + 0  # 1 + 0.8 + 0.4
    assert (first, second) == pytest.approx((1.0, 2.2))
    assert Localization()(STUDENT, TEACHER).item() == pytest.approx(1.6)


def test_the_teachers_probabilities_weigh_and_not_the_students() -> None:
    other = STUDENT._replace(delta_probs=torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    assert torch.equal(Localization()(other, TEACHER), Localization()(STUDENT, TEACHER))


def test_plain_localization_by_hand() -> None:
    """The sums over coordinates are 7 and 14 in the first region, 10 and 1.5 in the second."""
    assert Localization(class_aware=False)(STUDENT, TEACHER).item() == pytest.approx((7 + 14 + 10 + 1.5) / 4)


def test_one_box_for_all_classes_is_weighed_by_the_probability_of_an_object() -> None:
    teacher = look(deltas=[[[1, -1, 2, 0.0]], [[3, 0, 0, 0]]], delta_probs=[[0.5], [0.1]])
    student = look(deltas=[[[0, 0, 0, 1.0]], [[0, 0, 0, 0]]])
    assert Localization()(student, teacher).item() == pytest.approx((0.5 * 5 + 0.1 * 3) / 2)


def test_classification_by_hand() -> None:
    teacher, student = look([[[0.5, 0.5]], [[0.2, 0.8]]]), look([[[0.25, 0.75]], [[0.2, 0.8]]])
    divergence = 0.5 * log(0.5 / 0.25) + 0.5 * log(0.5 / 0.75)  # 0.1438; the second region agrees
    assert divergence == pytest.approx(0.1438, abs=1e-4)
    assert Classification()(student, teacher).item() == pytest.approx(divergence / 2, rel=1e-5)


def test_classification_with_a_temperature_by_hand() -> None:
    """At a temperature of 2 the probabilities are in the ratio of their roots, and the term is multiplied by 4."""
    teacher, student = look([[[0.5, 0.5]]]), look([[[0.25, 0.75]]])
    first = sqrt(0.25) / (sqrt(0.25) + sqrt(0.75))  # 0.3660
    divergence = 0.5 * log(0.5 / first) + 0.5 * log(0.5 / (1 - first))
    assert Classification(2.0)(student, teacher).item() == pytest.approx(4 * divergence, rel=1e-5)


def test_several_distributions_of_a_region_are_added_up() -> None:
    """A RetinaNet's: "is it / is it not" for each of two classes."""
    teacher, student = look([[[0.5, 0.5], [0.1, 0.9]]]), look([[[0.25, 0.75], [0.2, 0.8]]])
    one = 0.5 * log(0.5 / 0.25) + 0.5 * log(0.5 / 0.75)
    other = 0.1 * log(0.1 / 0.2) + 0.9 * log(0.9 / 0.8)
    assert Classification()(student, teacher).item() == pytest.approx(one + other, rel=1e-5)


def test_the_adapter_starts_as_an_identity_and_features_are_compared_squared() -> None:
    ours, theirs = torch.zeros(2, 3, 7, 7), torch.zeros(2, 3, 7, 7)
    ours[0, 0], theirs[0, 0] = 1.0, 3.0  # a sixth of all values differ by 2
    distiller = ProposalFeature(3, 3)
    assert distiller(look(features=ours), look(features=theirs)).item() == pytest.approx(4 / 6)
    assert torch.equal(distiller.adapter(ours), ours)


@pytest.mark.parametrize(("student", "teacher"), [(2, 5), (5, 2)])
def test_of_unequal_widths_the_channels_both_have_are_passed_on(student: int, teacher: int) -> None:
    distiller = ProposalFeature(student, teacher)
    features = torch.randn(4, student, 7, 7, generator=torch.Generator().manual_seed(0))
    adapted = distiller.adapter(features)
    assert adapted.shape == (4, teacher, 7, 7)
    torch.testing.assert_close(adapted[:, :2], features[:, :2])
    assert not adapted[:, 2:].any()


def test_the_adapter_is_the_papers() -> None:
    adapter = ProposalFeature(192, 256).adapter
    assert (adapter.kernel_size, adapter.stride, adapter.padding) == ((3, 3), (1, 1), (1, 1))
    assert (adapter.in_channels, adapter.out_channels) == (192, 256)


def test_at_most_so_many_regions_are_compared_and_they_are_evenly_spread() -> None:
    ours, theirs = torch.zeros(10, 1, 7, 7), torch.zeros(10, 1, 7, 7)
    theirs += torch.arange(10.0).reshape(10, 1, 1, 1)
    of_four = ProposalFeature(1, 1, max_regions=4)(look(features=ours), look(features=theirs))
    assert of_four.item() == pytest.approx((0**2 + 3**2 + 6**2 + 9**2) / 4)
    of_all = ProposalFeature(1, 1)(look(features=ours), look(features=theirs))
    assert of_all.item() == pytest.approx(sum(n * n for n in range(10)) / 10)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 9, 100, 101])
def test_the_bound_on_regions_holds_for_every_number_of_them(count: int) -> None:
    seen: list[int] = []
    distiller = ProposalFeature(1, 1, max_regions=4)
    distiller.adapter.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    distiller(look(features=torch.ones(count, 1, 7, 7)), look(features=torch.ones(count, 1, 7, 7)))
    assert seen[0] == count if count <= 4 else 2 <= seen[0] <= 4
