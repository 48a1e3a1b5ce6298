"""Damaged descriptions of bundles and targets: read, or one InputError of one line."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from mutations import mutate

from deploy import Bundle, open_bundle
from deploy.errors import InputError
from deploy.targets import read_target

TARGET = b"""name = "mine"
description = "a board"
link = "ssh"
engine = "ort"
host = "user@board"
port = 22
threads = 2
"""


@pytest.mark.parametrize("first", range(0, 100, 25))
def test_a_mutated_bundle_is_opened_or_refused(tiny_bundle: Bundle, tmp_path: Path, first: int) -> None:
    shutil.copytree(tiny_bundle.folder, tmp_path / "mutated")
    path = tmp_path / "mutated" / "bundle.json"
    content = path.read_bytes()
    for seed in range(first, first + 25):
        path.write_bytes(mutate(content, random.Random(seed)))
        try:
            open_bundle(tmp_path / "mutated")
        except InputError as error:
            assert "\n" not in str(error).strip(), seed


@pytest.mark.parametrize("first", range(0, 100, 25))
def test_a_mutated_target_file_is_read_or_refused(tmp_path: Path, first: int) -> None:
    path = tmp_path / "mine.toml"
    for seed in range(first, first + 25):
        path.write_bytes(mutate(TARGET, random.Random(seed)))
        try:
            read_target(str(path))
        except InputError as error:
            assert "\n" not in str(error).strip(), seed
