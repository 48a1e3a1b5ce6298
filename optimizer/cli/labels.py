"""`optimize data`: what training would make of a folder of labelled images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.terminal import show_progress
from optimizer.cli.terminal import say

__all__ = ["data_app"]

data_app = typer.Typer(help="Look at a data set before training on it.", no_args_is_help=True)


@data_app.command("check")
def data_check(
    path: Annotated[Path, typer.Argument(help="Folder of labelled images.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per problem.")] = False,
) -> None:
    """Read every image and label, and list what training would skip or clip."""
    from deploy.data import check_dataset, describe_splits, keep_fitting, warn_of_problems, warn_of_shared
    from optimizer.run.images import read_splits

    problems = check_dataset(path, show_progress)
    show_progress("")
    for problem in problems:
        if as_json:
            typer.echo(json.dumps({"file": str(problem.file), "object": problem.object, "kind": problem.kind,
                                   "text": problem.text, "action": problem.action}))  # fmt: skip
        else:
            where = f"{problem.file}" + (f" object {problem.object}" if problem.object is not None else "")
            say(f"{where}: {problem.text} ({problem.action})")
    splits = read_splits(path)
    train, val = keep_fitting(splits.train), splits.val
    if as_json:
        return
    for split, dataset in (("train", train), ("val", val)):
        objects = sum(len(record.labels) for record in dataset.records)
        names = ", ".join(dataset.class_names)
        say(f"{split}: {len(dataset.records)} images, {objects} objects, classes {names}")
    say(describe_splits(train, val))
    typer.echo(f"{len(problems)} problem(s)")
    for warning in warn_of_shared(train, val):
        say(f"warning: {warning}")
    for split, dataset in (("train", train), ("val", val)):
        for warning in warn_of_problems(dataset):
            say(f"warning: {split}: {warning}")
