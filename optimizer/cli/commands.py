"""`optimize ...`: parse, pick a recipe, call the run. No logic here, and torch only wakes when a run starts."""

from __future__ import annotations

import os
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from deploy.cli.terminal import escape_what_cannot_be_printed
from deploy.errors import DeployError, explain_disk_error
from deploy.foreign import LINE_LIMIT, make_printable
from deploy.version import __version__
from optimizer.arch.families import FAMILIES, OFA_SHAPES, PATH_SPACES
from optimizer.arch.heads import HEADS
from optimizer.cli.architecture import arch
from optimizer.cli.configure import change_recipe, pick_recipe, put_first
from optimizer.cli.labels import data_app
from optimizer.cli.option_values import read_keep
from optimizer.cli.options import OPTIONS
from optimizer.cli.taking import taking
from optimizer.cli.terminal import say
from optimizer.config import RunConfig
from optimizer.errors import DetoptError
from optimizer.recipes import distilled

__all__ = ["app", "main"]

app = typer.Typer(
    help="""Search, prune and train a detector for the device it will run on.

The main job:

    optimize --base r18 --target cpu --data PATH

PATH holds COCO JSON, Pascal VOC XML or YOLO txt labels; without it a small generated set of shapes is used. The run's
folder (--out) holds the Pareto-optimal students as bundles, front.json and report.html, which is rewritten as trials
end. A run that was stopped or killed goes on with `optimize resume RUN`.

Exit codes: 0 done; 1 the run failed, the reason in one line, the details in RUN/log.txt; 2 the input is wrong, said
before any work starts; 130 interrupted, resumable.
""",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
supernets_app = typer.Typer(
    help="""Super-networks: many detectors on one set of weights, which teach (teacher pools) or are searched.

A run trains the one it needs when it finds none; train it here to do that once, ahead of several runs.
""",
    no_args_is_help=True,
    rich_markup_mode=None,
)
targets_app = typer.Typer(help="The devices a run can be for.", invoke_without_command=True)
app.add_typer(data_app, name="data")
app.add_typer(supernets_app, name="supernets")
app.add_typer(supernets_app, name="teachers", hidden=True)  # their first name
app.add_typer(targets_app, name="targets")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"detopt {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
@taking(option.name for option in OPTIONS)
def optimize(
    context: typer.Context,
    data: Annotated[Path | None, typer.Option(help="Folder of labelled images. Default: generated shapes.")] = None,
    preset: Annotated[
        str, typer.Option(help="smoke (seconds), quick (minutes to hours) or paper (GPU days).")
    ] = "quick",
    out: Annotated[Path | None, typer.Option(help="Folder of the run. Default: runs/<base>-<time>.")] = None,
    primary: Annotated[
        str | None,
        typer.Option(help="Of several targets, the one that students are searched and scored for. Default: the first."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_print_version)
    ] = False,
    **chosen: Any,
) -> None:
    """Search for students of one base detector on one device, or on one of several that all of them are measured on."""
    if context.invoked_subcommand is not None:
        return
    if chosen["base"] is None:
        raise typer.BadParameter("name the detector to start from, such as --base r18")
    if primary is not None:
        chosen["target"] = put_first(primary, chosen["target"] or [])
    _start(change_recipe(pick_recipe(preset, data), chosen), out, chosen["base"].partition(":")[0])


def _start(config: RunConfig, out: Path | None, name: str) -> None:
    """Run it, in a folder of this name and the time unless another one is chosen."""
    from optimizer.run.run import start_run

    folder = out or Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    start_run(config, folder, shlex.join(["optimize", *sys.argv[1:]]))


@app.command()
@taking(
    (
        *("teacher", "distillers", "defeat", "distill_decay", "teacher_canvas", "base", "detector", "box_head"),
        *("size", "region_proposals", "max_detections", "epochs", "weights", "weights_from", "freeze_stages"),
        *("freeze_norm", "target"),
        *(
            "host",
            "score",
            "batch_size",
            "workers",
            "precision",
            "precisions",
            "export_proposals",
            "max_ap_drop",
            "seed",
            "track",
        ),
    ),
    teacher="Who teaches: the folder of a run (its best detector), one detector of a run (RUN/student-004, or its "
    "bundle), or a file of weights, whose family --base names.",
    base=f"Family of a teacher that is a file of weights: {', '.join(FAMILIES)}.",
    detector=f"Kind of detector, of the student and of a teacher that is a file: {', '.join(HEADS)}. Default: the "
    "teacher's.",
    size="Canvas of the student, WIDTHxHEIGHT. Default: the teacher's.",
    region_proposals="The student's number, then alternatives for its export: 200,100. Default: the teacher's.",
    epochs="Epochs the student is trained: a number, or auto (until its AP on training images that are kept out stops "
    "rising). Default: as the preset trains a base.",
    weights="What the student starts from: coco, imagenet, auto, none, or a checkpoint. Default: auto with --data (but "
    "for preset smoke), else none.",
)
def distill(
    student: Annotated[str, typer.Option(help=f"The student: {', '.join(FAMILIES)}.")],
    data: Annotated[Path | None, typer.Option(help="Folder of labelled images. Default: generated shapes.")] = None,
    preset: Annotated[
        str, typer.Option(help="smoke (seconds), quick (minutes to hours) or paper (GPU days).")
    ] = "quick",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run. Default: runs/<student>-distilled-<time>.")
    ] = None,
    **chosen: Any,
) -> None:
    """Train one student with one teacher, without a search.

    Teacher and student are of the same kind of detector and know the same classes; family, widths and canvas may
    differ. For example, an R18 taught by the best detector of an earlier run:

        optimize distill --teacher runs/first --student r18 --data PATH

    The teacher becomes trial 0 of a new run as it is, and the student trial 1: both are exported, measured on the
    target and written as bundles. The run is reported and resumed like any other one.
    """
    if chosen["teacher"] is None:
        raise typer.BadParameter("name who teaches, such as --teacher runs/first")

    from optimizer.run.trained_teacher import follow_teacher

    teacher = Path(chosen.pop("teacher")).resolve()
    recipe = distilled(pick_recipe(preset, data), student, teacher)
    _start(change_recipe(recipe.changed(follow_teacher(teacher, chosen["base"])), chosen), out, f"{student}-distilled")


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="Folder of a run that was stopped or killed.")],
    teacher_pool: Annotated[Path | None, typer.Option(help="Where its teachers are now, if they were moved.")] = None,
    host: Annotated[str, typer.Option(help="Where its board is now, if that has moved: user@board.")] = "",
    keep: Annotated[str, typer.Option(help="Another --keep from here on: 50GB, or all.")] = "",
    workers_on: Annotated[str, typer.Option(help="Another --workers-on from here on; none: here.")] = "",
    shared_folder: Annotated[
        bool | None,
        typer.Option(
            "--shared-folder/--no-shared-folder",
            help="Another --shared-folder from here on: whether all machines of the cluster see the run's folder and "
            "the images.",
        ),
    ] = None,
) -> None:
    """Go on with a run; nothing found so far is lost."""
    changes: dict[str, object] = {"keep_bytes": read_keep(keep)} if keep else {}
    if workers_on == "none":
        changes |= {"workers_on": None, "at_once": None, "trial_gpus": None, "shared_folder": True}
    elif workers_on:
        changes["workers_on"] = workers_on
    if shared_folder is not None:
        changes["shared_folder"] = shared_folder

    from optimizer.run.run import resume_run

    resume_run(run, teacher_pool, host, changes)


