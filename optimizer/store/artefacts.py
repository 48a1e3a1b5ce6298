"""Files by content hash. A file that is there is whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.errors import explain_disk_error
from deploy.files import flush, hash_file, replace_file
from deploy.foreign import make_printable
from optimizer.errors import InputError, RunFailed
from optimizer.store.values import SHA256

__all__ = ["ArtefactStore", "explain_disk_errors"]


class ArtefactStore:
    """`folder/<sha256>`: written aside, flushed, then renamed; never changed afterwards."""

    def __init__(self, folder: Path, *, writable: bool = True) -> None:
        self._folder = folder
        if not writable:
            return
        with explain_disk_errors(folder.parent):
            folder.mkdir(parents=True, exist_ok=True)
            flush(folder.parent)  # a row must not outlive the folder its files are in
            for leftover in folder.glob("*.part"):  # of a process that was killed
                if not leftover.is_dir():
                    leftover.unlink(missing_ok=True)

    def put_file(self, source: Path) -> str:
        """Store a copy of a file; returns its SHA-256."""
        with explain_disk_errors(self._folder):
            digest = hash_file(source)
            with replace_file(self._folder / digest) as aside:
                shutil.copyfile(source, aside)
        return digest

    def has(self, sha256: str) -> bool:
        """Whether an artefact of this name is there, as a plain file."""
        path = self._folder / sha256
        return SHA256.match(sha256) is not None and path.is_file() and not path.is_symlink()

    def path(self, sha256: str, *, verify: bool = False) -> Path:
        """Where an artefact lies.

        Raises:
            InputError: it is no SHA-256, the file is missing or a link, or, with `verify`, not what its name says.
        """
        path = self._folder / sha256
        if not SHA256.match(sha256):
            raise InputError(f"the run is damaged: {make_printable(sha256, 80)!r} names no artefact")
        if not self.has(sha256):
            raise InputError(f"the run is incomplete: artefact {sha256[:12]} is missing from {self._folder}")
        if verify and hash_file(path) != sha256:
            raise InputError(f"the run is damaged: artefact {path} does not have the content its name says")
        return path


@contextmanager
def explain_disk_errors(folder: Path) -> Iterator[None]:
    """Turns a full or failing disk into one line that says what to do."""
    try:
        yield
    except OSError as error:
        raise RunFailed(f"cannot write in {folder}: {explain_disk_error(error)}, then resume the run") from error
