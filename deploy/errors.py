"""What can go wrong on the deployment side, by who has to act (exit codes as in the command lines)."""

from __future__ import annotations

import errno

ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space"),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "make it writable"),
}


class DeployError(Exception):
    """Base of every error `deploy` raises on purpose; its text is the one line a user reads."""

    exit_code = 1


class InputError(DeployError):
    """A bundle, model, image, data set or target is wrong; said before any work starts."""

    exit_code = 2


class EngineError(DeployError):
    """A runtime refused a model or failed while executing it."""


class BuildError(EngineError):
    """No engine was built of a model; a fresh process with less effort may build one."""


class ChildError(EngineError):
    """A process that ran a model ended without an answer, as when the system was short of memory."""


class SourceError(DeployError):
    """A camera or a stream that was being read gave no more frames."""


class OutputError(DeployError):
    """A picture or a video could not be written."""


class MeasurementError(DeployError):
    """A latency could not be established; there is no number to report."""


class BoardError(DeployError):
    """A board vanished, or answered what makes no sense: nothing can be measured there until it is mended."""


class ParityError(DeployError):
    """An exported model does not detect what its source detects; no bundle is written."""


class CompatibilityError(DeployError):
    """A model holds what a TensorRT release, or an engine of fixed shapes, is documented not to take."""


class ExportError(DeployError):
    """A detector could not be written as a graph that every engine takes."""


class PrecisionError(DeployError):
    """A model in another precision detects too much worse than its source; it is not written."""


def explain_disk_error(error: BaseException) -> str:
    """What the system said of a file that could not be written, and what to do: "...; free some space".

    A library that writes through a Python file hides that error behind one of its own, and it is looked for there.
    """
    found: BaseException | None = error
    while found is not None and not (isinstance(found, OSError) and found.strerror):
        found = found.__cause__ or found.__context__
    if not isinstance(found, OSError):
        return " ".join(str(error).split()) + "; see to the disk"
    return f"{found.strerror}; {ADVICE.get(found.errno or 0, 'see to the disk')}"