@app.command()
def report(run: Annotated[Path, typer.Argument(help="Folder of a run, finished or not.")]) -> None:
    """Write report.html and front.json again from the database."""
    from optimizer.run.run import rewrite_report

    typer.echo(str(rewrite_report(run)))


@app.command()
def prune(
    run: Annotated[Path, typer.Argument(help="Folder of a run that nobody is working on.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go and why the rest stays.")] = False,
) -> None:
    """Free the disk space of trials that nothing needs any more.

    Weights, model and training state of a trial stay while anything may ask for them: of the base, of the front and
    what is handed over, of the best by score and the most precise, and until all students are trained of whatever may
    still be a parent or have the last training, and of the last five trials with their parents. Those of the other
    trials go, and files that no trial names. Their figures stay in the report; a trial whose files went can be no
    teacher. A run does this by itself above --keep.
    """
    from optimizer.run.storage import prune_run

    for line in prune_run(run, dry=dry_run).list_lines():
        say(line)


@app.command()
def analyse(
    run: Annotated[Path, typer.Argument(help="Folder of a run with trained detectors.")],
    images: Annotated[int, typer.Option(min=1, help="Validation images that distances are measured on.")] = 20,
) -> None:
    """Find which mistakes the base and the front make, and what students got of their teacher.

    Writes RUN/analysis: JSON, a page of COCO's error analysis for each model, and pictures of where distillation pulls
    at a student. The run's report.html shows a summary.
    """
    from optimizer.run.analyse import analyse_run

    typer.echo(str(analyse_run(run, images)))


