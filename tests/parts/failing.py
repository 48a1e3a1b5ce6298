"""A disk that fails: the n-th call of the file layer does not succeed, for every n; then all is as it should be."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

__all__ = ["CALLS", "CODES", "fail_at_every_call"]

CODES = (errno.EIO, errno.ENOSPC, errno.EROFS)
CALLS: dict[str, tuple[tuple[Any, str], ...]] = {
    "open": ((os, "open"),),
    "fsync": ((os, "fsync"),),
    "rename": ((os, "rename"), (os, "replace")),
    "write": ((Path, "write_bytes"), (Path, "write_text"), (shutil, "copyfile")),
}
LIMIT = 60  # calls of a kind


class _Calls:
    seen = 0


def fail_at_every_call(
    call: str,
    code: int,
    folder: Path,
    work: Callable[[Path], object],
    errors: tuple[type[Exception], ...],
    check: Callable[[Path], object],
    prepare: Callable[[Path], object] = Path.mkdir,
) -> int:
    """Let the first, the second, ... call of a kind fail as `work` is done, each time on a new folder, until none does.

    What is raised is one of `errors`, of one line, with the system's own words. Then `work` is done again, and `check`
    looks at what came of it. Returns how many calls there were to fail.
    """
    for number in count(1):
        assert number < LIMIT, "it has no end"
        place = folder / f"{number}"
        prepare(place)
        with _failing(call, number, code) as calls:
            try:
                work(place)
            except errors as error:
                assert calls.seen >= number, f"it fails by itself: {error}"
                assert os.strerror(code) in str(error) and "\n" not in str(error), str(error)
        work(place)
        check(place)
        assert not list(place.rglob("*.part")), f"call {number} leaves something behind"
        if calls.seen < number:
            return number - 1
    raise AssertionError


@contextmanager
def _failing(call: str, number: int, code: int) -> Iterator[_Calls]:
    calls = _Calls()

    def wrap(real: Callable[..., Any]) -> Callable[..., Any]:
        def maybe(*arguments: Any, **options: Any) -> Any:
            calls.seen += 1
            if calls.seen != number:
                return real(*arguments, **options)
            if call == "write":  # half of it arrives
                target = Path(arguments[1] if real is copyfile else arguments[0])
                with target.open("wb") as file:
                    file.write(b"half")
            raise OSError(code, os.strerror(code), str(arguments[0]) if arguments else None)

        return maybe

    copyfile = shutil.copyfile
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in CALLS[call]:
            patch.setattr(owner, name, wrap(getattr(owner, name)))
        yield calls
