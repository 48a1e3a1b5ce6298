"""What the commands print."""

from __future__ import annotations

import typer

from deploy.foreign import LINE_LIMIT, make_printable

__all__ = ["say"]


def say(line: str) -> None:
    """Print a line that may quote what others wrote."""
    typer.echo(make_printable(line, LINE_LIMIT))
