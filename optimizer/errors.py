"""What can go wrong, by who has to act.

The command line turns these into one line and an exit code (DESIGN: 0 done, 1 the run failed, 2 the input is wrong,
130 interrupted). `InputError` is `deploy`'s: the command line, a file or a data set is wrong. Anything else that
escapes is a defect of ours and keeps its traceback in ``log.txt``.
"""

from __future__ import annotations

from deploy.errors import InputError

__all__ = ["DetoptError", "InputError", "Interrupted", "RunFailed"]


class DetoptError(Exception):
    """Base of every error `optimizer` raises on purpose, input apart; its text is the one line a user reads."""

    exit_code = 1


class RunFailed(DetoptError):
    """A run that had started cannot go on; what was found so far is kept."""

    exit_code = 1


class Interrupted(DetoptError):
    """The user stopped the run; it can be resumed."""

    exit_code = 130
