"""Reference pages of `optimize` and `deploy`, made of the parsers themselves, so that no option is left out."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import Any

import typer.main

from deploy.cli.parser import build_parser
from optimizer.cli import app

__all__ = ["make_deploy_page", "make_optimize_page", "walk_deploy", "walk_optimize"]


def make_optimize_page() -> str:
    """Markdown: a section for each command of `optimize`."""
    parts = ["# optimize\n\nAll commands and options, as `--help` of each has them."]
    for name, command, context in walk_optimize():
        parts += [_head(name), _block(command.get_usage(context)), _prose(command.help or "")]
        rows = [
            param.get_help_record(context) for param in command.get_params(context) if not getattr(param, "hidden", 0)
        ]
        parts.append(_table([row for row in rows if row and "--help" not in row[0]]))
        parts.append(_list(name, [sub for sub, child in getattr(command, "commands", {}).items() if not child.hidden]))
    return "\n\n".join(part for part in parts if part) + "\n"


def walk_optimize() -> Iterator[tuple[str, Any, Any]]:
    """Each command that is shown, by its full name, with its context."""
    pending = [("optimize", typer.main.get_command(app), None)]
    while pending:
        name, command, parent = pending.pop(0)
        context = command.make_context(name.split()[-1], [], parent=parent, resilient_parsing=True)
        yield name, command, context
        shown = {sub: child for sub, child in getattr(command, "commands", {}).items() if not child.hidden}
        pending = [(f"{name} {sub}", child, context) for sub, child in shown.items()] + pending


def make_deploy_page() -> str:
    """Markdown: a section for each command of `deploy`."""
    parts = [
        "# deploy\n\nAll commands and options, as `--help` of each has them. `python3 detect.pyz` in a bundle has the "
        "same commands."
    ]
    for name, parser in walk_deploy():
        parts += [_head(name), _block(parser.format_usage()), _sentence(parser.description or "")]
        parts.append(_table([_describe(parser, action) for action in _actions(parser)]))
        parts.append(_list(name, list(_choices(parser))))
        parts.append(_block(parser.epilog) if parser.epilog else "")
    return "\n\n".join(part for part in parts if part) + "\n"


def walk_deploy() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Each command by its full name, but for the agent, which no person starts."""
    pending = [("deploy", build_parser())]
    while pending:
        name, parser = pending.pop(0)
        yield name, parser
        pending = [(f"{name} {sub}", child) for sub, child in _choices(parser).items() if sub != "agent"] + pending


def _choices(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return {name: child for name, child in action.choices.items() if name != "agent"}
    return {}


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    skipped = (argparse._HelpAction, argparse._SubParsersAction)
    return [action for action in parser._actions if not isinstance(action, skipped)]


def _describe(parser: argparse.ArgumentParser, action: argparse.Action) -> tuple[str, str]:
    shape = parser._get_formatter()
    term = shape._format_action_invocation(action)
    return re.sub(r"\x1b\[[\d;]*m", "", term), (action.help or "").replace("%%", "%")


def _head(name: str) -> str:
    return f"## {name}"


def _block(text: str) -> str:
    lines = re.sub(r"\x1b\[[\d;]*m", "", text).strip("\n").splitlines()
    return "```text\n" + "\n".join(line.rstrip() for line in lines) + "\n```"


def _prose(text: str) -> str:
    """Help text as Markdown: words as they are, indented lines as code."""
    return "\n".join(line if line.startswith("    ") else line.replace("<", "&lt;") for line in text.splitlines())


def _sentence(summary: str) -> str:
    return f"{summary[:1].upper()}{summary[1:].rstrip('.')}." if "\n" not in summary else _prose(summary)


def _table(rows: list[tuple[str, str]]) -> str:
    if not rows:
        return ""
    cells = [(term.replace("|", "\\|").strip(), " ".join(text.split()).replace("|", "\\|")) for term, text in rows]
    lines = [f"| `{term}` | {text.replace('<', '&lt;').replace('*', '&#42;')} |" for term, text in cells]
    return "\n".join(["| option | |", "|---|---|", *lines])


def _list(name: str, names: list[str]) -> str:
    if not names:
        return ""
    return "Commands: " + ", ".join(f"[`{sub}`](#{f'{name} {sub}'.replace(' ', '-')})" for sub in names) + "."
