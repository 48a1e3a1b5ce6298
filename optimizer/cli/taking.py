"""How a typer command takes options of the table, with the words of the command where it has its own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar

import typer

from optimizer.cli.option import Option
from optimizer.cli.options import OPTIONS

__all__ = ["taking"]

Function = TypeVar("Function", bound=Callable[..., Any])


def taking(names: Iterable[str], **helps: str) -> Callable[[Function], Function]:
    """Have a typer command take these options besides its own; `helps` says some of them in other words."""

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function, eval_str=True)
        own = [parameter for parameter in signature.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
        first = [parameter for parameter in own if parameter.annotation is typer.Context]
        added = [_make_parameter(option, helps.get(option.name)) for option in OPTIONS if option.name in names]
        rest = [parameter.replace(kind=parameter.KEYWORD_ONLY) for parameter in own if parameter not in first]
        vars(function)["__signature__"] = signature.replace(parameters=[*first, *added, *rest])
        return function

    return decorate


def _make_parameter(option: Option, help_text: str | None) -> inspect.Parameter:
    shown = typer.Option(option.switch or option.flag, help=help_text or option.help)
    annotation = Annotated[option.kind | None, shown]  # type: ignore[name-defined]
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
