"""Manifests, target files and requests to an agent, damaged at random: taken, or one `InputError` of one line."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import FORMS, mutate, try_form

from deploy.errors import InputError

SETTINGS = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_the_valid_ones_are_valid(tmp_path: Path) -> None:
    assert try_form(tmp_path / "bundle", "manifest", lambda content: content)
    assert try_form(tmp_path, "target", lambda content: content)
    with pytest.raises(InputError, match="was not pushed"):
        FORMS["request"][1](tmp_path, FORMS["request"][0])


@pytest.mark.parametrize("kind", FORMS)
def test_mutated_copies_are_taken_or_refused(tmp_path: Path, kind: str) -> None:
    for seed in range(100):
        rng = random.Random(seed)
        try_form(tmp_path / str(seed), kind, lambda content, rng=rng: mutate(content, rng))


@pytest.mark.parametrize("kind", FORMS)
@SETTINGS
@given(content=st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused(tmp_path_factory: pytest.TempPathFactory, kind: str, content: bytes) -> None:
    try_form(tmp_path_factory.mktemp("fuzz"), kind, lambda _: content)
