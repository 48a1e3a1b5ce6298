"""`RunConfig`: everything a run depends on, as one frozen value that JSON can hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from optimizer.arch.families import base_arch
from optimizer.arch.space import legal_actions
from optimizer.arch.spec import ArchSpec
from optimizer.distill.config import DistillConfig
from optimizer.errors import InputError
from optimizer.origins import ORIGINS
from optimizer.search.config import SearchConfig, check_known
from optimizer.search.constraints import Constraints
from optimizer.supernet.config import SupernetConfig
from optimizer.supernet.elastic_config import ElasticRecipe
from optimizer.supernet.ofa_config import OfaRecipe
from optimizer.supernet.path_config import PathRecipe
from optimizer.track.catalogue import TRACKERS
from optimizer.train.config import Freeze, TrainConfig

__all__ = [
    "UNLIMITED",
    "Published",
    "RunConfig",
    "SearchConfig",
    "ShapesConfig",
    "VariantsConfig",
    "parse_config",
]

Published = Literal["auto", "coco", "imagenet"]
MOST_EPOCHS = 60  # of a base that is trained until it stops gaining, where nobody says another number
UNLIMITED = 10_000  # students: as many as the time allows
KEEP_BYTES = 20 * 10**9  # of weights and models of trials


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShapesConfig(_Value):
    """The generated data set used when no ``--data`` is given."""

    train: int = Field(ge=1)
    val: int = Field(ge=1)
    size: tuple[int, int]


class VariantsConfig(_Value):
    """Other exports of the same weights that are tried on base and front at the end; none unless a recipe says so."""

    precisions: tuple[str, ...] | None = Field(
        ("fp32",), description="precisions of the target to export in; None is all of them. FP32 is always among them"
    )
    region_proposals: tuple[int, ...] | None = Field(
        (), description="numbers to try where the head has them; None is those of the search space"
    )
    max_ap_drop: float = Field(0.01, ge=0, lt=1, description="most AP one may lose compared with the plain export")

    @field_validator("region_proposals")
    @classmethod
    def _countable(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and not all(1 <= count <= 3840 for count in value):
            raise ValueError(f"numbers of region proposals are from 1 to 3840, not {', '.join(map(str, value))}")
        return value


class RunConfig(_Value):
    """A whole run. Made by a recipe (`optimizer.recipes`), changed by the command line, kept in the run's database.

    Attributes:
        base: family of the base, or an encoding (`arch.families.find_body`). Where one student is distilled the base
            is its teacher, and this the family of a teacher that is a file of weights; what is said of the base's
            training is then said of the student's.
        box_head: of a Faster R-CNN, a key of `BOX_HEADS`; None is the usual one.
        data: folder of labelled images; None generates the shapes set inside the run's folder.
        target: the device that students are searched for. further_targets: those that they are measured on as well;
            they take the same graph.
        host: the board of a target behind ssh; empty leaves it to the target's file and the user's hosts file.
        weights: what the base starts from: published weights of torchvision's for this data set, with "auto" of COCO
            where there are some that fit, else of ImageNet, else none; a file; None starts from random weights.
        weights_from: whose detector a file of weights is, a key of `ORIGINS`, in whose form the base is then built.
        base_run: folder of a run whose trained base this one takes over instead of training its own.
        input_size: canvas (width, height) of the base.
        max_detections: the most that an exported model puts out for an image; AP is COCO's, of the best 100, whatever
            it is.
        budget_s: wall-clock seconds for the whole run, over all resumes; None means no limit.
        pool: the teacher pool that distillation and the method "etp" draw from, trained where it is not found.
        paths: the super-network that the method "detnas" searches, likewise.
        ofa: the once-for-all network that the method "detofa" searches, likewise.
        teacher_pool: folder of teacher pools, or one pool; None is the folder ``teachers`` beside the run's.
        distill: what a teacher teaches.
        freeze: parts that base and students leave as the weights they start from have them.
        finetune: training of the students that are trained further after the search.
        workers: processes that prepare images; None is some on a GPU, and none on a CPU, which has no core to spare.
        constraints: what is needed of a student; one that breaks them is no candidate of the front.
        variants: other precisions and numbers of region proposals that the front is exported with.
        keep_bytes: bytes of trials' files above which those that nothing needs are dropped; None keeps all.
        base_epochs: "fixed" is those of base_train; "auto" trains the base until it stops gaining on images kept out,
            for at most so many epochs.
        base_share: of the budget, the most that the base's training may use with "auto".
        search_protocol, final_protocol: how latency is measured for a trial and for the front
            (`deploy.measuring.measure`).
        workers_on: the Ray cluster that trainings are done on ("ray", or "ray://HOST:PORT"); None does them here.
        at_once: trainings at once there; None is what there is room for. trial_gpus: of a GPU for each; None is one
            where there are some. shared_folder: whether workers see the run's folder and the images under the same
            paths; otherwise what they need is sent.
        track: trackers that the run is recorded with, beside its own folder.
    """

    preset: str
    base: str = "r18"
    detector: str = "faster_rcnn"
    box_head: str | None = None
    target: str = "cpu"
    further_targets: tuple[str, ...] = ()
    host: str = ""
    data: Path | None = None
    weights: Published | Path | None = None
    weights_from: str | None = None
    base_run: Path | None = None
    input_size: tuple[int, int]
    region_proposals: int = Field(ge=1, le=3840)
    max_detections: int = Field(100, ge=1, le=3840)
    seed: int = 0
    budget_s: float | None = Field(None, gt=0)
    batch_size: int = Field(4, ge=1)
    augment: str = "light"
    workers: int | None = Field(None, ge=0)
    shapes: ShapesConfig
    base_epochs: Literal["fixed", "auto"] = "fixed"
    base_share: float = Field(0.4, gt=0, lt=1)
    base_train: TrainConfig
    trial_train: TrainConfig
    search: SearchConfig
    pool: ElasticRecipe | None = None
    paths: PathRecipe | None = None
    ofa: OfaRecipe | None = None
    teacher_pool: Path | None = None
    distill: DistillConfig = DistillConfig()
    finetune: TrainConfig | None = None
    freeze: Freeze = Freeze()
    constraints: Constraints = Constraints()
    variants: VariantsConfig = VariantsConfig()
    keep_bytes: int | None = Field(KEEP_BYTES, gt=0)
    search_protocol: str = "screen"
    final_protocol: str = "final"
    workers_on: str | None = None
    at_once: int | None = Field(None, ge=1)
    trial_gpus: float | None = Field(None, ge=0, le=1)
    shared_folder: bool = True
    track: tuple[str, ...] = ()

    @field_validator("workers_on")
    @classmethod
    def _known_cluster(cls, value: str | None) -> str | None:
        if value is not None and value != "ray" and not value.startswith("ray://"):
            raise ValueError(f"workers are on ray, or on ray://HOST:PORT, not on {value!r} (--workers-on)")
        return value

    @field_validator("track")
    @classmethod
    def _known_trackers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(check_known(name, TRACKERS, "tracker") for name in value))

    @field_validator("weights_from")
    @classmethod
    def _known_origin(cls, value: str | None) -> str | None:
        return None if value is None else check_known(value, ORIGINS, "origin of weights (--from)")

    @model_validator(mode="after")
    def _parts_fit(self) -> RunConfig:
        base = self.base_arch()
        self._check_student()
        self._check_pool()
        self._check_actions(base)
        self._check_trainings()
        self._check_filter()
        self._check_measuring()
        return self

    def _check_pool(self) -> None:
        """A super-network is made where one is needed, and not asked to teach where it is what is searched."""
        if self.search.evolves and self.search.takes_pool_teachers:
            raise ValueError(
                f"method {self.search.method} has no teacher pool: --teacher is base, none, a run or a file"
            )
        if self.needs_pool and self._supernet_recipe() is None:
            raise ValueError(f"method {self.search.method} with teachers needs a teacher pool, and no recipe says how")

    def _check_actions(self, base: ArchSpec) -> None:
        """There is something to search: actions, of which one at least is legal on the base, or teachers."""
        space, method = self.search.space, self.search.method
        if self.search.trials and not space.actions and not self.search.in_pool:
            if self.search.teacher == "none":
                raise ValueError("without actions and without a teacher there is nothing to search")
            if method in ("pareto", "random"):
                raise ValueError(f"{method} search draws actions, and this run has none")
        if self.search.trials and space.actions and not legal_actions(base, space):
            raise ValueError(f"none of the actions {', '.join(space.actions)} is legal on the base {self.base}")

    def _check_trainings(self) -> None:
        if (self.search.finetuned or self.search.evolves) and self.finetune is None:
            raise ValueError("students are to be trained on after the search, but no recipe says how (finetune)")
        if (self.freeze.stages or self.freeze.norm) and self.weights is None and self.base_run is None:
            raise ValueError("random weights are not worth freezing: start from some (--weights, --base-run)")
        if self.search.elastic and (self.search.in_pool or self.search.student is not None):
            raise ValueError(
                f"method {self.search.method} makes no children of its base, so none can be trained with it: "
                "no --elastic"
            )

    def _check_filter(self) -> None:
        """What is asked of a path filter is asked of a run that has one."""
        if self.search.method != "detofa" or self.ofa is None:
            return
        is_filtered = self.ofa.shrinking == "filter"
        if self.ofa.filtering.bucket == "latency":
            if not is_filtered:
                raise ValueError("buckets are the path filter's: add --shrinking filter, or leave --bucket out")
            if not self.search.cost_kind.is_latency:
                raise ValueError("buckets of latency are for runs that score by it: leave --bucket or --score out")
        if self.ranks_alone and not is_filtered:
            raise ValueError(
                "there is no path filter to rank subnets alone: add --shrinking filter, or --ranker images, which "
                "judges them by their AP"
            )

    def _check_measuring(self) -> None:
        """Workers and measurements are asked for only where they are used."""
        if self.workers_on is not None and (self.search.evolves or self.search.student is not None):
            raise ValueError(f"method {self.search.method} has one training after the other: leave --workers-on out")
        if self.search.cost_kind.is_measured:
            return
        for option, asked in (("--max-latency", "max_latency_ms"), ("--max-memory", "max_memory_bytes")):
            if getattr(self.constraints, asked) is not None:
                raise ValueError(f"a run that scores by operations runs no model: leave {option} or --score out")
        if self.further_targets:
            raise ValueError("a run that scores by operations measures on no target: name one, or leave --score out")

    def _check_student(self) -> None:
        """One student is named exactly where it is distilled, and its teacher is there already."""
        if (self.search.method == "distill") != (self.search.student is not None):
            raise ValueError(
                "method distill trains one named student instead of searching: optimize distill --student r18 "
                "--teacher RUN"
            )
        if self.search.student is not None and not self.distill.weights:
            raise ValueError("one student is taught in one way: name the distillers (--distillers) instead of auto")
        if self.search.student is not None and (not isinstance(self.search.teacher, Path) or self.base_run is not None):
            raise ValueError(
                "one student is taught by a detector that is trained already, which is the base of its run: name a "
                f"run or a file of weights (--teacher), not {self.base_run or self.search.teacher}"
            )

    @property
    def targets(self) -> tuple[str, ...]:
        """All that latencies are measured on, the one that decides first."""
        return (self.target, *self.further_targets)

    @property
    def asked_of_target(self) -> dict[str, str]:
        """What the target that decides has to tell besides latencies, and the option that needs it."""
        wanted = dict.fromkeys(self.search.cost_kind.also, f"--score {self.search.cost}")
        return {**wanted, **({"memory": "--max-memory"} if self.constraints.max_memory_bytes is not None else {})}

    @property
    def needs_pool(self) -> bool:
        """Whether the run draws on a teacher pool."""
        return bool(self.search.trials) and (self.search.takes_pool_teachers or self.search.in_pool)

    @property
    def ranks_alone(self) -> bool:
        """Whether subnets are bred by a path filter alone, and none is looked at before it is trained."""
        return self.search.method == "detofa" and self.ofa is not None and self.ofa.filtering.ranker == "filter"

    @property
    def generations(self) -> tuple[int, int]:
        """How many there are for each limit, and the subnets of each: DetNAS' numbers, or once-for-all's."""
        usual = (500, 100) if self.ranks_alone else (20, 50)
        return self.search.generations or usual[0], self.search.population or usual[1]

    @property
    def keeps_images(self) -> bool:
        """Whether some training images are kept out, to judge by, until the last training."""
        return self.search.aims or self.search.evolves or (self.base_epochs == "auto" and self.base_run is None)

    @property
    def importance(self) -> str:
        """What channels and blocks are ranked by."""
        return self.search.importance or ("taylor" if self.search.aims else "bn_scale")

    @property
    def compensates(self) -> bool:
        """Whether layers make up for channels that they no longer read."""
        return self.search.aims if self.search.compensate is None else self.search.compensate

    @property
    def carries_state(self) -> bool:
        """Whether children go on where their parent's training stopped."""
        continuity = self.search.continuity
        return self.search.inherit and (self.search.aims if continuity is None else continuity)

    def pool_config(self) -> SupernetConfig:
        """The super-network this run draws on."""
        sizes = tuple(sorted(self.search.space.sizes, key=lambda size: -size[0] * size[1]))
        recipe = self._supernet_recipe()
        assert recipe is not None
        made = recipe.with_precision(self.base_train.precision)
        return made.make(self.base, sizes, self.region_proposals, self.head_name).for_target(self.target)

    def _supernet_recipe(self) -> PathRecipe | OfaRecipe | ElasticRecipe | None:
        """How the super-network is made that this method draws on."""
        by_method = {"detnas": self.paths, "detofa": self.ofa}
        return by_method.get(self.search.method, self.pool)

    @property
    def alpha(self) -> float:
        """Of the objective; the papers' values where the search names none."""
        return self.search.alpha or (0.1 if self.base == "x101" else 0.4)

    def base_arch(self) -> ArchSpec:
        """The architecture the search starts from."""
        arch = self._make_arch(self.base)
        return self._form(arch) if self.search.student is None else arch

    @property
    def trained_family(self) -> str:
        """Of what is trained as a base is: the base, or the one student of a base that was trained before."""
        return self.search.student or self.base

    def trained_arch(self) -> ArchSpec:
        """The architecture of that."""
        return self._form(self._make_arch(self.trained_family))

    @property
    def head_name(self) -> str:
        """Of base and students, as in `Head.name`."""
        return self.detector if self.box_head in (None, "fc2") else f"{self.detector} {self.box_head}"

    def _make_arch(self, family: str) -> ArchSpec:
        arch = base_arch(family, self.input_size, self.head_name)
        return replace(arch, head=arch.head.propose(self.region_proposals))

    def _form(self, arch: ArchSpec) -> ArchSpec:
        """What starts from `weights`, in the form that these are for."""
        return arch if self.weights_from is None else ORIGINS[self.weights_from].form(arch)

    def changed(self, changes: dict[str, object]) -> RunConfig:
        """A copy with ``changes``, validated again; names may be dotted: ``search.trials``, ``pool.train.0.epochs``."""
        values = self.model_dump(mode="python")
        for name, value in changes.items():
            *path, last = name.split(".")
            inner: Any = values
            for part in path:
                inner = inner[int(part) if part.isdigit() else part]
            assert last in inner, name
            inner[last] = value
        return parse_config(values)


def parse_config(values: dict[str, object]) -> RunConfig:
    """A validated `RunConfig`; the first fault as an `InputError` of one line."""
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{place + ': ' if place else ''}{first['msg'].removeprefix('Value error, ')}") from error
