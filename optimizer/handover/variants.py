"""Other exports of the same weights: in another precision, with fewer region proposals. No training, and no torch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from deploy import LatencyRecord, MeasurementFailure, TargetSpec, compare
from deploy.foreign import make_printable
from optimizer.arch.spec import ArchSpec
from optimizer.config import RunConfig
from optimizer.cost.base import RelativeCost
from optimizer.errors import InputError
from optimizer.search.costs import COSTS, CostKind
from optimizer.search.latency import FurtherCost
from optimizer.store.schema import read_elsewhere
from optimizer.store.values import read_number, read_text, read_whole

__all__ = [
    "PLAIN",
    "Variant",
    "VariantResult",
    "choose_precisions",
    "decide",
    "list_variants",
    "name_export",
    "parse_bundle_place",
    "summarise_tried",
]

MADE, KEPT, NOT_FASTER, TOO_INACCURATE = "made", "kept", "not faster", "too inaccurate"
NOT_WRITTEN, NOT_LESS = "not written or measured", "not more frugal"
ENERGY_GAP = 0.03  # two energies closer than this are not called different


@dataclass(frozen=True)
class Variant:
    """How a student's weights are exported; `region_proposals` None leaves those of its architecture."""

    precision: str = "fp32"
    region_proposals: int | None = None

    @property
    def suffix(self) -> str:
        """What its name adds to the student's: "-int8-p50"; nothing for the plain export."""
        precision = "" if self.precision == "fp32" else f"-{self.precision}"
        return precision + ("" if self.region_proposals is None else f"-p{self.region_proposals}")

    def change_arch(self, arch: ArchSpec) -> ArchSpec:
        """The architecture that is exported; it takes the weights of `arch`."""
        if self.region_proposals is None:
            return arch
        assert arch.head.region_proposals is not None, "a variant of a head that has no region proposals"
        return replace(arch, head=arch.head.propose(self.region_proposals))


PLAIN = Variant()
BUNDLE_PLACE = re.compile(r"bundles/[A-Za-z0-9_-]+\Z")


@dataclass(frozen=True)
class VariantResult:
    """What became of one variant of one trial.

    Attributes:
        outcome: "made" (its model is there and waits for the lease), "kept", or why it is not: "not faster",
            "not more frugal", "too inaccurate", "not written or measured".
        reason: the same with figures, where it is not kept.
        ap, ap50: of that very model, executed by the engine.
        model: SHA-256 of its ONNX file. model_bytes: its size; None in runs that began before it was kept.
        ratio, latency, score: as of a trial, in the final lease; the base of the ratio is the base's plain export.
        elsewhere: further costs that were found in that lease, by name.
        bundle: its folder, relative to the run's.
    """

    trial: int
    variant: Variant
    outcome: str
    reason: str = ""
    ap: float | None = None
    ap50: float | None = None
    macs: int | None = None
    flops_mmdet: int | None = None
    model: str | None = None
    ratio: float | None = None
    latency: Mapping[str, Any] | None = None
    score: float | None = None
    bundle: str | None = None
    model_bytes: int | None = None
    elsewhere: Mapping[str, FurtherCost] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return name_export(self.trial, self.variant)

    @property
    def figures(self) -> tuple[float | None, ...]:
        """What has to be known of one that is kept, besides its latency."""
        return (self.ap, self.ap50, self.ratio, self.macs, self.flops_mmdet)

    def to_json(self) -> dict[str, Any]:
        values = asdict(replace(self, elsewhere={}))
        further = {name: cost.to_json() for name, cost in self.elsewhere.items()}
        return {**values, "elsewhere": further} if further else {n: v for n, v in values.items() if n != "elsewhere"}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> VariantResult:
        """The inverse; an `InputError` or an error of `optimizer.store.values.DAMAGE` for what is none of ours."""
        place, precision = value.get("bundle"), read_text(value["variant"].get("precision", "fp32"))
        count = value["variant"].get("region_proposals")
        variant = Variant(precision, None if count is None else read_whole(count, 1))
        found = VariantResult(
            **{
                **value,
                "variant": variant,
                "bundle": None if place is None else parse_bundle_place(place),
                "elsewhere": read_elsewhere(value.get("elsewhere", {})),
            }
        )
        read_whole(found.trial)
        for text in (found.outcome, found.reason, *([] if found.model is None else [found.model])):
            read_text(text)
        for figure in found.figures:
            if figure is not None:
                read_number(figure, 0)
        read_number(found.score or 0.0)
        read_whole(found.model_bytes or 0)
        return found


