"""Files by content hash. A file that is there is whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from deploy.errors import explain_disk_error
from deploy.files import flush, hash_file, replace_file
from deploy.foreign import make_printable
from optimizer.errors import InputError, RunFailed
from optimizer.search.base import DoneTrial
from optimizer.store.values import SHA256

__all__ = ["ArtefactStore", "explain_disk_errors"]


class ArtefactStore:
    """`folder/<sha256>`: written aside, flushed, then renamed; never changed afterwards."""

    def __init__(self, folder: Path, *, writable: bool = True) -> None:
        self._folder = folder
        self._total: int | None = None
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
            if self._total is not None and not self.has(digest):
                self._total += source.stat().st_size
            with replace_file(self._folder / digest) as aside:
                shutil.copyfile(source, aside)
        return digest

    def find(self, trial: DoneTrial, kind: Literal["weights", "model"], *, verify: bool = False) -> Path:
        """Where the weights or the model of a trial lie.

        Raises:
            InputError: they were dropped, to save space; or as of `path`.
        """
        if trial.files.dropped:
            raise InputError(
                f"the files of trial {trial.number} of {self._folder.parent} were dropped to save space; take a "
                "trial that is kept (optimize prune RUN --dry-run lists them), or train this one again"
            )
        return self.path(getattr(trial.files, kind), verify=verify)

    def list_sizes(self) -> Mapping[str, int]:
        """Bytes of every artefact, by its name."""
        if not self._folder.is_dir():
            return {}
        sizes = {}
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError):  # the run goes on meanwhile, and has dropped it
                if self.has(path.name):
                    sizes[path.name] = path.stat().st_size
        return sizes

    def count_bytes(self) -> int:
        """Bytes of all artefacts; the folder is only read the first time."""
        if self._total is None:
            self._total = sum(self.list_sizes().values())
        return self._total

    def remove(self, sha256: str) -> None:
        """Remove an artefact that no trial names any more; none may be there."""
        assert SHA256.match(sha256), sha256
        self._total = None
        with explain_disk_errors(self._folder):
            (self._folder / sha256).unlink(missing_ok=True)

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
