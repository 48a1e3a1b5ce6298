"""docs/complaints.md cites tests and files that exist, and leaves no complaint out."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROWS = re.findall(r"^\| (\d+) \| .* \| (\w+) \| (.*) \|$", (ROOT / "docs" / "complaints.md").read_text(), re.MULTILINE)


def test_every_complaint_has_a_row_and_a_mark_that_is_explained() -> None:
    assert [int(number) for number, _, _ in ROWS] == list(range(1, 69))
    assert {mark for _, mark, _ in ROWS} <= {"held", "part", "open", "none"}


def test_what_a_row_cites_exists() -> None:
    for number, mark, text in ROWS:
        cited = re.findall(r"`([\w./-]+\.(?:py|md|toml))(?:::(\w+))?`", text)
        assert cited or mark == "open", number
        for path, test in cited:
            assert (ROOT / path).is_file(), (number, path)
            assert not test or re.search(rf"^def {test}\(", (ROOT / path).read_text(), re.MULTILINE), (number, test)
