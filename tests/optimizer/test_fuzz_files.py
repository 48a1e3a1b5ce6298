"""Runs, pools, weights and what else a training leaves, damaged at random: taken, or one error of one line."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from forms import try_form
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import mutate
from run_forms import FORMS

pytestmark = pytest.mark.timeout(60)
SETTINGS = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("kind", FORMS)
def test_the_valid_ones_are_valid(tmp_path: Path, kind: str) -> None:
    assert try_form(tmp_path / "valid", FORMS[kind], lambda content: content)


@pytest.mark.parametrize("kind", FORMS)
def test_mutated_copies_are_taken_or_refused(tmp_path: Path, kind: str) -> None:
    for seed in range(100):
        rng = random.Random(seed)
        try_form(tmp_path / str(seed), FORMS[kind], lambda content, rng=rng: mutate(content, rng))


@pytest.mark.parametrize("kind", FORMS)
@SETTINGS
@given(content=st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused(tmp_path_factory: pytest.TempPathFactory, kind: str, content: bytes) -> None:
    try_form(tmp_path_factory.mktemp("fuzz"), FORMS[kind], lambda _: content)
