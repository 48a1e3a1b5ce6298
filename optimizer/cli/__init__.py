"""The command `optimize`: the table of its options, and what each command does."""

from optimizer.cli.commands import app, main

__all__ = ["app", "main"]
