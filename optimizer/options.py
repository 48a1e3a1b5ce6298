"""Options of the command line that change a configuration: one table, from each option to what it changes."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import typer

from optimizer.arch.families import FAMILIES
from optimizer.arch.heads import BOX_HEADS, HEADS
from optimizer.config import MOST_EPOCHS, Published
from optimizer.distill.config import DEFEAT_RECIPES, DefeatConfig
from optimizer.errors import InputError
from optimizer.quantities import parse_bytes, parse_duration, parse_milliseconds, parse_size
from optimizer.recipes import scaled_sizes

__all__ = ["OPTIONS", "Option", "read_options", "taking"]

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        name: of the parameter; `--name` with hyphens is what a person writes.
        kind: what typer reads: text, a number, a path, or whether a switch is on.
        help: for people.
        changes: what is made of the value for each part of `RunConfig`, by its dotted name.
        switch: how the flags of a yes-or-no option are written.
    """

    name: str
    kind: type
    help: str
    changes: Mapping[str, Callable[[Any], object]]
    switch: str = ""

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


def _as_given(*names: str) -> dict[str, Callable[[Any], object]]:
    """The value as it is, for each of these parts."""
    return dict.fromkeys(names, lambda value: value)


def _read_counts(flag: str, text: str) -> tuple[int, ...]:
    counts = tuple(int(part) for part in text.split(",") if part.strip().isdigit())
    if not counts or len(counts) != len(text.split(",")):
        raise InputError(f"{flag} takes whole numbers such as 200,100; not {text!r}")
    return counts


def _read_proposals(text: str) -> tuple[int, ...]:
    return _read_counts("--region-proposals", text)


def _read_phase(phase: int) -> Callable[[str], int]:
    """Epochs of one phase of a pool's training."""

    def read(text: str) -> int:
        epochs = [int(part) for part in text.split(",") if part.strip().isdigit()]
        if len(epochs) != 3 or len(text.split(",")) != 3 or not all(epochs):
            raise InputError(f"--teacher-epochs takes three numbers from 1 on, such as 8,3,5; not {text!r}")
        return epochs[phase]

    return read


def _read_epochs(text: str) -> int:
    """Epochs of the base, or the most of them."""
    if text == "auto":
        return MOST_EPOCHS
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"--epochs takes a number from 1 on, or auto; not {text!r}")
    return int(text)


def _read_limits(text: str) -> tuple[float, ...]:
    """Shares of the base's cost, and MACs of the body, which have a unit."""
    units = {"": 1.0, "M": 1e6, "G": 1e9}
    found = [re.fullmatch(r"(-?\d*\.?\d+)([MG]?)", part.strip()) for part in text.split(",")]
    limits = tuple(float(match[1]) * units[match[2]] for match in found if match)
    if len(limits) != len(found):
        raise InputError(
            f"--limit takes shares of the base's cost, such as 0.8,0.6, or MACs of the body, such as 300M; not {text!r}"
        )
    return limits


def _read_names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _read_distillers(text: str) -> dict[str, float]:
    """Weight of each distiller: 1 where none is said. None where the search chooses."""
    if text == "auto":
        return {}
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, equals, weight = (word.strip() for word in part.partition("="))
        try:
            number = float(weight) if equals else 1.0
        except ValueError:
            number = math.nan
        if not name or name in weights or not 0 < number < math.inf:
            raise InputError(
                "--distillers takes different names, each with a weight above 0 if it is not 1, such as "
                f"feature,classification=0.5; not {text!r}"
            )
        weights[name] = number
    return weights


def _read_defeat(text: str) -> DefeatConfig:
    if text not in DEFEAT_RECIPES:
        raise InputError(f"--defeat takes {' or '.join(DEFEAT_RECIPES)}; not {text!r}")
    return DEFEAT_RECIPES[text]


def _unless_none(read: Callable[[str], tuple[Any, ...]]) -> Callable[[str], tuple[Any, ...]]:
    """'none' is an empty list."""
    return lambda text: () if text.strip() == "none" else read(text)


def _read_weights(text: str) -> str | Path | None:
    """Published weights by name; a file of such a name is ./coco."""
    return text if text in get_args(Published) else None if text == "none" else Path(text).resolve()


def _read_pretrain(text: str) -> str | Path:
    """A folder of such a name is ./crops."""
    return text if text in ("crops", "none") else Path(text).resolve()


def _read_teacher(text: str) -> str | Path:
    """A kind of teacher by name, or where a trained one is."""
    return text if text in ("base", "dynamic", "fixed", "none") else Path(text).resolve()


