"""What a search may choose from where it chooses its distillers."""

from __future__ import annotations

from collections.abc import Callable

from optimizer.config import RunConfig
from optimizer.distill.sets import SETS, choose_terms
from optimizer.distill.step import check_pair
from optimizer.errors import InputError
from optimizer.supernet.pool import TeacherPool
from optimizer.trials.jobs import TrainedTeacher

__all__ = ["list_sets"]


def list_sets(
    config: RunConfig, teacher: TrainedTeacher | None, pool: TeacherPool | None, say: Callable[[str], None]
) -> tuple[str, ...]:
    """The sets that this teacher can teach students of the run's base; none where the run's distillers are named.

    What cannot be taught is said, with the reason.
    """
    if config.distill.weights or config.search.teacher == "none":
        return ()
    student = config.trained_arch()
    if teacher is not None:
        by = teacher.arch
    elif pool is not None:
        by = pool.space.arch(pool.space.largest())
    else:
        return ()  # all students are trained
    found = []
    for name in SETS:
        terms = choose_terms(config.distill, name)
        try:
            if terms is not None:
                check_pair(student, by, terms)
        except InputError as error:
            say(f"distillers: {name} is left out: {error}")
        else:
            found.append(name)
    return tuple(found)
