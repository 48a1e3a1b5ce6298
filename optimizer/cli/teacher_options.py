"""Options on who teaches students, and what."""

from __future__ import annotations

from pathlib import Path

from optimizer.cli.option import Option, as_given
from optimizer.cli.option_values import read_defeat, read_distillers, read_phase, read_teacher
from optimizer.distill.config import DEFEAT_RECIPES

__all__ = ["TEACHER_OPTIONS"]

TEACHER_OPTIONS = (
    Option(
        "teacher",
        str,
        "Who teaches students. base: the trained base; dynamic: a member of a teacher pool, searched with the student; "
        "fixed: the pool's largest; none; or the folder of a run (its best detector), one detector of a run "
        "(RUN/student-004), or a checkpoint of the base's architecture.",
        {"search.teacher": read_teacher},
    ),
    Option(
        "distillers",
        str,
        "What a teacher teaches: names, each with a weight if that is not 1, such as feature,classification=0.5. "
        "auto: the search tries sets of them, and none. docs/search.md lists them. Default: "
        "feature,classification,localization.",
        {"distill.weights": read_distillers},
    ),
    Option(
        "defeat",
        str,
        f"DeFeat's own weights, as its authors have them for a data set: {', '.join(DEFEAT_RECIPES)}. Default: coco.",
        {"distill.defeat": read_defeat},
    ),
    Option(
        "distill_decay",
        str,
        "How the weights of all distillers change during a training: constant (default), linear or cosine (to 0), "
        "up_down (to twice as much in its first quarter, then to 0).",
        as_given("distill.decay"),
    ),
    Option(
        "teacher_canvas",
        str,
        "What a teacher is shown: the student's canvas (student), or one of its own size (own).",
        as_given("distill.teacher_canvas"),
    ),
    Option(
        "teacher_pool",
        Path,
        "Folder of teacher pools, or one pool. Default: teachers/, next to the run's folder.",
        {"teacher_pool": Path.resolve},
    ),
    Option(
        "teacher_epochs",
        str,
        "Epochs of the super-network, then of the two shrinking phases: 8,3,5.",
        {f"pool.train.{phase}.epochs": read_phase(phase) for phase in range(3)},
    ),
)