# Those further down win where two change the same part.
OPTIONS = (
    Option(
        "base",
        str,
        f"Detector to start from: {', '.join(FAMILIES)}; or a space and the block in each of its places: "
        "'shufflenetv2_20:2120 2112 33130031 3132'.",
        _as_given("base"),
    ),
    Option("target", str, "Device the students are for: a name or a TOML file. Default: cpu.", _as_given("target")),
    Option("host", str, "Board of a target reached over ssh: user@board.", _as_given("host")),
    Option("detector", str, f"Kind of detector: {', '.join(HEADS)}. Default: faster_rcnn.", _as_given("detector")),
    Option(
        "box_head",
        str,
        f"Layers on the regions of a faster_rcnn: {', '.join(BOX_HEADS)}. fc2 (default): two fully connected layers; "
        "conv4fc1: four 3x3 convolutions with BatchNorms and one fully connected layer, as DetNAS has.",
        _as_given("box_head"),
    ),
    Option(
        "method",
        str,
        "joint: students and teachers together. etp: in the teacher pool. pipeline: search, then prune, then distil. "
        "random: the baseline. pareto: students for every latency. detnas: the blocks of a ShuffleNetV2, by evolution. "
        "detofa: depths and widths of a once-for-all ResNet-50, likewise.",
        _as_given("search.method"),
    ),
    Option(
        "limit",
        str,
        "detnas, detofa: the most that students may cost, as shares of the base's latency (or MACs): 0.8,0.6; or MACs "
        "of the body at 224x224, as DetNAS has it: 300M.",
        {"search.limits": _read_limits},
    ),
    Option("population", int, "detnas, detofa: subnets of a generation (default 50).", _as_given("search.population")),
    Option(
        "generations", int, "detnas, detofa: generations for each limit (default 20).", _as_given("search.generations")
    ),
    Option(
        "supernet_epochs",
        int,
        "detnas, detofa: epochs that the super-network is trained; with --shrinking dwe or dew, three times as many.",
        _as_given("paths.train.epochs", "ofa.train.epochs"),
    ),
    Option(
        "shrinking",
        str,
        "detofa: none draws every subnet from the first step on; dwe shrinks depth, width and inner width in turn, dew "
        "in once-for-all's order; filter is DetOFA's path filter, which chooses the subnets that are trained.",
        _as_given("ofa.shrinking"),
    ),
    Option(
        "coupled",
        bool,
        "detofa: whether depth and width of a stage go together (CompOFA), which leaves fewer subnets.",
        _as_given("ofa.coupled"),
        switch="--coupled/--uncoupled",
    ),
    Option(
        "pretrain",
        str,
        "detnas: what the super-network's body is pre-trained on. crops (default): the objects in the training images; "
        "a folder that holds a folder of images for each class; or none, and the super-network is trained for twice as "
        "many epochs unless --supernet-epochs says how many.",
        {"paths.pretraining.images": _read_pretrain},
    ),
    Option(
        "teacher",
        str,
        "Who teaches students. base: the trained base; dynamic: a member of a teacher pool, searched with the student; "
        "fixed: the pool's largest; none; or the folder of a run (its best detector), one detector of a run "
        "(RUN/student-004), or a checkpoint of the base's architecture.",
        {"search.teacher": _read_teacher},
    ),
    Option(
        "distillers",
        str,
        "What a teacher teaches: names, each with a weight if that is not 1, such as feature,classification=0.5. "
        "auto: the search tries sets of them, and none. docs/search.md lists them. Default: "
        "feature,classification,localization.",
        {"distill.weights": _read_distillers},
    ),
    Option(
        "defeat",
        str,
        f"DeFeat's own weights, as its authors have them for a data set: {', '.join(DEFEAT_RECIPES)}. Default: coco.",
        {"distill.defeat": _read_defeat},
    ),
    Option(
        "distill_decay",
        str,
        "How the weights of all distillers change during a training: constant (default), linear or cosine (to 0), "
        "up_down (to twice as much in its first quarter, then to 0).",
        _as_given("distill.decay"),
    ),
    Option(
        "teacher_canvas",
        str,
        "What a teacher is shown: the student's canvas (student), or one of its own size (own).",
        _as_given("distill.teacher_canvas"),
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
        {f"pool.train.{phase}.epochs": _read_phase(phase) for phase in range(3)},
    ),
    Option(
        "inherit",
        bool,
        "Whether children start from their parent's weights.",
        _as_given("search.inherit"),
        switch="--inherit/--no-inherit",
    ),
    Option(
        "importance",
        str,
        "What channels and layers are ranked by: bn_scale or taylor. Default: taylor for pareto, else bn_scale.",
        _as_given("search.importance"),
    ),
    Option(
        "compensate",
        bool,
        "Whether layers make up for channels they no longer read. Default: for pareto only.",
        _as_given("search.compensate"),
        switch="--compensate/--no-compensate",
    ),
    Option(
        "continuity",
        bool,
        "Whether children go on with their parent's optimiser moments, average and adapters. Default: method pareto.",
        _as_given("search.continuity"),
        switch="--continuity/--no-continuity",
    ),
    Option(
        "actions",
        str,
        "Kinds of action to search over, comma-separated; with 'none' students are only trained further.",
        {"search.space.actions": _unless_none(_read_names)},
    ),
    Option("finetuned", int, "Students to train further after the search.", _as_given("search.finetuned")),
    Option("finetune_epochs", int, "Fine-tuning epochs.", _as_given("finetune.epochs")),
    Option("trials", int, "Students to try (quick: 12, on the generated images 4).", _as_given("search.trials")),
    Option("budget", str, "Wall-clock limit of the whole run: 20m, 2h, 1h30m.", {"budget_s": parse_duration}),
    Option(
        "size",
        str,
        "Canvas of the base, WIDTHxHEIGHT.",
        {"input_size": parse_size, "search.space.sizes": lambda text: scaled_sizes(parse_size(text))},
    ),
    Option(
        "sizes",
        str,
        "Canvases to search over: 320x240,256x192.",
        {"search.space.sizes": lambda text: tuple(parse_size(part) for part in text.split(","))},
    ),
    Option(
        "region_proposals",
        str,
        "The base's number, then alternatives: 200,100.",
        {"region_proposals": lambda text: _read_proposals(text)[0], "search.space.region_proposals": _read_proposals},
    ),
    Option(
        "max_detections",
        int,
        "Most objects that an exported model puts out for an image (default 100), for images with many.",
        _as_given("max_detections"),
    ),
    Option(
        "epochs",
        str,
        "Epochs the base is trained: a number, or auto: until its AP on training images that are kept out stops rising "
        f"(at most {MOST_EPOCHS}, or 0.4 of the budget). Default: auto with --data (preset quick), else a number.",
        {
            "base_epochs": lambda text: "auto" if str(text) == "auto" else "fixed",
            "base_train.epochs": lambda text: _read_epochs(str(text)),
        },
    ),
    Option("trial_epochs", int, "Epochs each student is trained.", _as_given("trial_train.epochs")),
    Option("score", str, "Cost that is scored: latency (default) or macs.", _as_given("search.cost")),
    Option("objective", str, "harmonic (default), geometric, product, arithmetic.", _as_given("search.objective")),
    Option("batch_size", int, "Images per training step.", _as_given("batch_size", "pool.batch_size")),
    Option(
        "workers",
        int,
        "Processes that load images; 0 loads in the trainer. Default: up to 8 where there is a GPU, else 0.",
        _as_given("workers"),
    ),
    Option(
        "weights",
        str,
        "What the base starts from: coco or imagenet (torchvision's, downloaded once), auto (coco where that fits the "
        "base, else imagenet, else none), none, or a checkpoint (.pth, .safetensors). Default: auto with --data (but "
        "for preset smoke), else none.",
        {"weights": _read_weights},
    ),
    Option(
        "freeze_stages",
        int,
        "Stages of the backbone, and its stem with them, that are not trained: 0 (default) to 4. torchvision's own "
        "fine-tuning freezes 1.",
        _as_given("freeze.stages"),
    ),
    Option(
        "freeze_norm",
        bool,
        "Whether BatchNorms keep the scales and statistics of the weights the base starts from, for few images.",
        _as_given("freeze.norm"),
        switch="--freeze-norm/--train-norm",
    ),
    Option("base_run", Path, "A run whose trained base is taken over.", {"base_run": Path.resolve}),
    Option(
        "precision",
        str,
        "Training arithmetic: auto, fp32, bf16 or fp16.",
        _as_given("base_train.precision", "trial_train.precision", "finetune.precision"),
    ),
    Option(
        "precisions",
        str,
        "Precisions of the target to export in at the end: fp32,int8; FP32 always. Each model is tried in every "
        "precision with every number of region proposals; one try costs about a minute of measuring (preset quick on "
        "your data, and paper), and three passes over the validation images.",
        {"variants.precisions": _read_names},
    ),
    Option(
        "export_proposals",
        str,
        "Region proposals tried at the end, without training: 100,50; 'none': no others.",
        {"variants.region_proposals": _unless_none(lambda text: _read_counts("--export-proposals", text))},
    ),
    Option(
        "max_ap_drop",
        float,
        "Most AP such an export may lose compared with the plain one (default 0.01).",
        _as_given("variants.max_ap_drop"),
    ),
    Option(
        "max_latency",
        str,
        "Most latency of a student on the target: 33ms. Slower ones are no candidates, and pareto aims below it.",
        {"constraints.max_latency_ms": parse_milliseconds},
    ),
    Option(
        "max_size",
        str,
        "Most that the exported model file of a student may have: 20MB, 500kB.",
        {"constraints.max_bytes": parse_bytes},
    ),
    Option(
        "min_ap",
        float,
        "Least average precision of a student on the validation images, 0 to 1.",
        _as_given("constraints.min_ap"),
    ),
    Option("seed", int, "Same seed, same trials.", _as_given("seed")),
)


def read_options(chosen: Mapping[str, Any]) -> dict[str, object]:
    """The changes of a configuration that these values of options ask for; None asks for nothing.

    Raises:
        InputError: a value cannot be read; the text names the option.
    """
    return {
        path: read(chosen[option.name])
        for option in OPTIONS
        if chosen.get(option.name) is not None
        for path, read in option.changes.items()
    }


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
