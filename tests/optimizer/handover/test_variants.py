"""Other exports of the same weights: which are tried, what they are called, and which are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from made_trials import make_record

from deploy import (
    EngineSpec,
    MeasurementFailure,
    Preprocess,
    TargetSpec,
)  # fmt: skip
from deploy.sensors import Energy
from optimizer.arch.families import base_arch
from optimizer.config import parse_config
from optimizer.cost.base import RelativeCost
from optimizer.errors import InputError
from optimizer.handover.variants import (
    PLAIN,
    Variant,
    VariantResult,
    choose_precisions,
    decide,
    list_variants,
    name_export,
    summarise_tried,
)  # fmt: skip
from optimizer.recipes import paper, quick, smoke
from optimizer.search.costs import COSTS

SIZE = (128, 96)
IMAGENET = Preprocess.imagenet(*SIZE)
CPU = TargetSpec("cpu", engine=EngineSpec(precisions=("fp32", "int8")))
ANY_DROP = 0.99
DATA = Path("my_images")


def test_fp32_at_each_smaller_count_comes_first() -> None:
    config = quick(DATA).changed({"variants.region_proposals": (50, 100, 300, 1000)})
    arch = base_arch("r18", (320, 320), region_proposals=300)
    assert list_variants(config, CPU, arch) == (
        Variant("fp32", 100), Variant("fp32", 50), Variant("int8"), Variant("int8", 100), Variant("int8", 50),
    )  # fmt: skip
    retinanet = base_arch("r18", (320, 320), detector="retinanet", region_proposals=None)
    assert list_variants(config, CPU, retinanet) == (Variant("int8"),)
    assert list_variants(config.changed({"search.cost": "macs"}), CPU, arch) == ()
    assert list_variants(quick(DATA), CPU, arch) == list_variants(
        quick(DATA).changed({"variants.region_proposals": quick(DATA).search.space.region_proposals}), CPU, arch
    )


def test_a_run_tries_what_its_preset_says() -> None:
    arch = base_arch("r18", (320, 320), region_proposals=1000)
    assert list_variants(smoke(), CPU, arch) == (), "its run time does not grow"
    assert list_variants(quick(), CPU, arch) == (), "nor does that of the generated shapes"
    assert {variant.region_proposals for variant in list_variants(quick(DATA), CPU, arch)} == {None, 200, 100, 50}
    assert [v.region_proposals for v in list_variants(paper(), CPU, arch)] == [300, 100, 50, None, 300, 100, 50]


def test_precisions_are_narrowed_and_never_widened() -> None:
    config = quick(DATA).changed({"variants.precisions": ("int8",)})
    assert choose_precisions(config, CPU) == ("fp32", "int8"), "the others are made from FP32"
    assert choose_precisions(config.changed({"variants.precisions": ("fp32",)}), CPU) == ("fp32",)
    assert choose_precisions(quick(DATA), TargetSpec("b", engine=EngineSpec(precisions=("fp16", "int8", "fp32")))) == (
        "fp32",
        "fp16",
        "int8",
    )
    with pytest.raises(InputError, match=r"target b names the precisions fp32, not 'int8'; choose .* --precisions"):
        choose_precisions(config, TargetSpec("b"))
    with pytest.raises(InputError, match="from 1 to 3840, not 0"):
        quick(DATA).changed({"variants.region_proposals": (0,)})


def test_a_run_from_before_there_were_variants_tries_none() -> None:
    values = quick(DATA).model_dump(mode="json")
    del values["variants"]
    old = parse_config(values)
    assert list_variants(old, CPU, old.base_arch()) == ()


def test_names_say_the_export() -> None:
    names = [name_export(3, variant) for variant in (PLAIN, Variant("int8"), Variant("fp32", 50), Variant("int8", 50))]
    assert names == ["student-003", "student-003-int8", "student-003-p50", "student-003-int8-p50"]
    assert name_export(0, Variant("fp16", 100)) == "base-fp16-p100"


@pytest.mark.parametrize(
    ("ms", "outcome"), [(8.0, "kept"), (9.95, "not faster"), (10.0, "not faster"), (14.0, "not faster")]
)
def test_only_what_is_measurably_faster_is_kept(ms: float, outcome: str) -> None:
    record = make_record(ms)
    tried = VariantResult(1, Variant("int8"), "made", ap=0.5)
    judged = decide(tried, make_record(10.0).to_json(), RelativeCost(2.0, record.to_json()))
    assert judged.outcome == outcome and judged.ratio == 2.0 and VariantResult.from_json(judged.to_json()) == judged
    assert (f"{10 / ms:.2f} times as fast" in judged.reason) == (outcome != "kept")


@pytest.mark.parametrize(("mj", "outcome"), [(80.0, "kept"), (99.0, "not more frugal"), (140.0, "not more frugal")])
def test_in_a_run_by_energy_what_takes_less_of_it_is_kept(mj: float, outcome: str) -> None:
    plain, other = (replace(make_record(10.0), energy=Energy(value, None, None, 9, 3.0)) for value in (100.0, mj))
    tried = VariantResult(1, Variant("int8"), "made", ap=0.5)
    judged = decide(tried, plain.to_json(), RelativeCost(1.2, other.to_json()), COSTS["energy"])
    assert judged.outcome == outcome
    assert judged.reason == ("" if outcome == "kept" else f"{mj:g} mJ an image, the plain export 100 mJ")
    assert f"1 {outcome}" in summarise_tried([judged])


def test_one_that_cannot_be_measured_is_said_and_not_kept() -> None:
    failure = MeasurementFailure("final", "m", "cpu", "no such layer")
    judged = decide(VariantResult(1, Variant("int8"), "made"), make_record(1.0).to_json(), failure)
    assert judged.outcome == "not written or measured" and judged.reason == "no latency: no such layer"
    assert summarise_tried([judged, replace(judged, outcome="kept")]) == (
        "2 other exports tried: 1 kept, 1 not written or measured"
    )
    assert summarise_tried([]) == ""
