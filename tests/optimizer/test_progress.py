"""What comes from others, file names, class names, a board's notes, is shown as text and nothing else."""

from __future__ import annotations

import io

from rich.console import Console

from optimizer.progress import RunProgress

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
