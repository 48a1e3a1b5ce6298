"""The command `deploy pack`: what it says, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy import Bundle
from deploy.packs import PACKS

Command = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("consumer", PACKS)
def test_it_says_what_to_start_and_that_it_never_was(
    consumer: str, deploy: Command, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    folder = tmp_path / "packed"
    code, out, err = deploy("pack", tiny_bundle.folder, "--for", consumer, "--out", folder)
    assert (code, err) == (0, "") and f"for {consumer}, which never loaded it here" in out
    code, _, err = deploy("pack", tiny_bundle.folder, "--for", consumer, "--out", folder)
    assert code == 2 and "left alone" in err


def test_help_names_what_every_consumer_gets(deploy: Command) -> None:
    code, out, _ = deploy("pack", "--help")
    assert code == 0 and all(pack.summary in " ".join(out.split()) for pack in PACKS.values())


def test_an_unknown_consumer_is_refused_in_one_line(deploy: Command, tiny_bundle: Bundle, tmp_path: Path) -> None:
    code, _, err = deploy("pack", tiny_bundle.folder, "--for", "kubernetes", "--out", tmp_path / "packed")
    assert code == 2 and "deepstream" in err and err.count("\n") == 1