def parse_bundle_place(text: Any) -> str:
    """Where a bundle is in a run's folder; an `InputError` for what may lead out of it, as a link or as a path."""
    if not isinstance(text, str) or not BUNDLE_PLACE.match(text):
        raise InputError(f"the run is damaged: {make_printable(str(text), 80)!r} is not where a bundle of it can be")
    return text


def name_export(number: int, variant: Variant = PLAIN) -> str:
    """The name of a bundle: "base", "student-003", "student-003-int8-p50"."""
    return ("base" if number == 0 else f"student-{number:03d}") + variant.suffix


def choose_precisions(config: RunConfig, spec: TargetSpec) -> tuple[str, ...]:
    """The target's precisions that a run tries, FP32 first: every other one is made from it and compared with it.

    Raises:
        InputError: the run asks for one that the target does not name.
    """
    named = spec.engine.precisions
    asked = named if config.variants.precisions is None else config.variants.precisions
    for precision in asked:
        if precision not in (*named, "fp32"):
            raise InputError(
                f"target {spec.name} names the precisions {', '.join(named)}, not {precision!r}; choose "
                "among these with --precisions, or add it to `precisions` in the target's file"
            )
    return tuple(dict.fromkeys(("fp32", *asked)))


def list_variants(config: RunConfig, spec: TargetSpec, arch: ArchSpec) -> tuple[Variant, ...]:
    """What is tried besides the plain export of an architecture, in order: FP32 at each count first.

    Counts are those below the architecture's own: more are never faster. None where operations are what is scored,
    because a variant is kept by what it costs on the target.
    """
    precisions = choose_precisions(config, spec)
    if not config.search.cost_kind.is_measured:
        return ()
    wanted = config.variants.region_proposals
    counts: list[int | None] = [None]
    own = arch.head.region_proposals
    if own is not None:
        choices = config.search.space.region_proposals if wanted is None else wanted
        counts += sorted((count for count in set(choices) if count < own), reverse=True)
    return tuple(Variant(precision, count) for precision in precisions for count in counts)[1:]


def decide(
    tried: VariantResult,
    plain: Mapping[str, Any],
    measured: RelativeCost | MeasurementFailure,
    kind: CostKind = COSTS["latency"],
) -> VariantResult:
    """A variant after the final lease: kept if it measurably costs less than `plain`, its plain export's record."""
    if isinstance(measured, MeasurementFailure):
        return replace(tried, outcome=NOT_WRITTEN, reason=f"no latency: {measured.reason}")
    assert measured.latency is not None
    records = LatencyRecord.from_json(plain), LatencyRecord.from_json(measured.latency)
    worth_it, reason = (_compare_latencies if kind.is_latency else _compare_energies)(*records)
    return replace(
        tried,
        outcome=KEPT if worth_it else NOT_FASTER if kind.is_latency else NOT_LESS,
        reason="" if worth_it else reason,
        ratio=measured.ratio,
        latency=measured.latency,
        elsewhere=measured.elsewhere,
    )


def _compare_latencies(plain: LatencyRecord, other: LatencyRecord) -> tuple[bool, str]:
    """Whether the other one is faster, and the figures."""
    found = compare(plain, other)
    text = "{:.2f} times as fast as the plain export (95 %: {:.2f} to {:.2f})".format(found.ratio, *found.ci95)
    return found.different and found.ratio > 1, text


def _compare_energies(plain: LatencyRecord, other: LatencyRecord) -> tuple[bool, str]:
    assert plain.energy is not None and other.energy is not None, "a cost by energy has them"
    before, after = plain.energy.gross_mj, other.energy.gross_mj
    return after * (1 + ENERGY_GAP) < before, f"{after:.4g} mJ an image, the plain export {before:.4g} mJ"


def summarise_tried(tried: Iterable[VariantResult]) -> str:
    """One line, such as "9 other exports tried: 3 kept, 4 not faster, 2 too inaccurate"; empty if there was none."""
    counts = Counter(item.outcome for item in tried)
    if not counts:
        return ""
    shown = (KEPT, NOT_FASTER, NOT_LESS, TOO_INACCURATE, NOT_WRITTEN, MADE)
    parts = [f"{counts[name]} {'to be measured' if name == MADE else name}" for name in shown if counts[name]]
    return f"{sum(counts.values())} other exports tried: {', '.join(parts)}"
