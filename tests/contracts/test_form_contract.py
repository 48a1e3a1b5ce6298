"""What strangers write, damaged at random: a description, a run, weights; each is taken, or one error of one line.

A form enrols by its line in `tests/parts/forms.py`, or `run_forms.py` if the optimizer reads it.
"""

from __future__ import annotations

import random
from pathlib import Path

import forms
import pytest
import run_forms
from forms import try_form
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import mutate

from deploy.errors import InputError

FORMS = {**forms.FORMS, **run_forms.FORMS}
SETTINGS = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
pytestmark = [pytest.mark.timeout(60), pytest.mark.filterwarnings("ignore::UserWarning")]  # Pillow says what it skips


def test_each_has_a_name_of_its_own() -> None:
    assert not forms.FORMS.keys() & run_forms.FORMS.keys()


@pytest.mark.parametrize("kind", sorted(FORMS.keys() - {"request"}))
def test_the_valid_ones_are_valid(tmp_path: Path, kind: str) -> None:
    assert try_form(tmp_path / "valid", FORMS[kind], lambda content: content)


def test_a_valid_request_is_refused_for_its_files_alone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="was not pushed"):
        FORMS["request"][1](tmp_path, FORMS["request"][0])


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
