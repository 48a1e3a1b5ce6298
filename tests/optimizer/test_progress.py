"""What comes from others, file names, class names, a board's notes, is shown as text and nothing else."""

from __future__ import annotations

import io

from made_trials import make_done
from rich.console import Console

from optimizer.arch import PruneFPN, PruneRPN, base_arch
from optimizer.progress import RunProgress
from optimizer.search.base import Proposal, ScreenedTrial

HOSTILE = "[/bold] [link=x]a[/link] \x1b]0;title\x07\x1b[2J \udc80 \r\u202e"


def show(*, terminal: bool) -> str:
    screen = io.StringIO()
    progress = RunProgress(Console(file=screen, width=300, force_terminal=terminal))
    with progress.shown():
        progress.start_search(0, 1)
        progress.start_step(HOSTILE, 1)
        progress.advance_step(1, HOSTILE)
        progress.note(HOSTILE)
        progress.say(HOSTILE)
    return screen.getvalue()


def test_markup_and_control_characters_of_others_have_no_effect() -> None:
    for terminal in (False, True):
        shown = show(terminal=terminal)
        shown.encode()
        assert "[/bold] [link=x]a[/link] ]0;title[2J \\udc80" in shown
        assert "\x1b]0;" not in shown and "\x1b[2J" not in shown and "\u202e" not in shown


def test_lines_of_our_own_stay_lines() -> None:
    screen = io.StringIO()
    RunProgress(Console(file=screen, width=300)).say("one\ntwo")
    assert screen.getvalue() == "one\ntwo\n"


def test_a_screened_student_has_a_line_of_its_own_and_is_not_counted() -> None:
    screen = io.StringIO()
    progress = RunProgress(Console(file=screen, width=300))
    progress.start_search(0, 2)
    proposal = Proposal(0, (PruneFPN(0.25), PruneRPN(0.5), PruneFPN(0.5)), epochs=0)
    base = make_done()
    screened = ScreenedTrial(2, proposal, base.arch, 0.412, 0.6, base.counts, 3.0)
    for trial in (make_done(1), screened, make_done(3)):
        progress.trial_done(trial, 2)
    first, looked_at, second = screen.getvalue().splitlines()
    assert first.startswith("trial 1/2 ") and second.startswith("trial 3 (2/2) ")
    assert " ".join(looked_at.split()) == "screened 2 fpn, rpn AP 0.412 4.00 GMAC" and len(looked_at) <= 80


def test_a_teacher_that_is_taken_over_and_a_whole_architecture_are_called_what_they_are() -> None:
    screen = io.StringIO()
    progress = RunProgress(Console(file=screen, width=300))
    progress.start_search(0, 1)
    progress.trial_done(make_done(0, Proposal(None, (), "the teacher, as it is")), 1)
    progress.trial_done(make_done(1, Proposal(None, arch=base_arch("r18", (96, 96)))), 1)
    teacher, student = screen.getvalue().splitlines()
    assert teacher.startswith("base         the teacher, as it is  AP ")
    assert student.startswith("trial 1/1    whole architecture ")


def test_a_last_training_names_the_edits_of_a_new_student_and_whom_it_trains_further() -> None:
    screen = io.StringIO()
    progress = RunProgress(Console(file=screen, width=300))
    progress.start_search(0, 2)
    progress.trial_done(make_done(4, Proposal(0, (PruneFPN(0.25), PruneRPN(0.5)), finetune=True)), 2)
    progress.trial_done(make_done(5, Proposal(3, finetune=True)), 2)
    joined, further = screen.getvalue().splitlines()
    assert joined.startswith("trial 4      prune_fpn, prune_rpn")
    assert further.startswith("trial 5      fine-tune trial 3 ")
