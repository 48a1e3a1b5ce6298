"""What runs on a board first: files of nobody else are executed, whatever lies in its cache."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.targets import receive

ARCHIVE = b"print('the agent')\n"
DIGEST = hashlib.sha256(ARCHIVE).hexdigest()
NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file to another user")


def start(cache: Path, content: bytes = ARCHIVE) -> tuple[int, str, str]:
    """Exit code, what it said and what it complained; `content` is sent for the archive, if that is wanted."""
    words = [sys.executable, "-E", "-c", Path(receive.__file__).read_text(), str(cache), DIGEST, str(1 << 20)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps({"files": {DIGEST: len(ARCHIVE)}}).encode() + b"\n")
        hello = process.stdout.readline()
        said, complained = process.communicate(content if DIGEST.encode() in hello else None, timeout=30)
        return process.returncode, (hello + said).decode(), complained.decode()


def test_what_is_sent_is_stored_for_its_owner_alone_and_started(tmp_path: Path) -> None:
    code, said, _ = start(tmp_path / "cache")
    assert code == 0 and DIGEST in said and said.endswith("the agent\n")
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "cache" / DIGEST).stat().st_mode & 0o777 == 0o600
    _, said, _ = start(tmp_path / "cache", b"")
    assert '"missing": []' in said, "it is there"


@pytest.mark.parametrize("kind", ["writable by others", "another user's", "a link", "damaged"])
def test_a_file_that_others_may_change_after_it_was_hashed_is_sent_anew(tmp_path: Path, kind: str) -> None:
    start(tmp_path / "cache")
    path = tmp_path / "cache" / DIGEST
    if kind == "writable by others":
        path.chmod(0o666)
    elif kind == "another user's":
        if os.geteuid():
            pytest.skip("needs root, to give a file to another user")
        os.chown(path, NOBODY, NOBODY)
    elif kind == "a link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.write_bytes(b"print('something else')")
    code, said, _ = start(tmp_path / "cache")
    assert code == 0 and f'"missing": ["{DIGEST}"]' in said and said.endswith("the agent\n")
    found = path.lstat()
    assert (found.st_uid, found.st_mode & 0o777) == (os.geteuid(), 0o600) and not path.is_symlink()


@pytest.mark.parametrize("kind", ["cache", "parent", "grandparent"])
def test_a_cache_that_others_may_write_to_or_exchange_is_refused(tmp_path: Path, kind: str) -> None:
    cache = tmp_path / "a" / "b" / "cache"
    cache.mkdir(parents=True)
    {"cache": cache, "parent": cache.parent, "grandparent": cache.parent.parent}[kind].chmod(0o777)
    code, said, complained = start(cache)
    assert code != 0 and said == "" and "chmod 700 it, or choose another cache" in complained
    assert not list(cache.iterdir())


@needs_root
@pytest.mark.parametrize("kind", ["cache", "parent"])
def test_a_cache_in_a_folder_of_another_user_is_refused(tmp_path: Path, kind: str) -> None:
    cache = tmp_path / "a" / "cache"
    cache.mkdir(parents=True, mode=0o700)
    os.chown(cache if kind == "cache" else cache.parent, NOBODY, NOBODY)
    code, said, complained = start(cache)
    assert code != 0 and said == "" and "is another user's" in complained


def test_a_folder_like_tmp_may_hold_a_cache(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o1777)
    code, said, _ = start(tmp_path / "shared" / "cache")
    assert code == 0 and said.endswith("the agent\n")


@pytest.mark.parametrize("content", [b"print('an agent')\n", ARCHIVE[:-3], b""])
def test_what_is_not_what_was_offered_is_neither_kept_nor_started(tmp_path: Path, content: bytes) -> None:
    code, said, complained = start(tmp_path / "cache", content)
    assert code != 0 and "agent\n" not in said and ("altered" in complained or "cut short" in complained)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".lock"]