app.command()(arch)


@supernets_app.command("train")
@taking(
    (
        *(
            "base",
            "detector",
            "box_head",
            "teacher_epochs",
            "supernet_epochs",
            "pretrain",
            "shrinking",
            "coupled",
            "size",
            "sizes",
        ),
        *("region_proposals", "batch_size", "workers", "precision"),
    ),
    base="Detector the teachers are for; or the space that is searched (shufflenetv2_20 ..., ofa_resnet50).",
    sizes="Canvases, one of which is drawn for each step.",
)
def supernets_train(
    data: Annotated[Path, typer.Option(help="Folder of labelled images.")],
    out: Annotated[Path, typer.Option(help="Folder of super-networks; each gets its own folder in it.")] = Path(
        "runs/teachers"
    ),
    preset: Annotated[str, typer.Option(help="smoke, quick or paper, as for a run.")] = "quick",
    **chosen: Any,
) -> None:
    """Train a super-network, or go on with one; give the options of the run that will use it."""
    if chosen["base"] is None:
        raise typer.BadParameter("name the detector it is for, such as --base r18")
    recipe = pick_recipe(preset, data)
    searched_by = dict.fromkeys(PATH_SPACES, "detnas") | dict.fromkeys(OFA_SHAPES, "detofa")
    family = chosen["base"].partition(":")[0]  # of a base that is named by its encoding
    if family in searched_by:
        recipe = recipe.changed({"search.method": searched_by[family], "search.teacher": "none"})
    config = change_recipe(recipe, chosen)

    from optimizer.run.run import train_supernet

    typer.echo(str(train_supernet(config, out)))


@supernets_app.command("list")
def supernets_list(
    folder: Annotated[Path, typer.Argument(help="Folder of super-networks.")] = Path("runs/teachers"),
) -> None:
    """What super-networks there are, how they were trained, for which classes, and the AP of some members of each."""
    from optimizer.supernet.pool import list_pools

    pools = list_pools(folder)
    console = Console()
    if not pools:
        console.print(f"no super-networks in {folder}", highlight=False, markup=False)
    for pool in pools:
        space = pool.config.space()
        state = (
            f"{space.count()} sub-networks" if pool.is_trained else "in training; go on with: optimize supernets train"
        )
        if pool.config.pretrained_on is not None:
            state += f", pre-trained on {pool.config.pretrained_on}"
        classes = ", ".join(pool.class_names)
        line = make_printable(f"{pool.folder}: {state}; classes {classes}", LINE_LIMIT)
        console.print(line, highlight=False, markup=False, soft_wrap=True)
        for member, ap in pool.ap.items():
            console.print(f"  {make_printable(member)}: AP {ap:.3f}", highlight=False, markup=False)


@targets_app.callback()
def targets(context: typer.Context) -> None:
    """List the targets this release knows."""
    if context.invoked_subcommand is None:
        from deploy.targets import TARGETS

        for name in sorted(TARGETS):
            typer.echo(name)


@targets_app.command("check")
def targets_check(
    name: Annotated[str, typer.Argument(help="A target's name or TOML file.")],
    host: Annotated[str, typer.Option(help="Board of a target reached over ssh: user@board.")] = "",
) -> None:
    """List what a target has and lacks, each with what to do; exit code 0 if it can be measured on."""
    from deploy import get_target
    from deploy.targets import describe_conditions, require_working

    conditions = get_target(name, host).check()
    typer.echo("\n  ".join(describe_conditions(name, conditions)))
    require_working(name, conditions)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Entry point: errors are one line on stderr and an exit code (0, 1, 2 or 130)."""
    escape_what_cannot_be_printed()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is loaded: its idle threads give cores back
    try:
        app(args=arguments, prog_name="optimize", standalone_mode=True)
    except (DetoptError, DeployError) as error:
        print(f"optimize: {make_printable(str(error), LINE_LIMIT)}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:  # a full disk, a folder that went away: the database holds what was found
        place = f" ({error.filename})" if error.filename else ""
        print(f"optimize: {make_printable(explain_disk_error(error) + place, LINE_LIMIT)}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("optimize: interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)
