"""The end of a run: which other exports it keeps, what it writes, and that it goes on where it was."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from made_trials import make_done, make_record
from narrow import narrow_arch
from rich.console import Console
from safetensors.torch import save_file

from deploy import (
    EngineSpec,
    MeasurementFailure,
    ModelSource,
    Preprocess,
    TargetSpec,
    compare,
    get_target,
    open_bundle,
)  # fmt: skip
from deploy import (
    Measured as Answer,
)
from deploy.data import read_dataset
from deploy.errors import MeasurementError
from deploy.evaluate import evaluate_artefact
from optimizer.arch.macs import Cost
from optimizer.config import parse_config
from optimizer.cost.base import Candidate, CostMeter, RelativeCost
from optimizer.cost.latency import LatencyCost
from optimizer.data.shapes import CLASS_NAMES, write_shapes
from optimizer.data.splits import Splits
from optimizer.detectors import build_detector
from optimizer.handover.front import find_front, write_front
from optimizer.handover.handover import hand_over
from optimizer.handover.state import HandOverState
from optimizer.handover.variants import (
    Variant,
    VariantResult,
    name_export,
)  # fmt: skip
from optimizer.progress import RunProgress
from optimizer.recipes import smoke
from optimizer.search.base import DoneTrial, TrialFiles
from optimizer.store.run_store import RunStore
from optimizer.trials.evaluation import build_evaluation
from optimizer.trials.export import export_model

SIZE = (128, 96)
IMAGENET = Preprocess.imagenet(*SIZE)
CPU = TargetSpec("cpu", engine=EngineSpec(precisions=("fp32", "int8")))
ANY_DROP = 0.99
DATA = Path("my_images")


@dataclass
class FixedMeter:
    """Milliseconds by a formula of the candidate, instead of a clock; fails for a candidate of None."""

    find_ms: Callable[[Candidate], float | None]
    leases: list[int] = field(default_factory=list)

    def measure(self, student: Candidate, base: Candidate) -> RelativeCost:
        found = self.measure_all({0: base, 1: student})[1]
        assert isinstance(found, RelativeCost)
        return found

    def measure_all(self, candidates: Mapping[int, Candidate]) -> dict[int, RelativeCost | MeasurementFailure]:
        self.leases.append(len(candidates))
        found: dict[int, RelativeCost | MeasurementFailure] = {}
        base = make_record(self.find_ms(candidates[0]) or 1.0)
        for number, candidate in candidates.items():
            ms = self.find_ms(candidate)
            if ms is None:
                found[number] = MeasurementFailure("final", str(candidate.source.model), "cpu", "the engine refused it")
                continue
            record = make_record(ms)
            found[number] = RelativeCost(compare(base, record).ratio, record.to_json())
        return found


def by_macs(candidate: Candidate) -> float:
    return candidate.counts.macs / 1e6


def is_int8(candidate: Candidate) -> bool:
    return "int8" in candidate.source.model.parent.name


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("shapes"), train=4, val=4, size=SIZE, seed=0)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """The folder of a run whose base and one student of three quarters of its proposals, both untrained, are there."""
    folder = tmp_path_factory.mktemp("prepared")
    changes = {"data": data, "variants.precisions": None, "variants.region_proposals": (20,)}
    config = smoke().changed({**changes, "variants.max_ap_drop": ANY_DROP})
    target = get_target("cpu")
    with RunStore.create(folder / "run", config.model_dump(mode="json")) as store:
        for number in (0, 1):
            arch = narrow_arch(SIZE, 40 - 10 * number)
            detector = build_detector(arch, len(CLASS_NAMES), seed=number)
            source = export_model(detector, arch, folder / "model.onnx", target.spec)
            dataset = read_dataset(data, "val")
            found, _ = evaluate_artefact(source, dataset.class_names, dataset, target)
            save_file(detector.state_dict(), folder / "weights")
            weights, model = map(store.artefacts.put_file, (folder / "weights", source.model))
            store.record(make_done(
                number, arch=arch, ap=found.ap, ap50=found.ap50, cost_ratio=1.0 + 0.5 * number,
                files=TrialFiles(weights, model),
            ))  # fmt: skip
        (store.folder / "scratch").mkdir()
    return store.folder


@pytest.fixture
def store(tmp_path: Path, prepared: Path) -> Iterator[RunStore]:
    """A copy of the prepared run, to be handed over."""
    shutil.copytree(prepared, tmp_path / "run")
    with RunStore.open(tmp_path / "run") as store:
        yield store


def finish(store: RunStore, meter: CostMeter, has_time: Callable[[], bool] = lambda: True, **changes: Any) -> None:
    """Hand over the run, whose configuration is changed for it."""
    config = parse_config(store.config).changed(changes)
    assert config.data is not None
    train, val = read_dataset(config.data, "train"), read_dataset(config.data, "val")
    progress = RunProgress(Console(file=io.StringIO()))
    evaluation = build_evaluation(config, store, Splits.divide(train, val), meter, progress)
    hand_over(store, config, evaluation, meter, has_time)


def read_front(store: RunStore) -> dict[str, Any]:
    write_front(store.folder / "front.json", find_front(store))
    front: dict[str, Any] = json.loads((store.folder / "front.json").read_text())
    return front


def list_outcomes(store: RunStore) -> dict[str, str]:
    return {item.name: item.outcome for item in find_front(store).tried}


def test_a_hand_over_keeps_what_is_faster(store: RunStore) -> None:
    """Fewer proposals are faster by this meter, INT8 is not: a slower graph here, and one the engine refuses there."""
    meter = FixedMeter(lambda c: by_macs(c) * 1.5 if is_int8(c) else by_macs(c))
    finish(store, meter)
    assert list_outcomes(store) == {
        "base-p20": "kept", "base-int8": "not faster", "base-int8-p20": "not faster",
        "student-001-p20": "kept", "student-001-int8": "not faster", "student-001-int8-p20": "not faster",
    }  # fmt: skip
    assert meter.leases == [8], "two plain and six other exports, in one lease"
    front = read_front(store)
    (base_variant,) = front["base_variants"]
    assert (base_variant["name"], base_variant["precision"], base_variant["region_proposals"]) == (
        "base-p20",
        "fp32",
        20,
    )
    assert not any(student["trial"] == 0 for student in front["students"])
    assert front["base"]["region_proposals"] == 40 and front["base"]["precision"] == "fp32"
    assert front["variants"]["tried"] == "6 other exports tried: 2 kept, 4 not faster"
    assert set(front["variants"]["not_kept"]) == {name for name, o in list_outcomes(store).items() if o != "kept"}
    bundle = open_bundle(store.folder / base_variant["bundle"])
    assert bundle.manifest.name == "base-p20" and bundle.manifest.metrics["gate"]["images"] == 6
    assert bundle.manifest.arch["head"]["region_proposals"] == 20 and bundle.manifest.arch_id == base_variant["arch_id"]
    dataset = read_dataset(parse_config(store.config).data, "val")
    evaluated, _ = evaluate_artefact(bundle, dataset.class_names, dataset, get_target("cpu"))
    assert evaluated.ap == bundle.manifest.metrics["ap"] == base_variant["ap"]
    assert sorted(path.name for path in (store.folder / "bundles").iterdir()) == [
        "base", "base-p20", "student-001", "student-001-p20",
    ]  # fmt: skip
    assert not list((store.folder / "scratch").iterdir())


def test_one_in_int8_that_is_faster_is_a_point_of_the_front(store: RunStore) -> None:
    meter = FixedMeter(lambda c: by_macs(c) / 3 if is_int8(c) else by_macs(c))
    finish(store, meter, **{"variants.region_proposals": ()})
    assert list_outcomes(store) == {"base-int8": "kept", "student-001-int8": "kept"}
    described = {item["name"]: item for item in read_front(store)["base_variants"]}
    entry = described["base-int8"]
    assert entry["precision"] == "int8" and entry["region_proposals"] == 40
    assert entry["latency_of_base_over_own"] == pytest.approx(3, rel=0.01)
    base = find_front(store).base
    assert base is not None and base.latency is not None
    assert entry["latency_ms"]["cpu"]["median"] == pytest.approx(base.latency.median_ms / 3, rel=0.01)
    bundle = open_bundle(store.folder / entry["bundle"])
    assert bundle.manifest.precision == "int8" and bundle.manifest.metrics["conversion"]["precision"] == "int8"
    assert bundle.manifest.metrics["latency"]["median_ms"] == entry["latency_ms"]["cpu"]["median"]
    assert {"base-int8", "student-001-int8"} & {export.name for export in find_front(store).best}


def test_one_that_loses_too_much_is_not_even_measured(store: RunStore) -> None:
    base = store.history()[0]
    store.record(replace(base, ap=(base.ap or 0.0) + 0.3))  # what its exports are compared with
    meter = FixedMeter(by_macs)
    finish(store, meter, **{"variants.max_ap_drop": 0.25})
    outcomes = list_outcomes(store)
    assert outcomes["base-p20"] == outcomes["base-int8-p20"] == "too inaccurate"
    reasons = find_front(store).reasons
    assert "allowed: 0.25 (--max-ap-drop)" in reasons["base-p20"]
    assert "with fp32 already loses" in reasons["base-int8-p20"]
    assert meter.leases == [8 - sum(outcome == "too inaccurate" for outcome in outcomes.values())]
    assert not (store.folder / "bundles" / "base-p20").exists()


def test_a_variant_that_no_engine_takes_does_not_end_the_run(store: RunStore) -> None:
    meter = FixedMeter(lambda c: None if is_int8(c) else by_macs(c))
    finish(store, meter, **{"variants.region_proposals": ()})
    assert set(list_outcomes(store).values()) == {"not written or measured"}
    assert "the engine refused it" in find_front(store).reasons["base-int8"]
    assert {number for number, export in find_front(store).plain.items() if export.bundle} == {0, 1}


def test_a_real_lease_holds_plain_exports_and_variants(store: RunStore) -> None:
    data = parse_config(store.config).data
    assert data is not None
    images = tuple(record.path for record in read_dataset(data, "val").records)
    meter = LatencyCost(get_target("cpu"), images, "quick")
    finish(store, meter)
    tried = find_front(store).tried
    kept = [item.name for item in tried if item.outcome == "kept"]
    assert all(item.outcome in ("kept", "not faster") for item in tried), "which of them is the machine's to say"
    leases = {item.latency["lease"] for item in tried if item.latency}
    measured = HandOverState.from_json(store.handover).measured
    assert measured is not None
    assert leases == {cost.latency["lease"] for cost in measured.values() if cost.latency} and len(leases) == 1
    bundles = {path.name for path in (store.folder / "bundles").iterdir()}
    assert bundles == {"base", "student-001", *kept}


def test_a_run_that_was_handed_over_before_there_were_variants_stays_as_it_is(store: RunStore) -> None:
    meter = FixedMeter(by_macs)
    plain = {"variants.precisions": ("fp32",), "variants.region_proposals": ()}
    finish(store, meter, **plain)
    assert meter.leases == [2] and find_front(store).tried == ()
    assert store.handover is not None
    old = {key: value for key, value in store.handover.items() if key != "tried"}
    store.handover = old
    before = read_front(store)
    finish(store, meter)
    assert store.handover == old and read_front(store) == before and meter.leases == [2]
    assert before["base_variants"] == [] and before["variants"] == {"tried": "", "not_kept": {}}


class Killed(BaseException):
    pass


def test_a_kill_loses_at_most_one_variant(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before the third is made, then in the lease, then at a bundle; what was done is not done again."""
    changes = {"variants.region_proposals": (20,)}
    made: list[str] = []
    from optimizer.handover import bundles as module
    from optimizer.handover.reexport import VariantBuilder

    make, write = VariantBuilder.make, module.write_student

    def make_until_third(builder: VariantBuilder, trial: DoneTrial, variant: Variant) -> VariantResult:
        if len(made) == 2:
            raise Killed
        made.append(name_export(trial.number, variant))
        return make(builder, trial, variant)

    monkeypatch.setattr(VariantBuilder, "make", make_until_third)
    meter = FixedMeter(by_macs)
    with pytest.raises(Killed):
        finish(store, meter, **changes)
    assert made == ["base-p20", "base-int8"] and list_outcomes(store) == dict.fromkeys(made, "made")
    assert find_front(store).others == (), "nothing is kept before it is measured"

    def make_all(builder: VariantBuilder, trial: DoneTrial, variant: Variant) -> VariantResult:
        made.append(name_export(trial.number, variant))
        return make(builder, trial, variant)

    monkeypatch.setattr(VariantBuilder, "make", make_all)

    def stop(candidate: Candidate) -> float:
        raise Killed

    with pytest.raises(Killed):
        finish(store, FixedMeter(stop), **changes)
    assert len(made) == len(set(made)) == 6, "none was made twice"

    def write_until_variants(folder: Path, *rest: Any) -> Any:
        if folder.name == "student-001-p20":
            raise Killed
        return write(folder, *rest)

    monkeypatch.setattr(module, "write_student", write_until_variants)
    with pytest.raises(Killed):
        finish(store, meter, **changes)
    monkeypatch.setattr(module, "write_student", write)
    finish(store, meter, **changes)
    assert meter.leases == [8] and len(made) == 6
    assert all(open_bundle(store.folder / item.bundle) for item in find_front(store).others if item.bundle)
    assert all(item.bundle for item in find_front(store).others)
    before = read_front(store)
    finish(store, meter, **changes)
    assert read_front(store) == before and meter.leases == [8], "a finished one is left alone"


def test_a_student_without_a_latency_is_an_error_and_a_base_too(data: Path) -> None:
    class Refusing:
        spec = CPU

        def __init__(self, refused: str) -> None:
            self.refused = refused

        def measure(self, subjects: Mapping[str, Any], *rest: Any, **more: Any) -> dict[str, Answer]:
            failure = MeasurementFailure("final", "m", "cpu", "it broke")
            return {name: failure if name == self.refused else make_record(1.0) for name in subjects}

    one, other = (Candidate(ModelSource(Path(name), IMAGENET), Cost()) for name in "ab")
    for refused, named in (("0", "the base"), ("1", "the student")):
        with pytest.raises(MeasurementError, match=f"no latency for {named}: it broke"):
            LatencyCost(Refusing(refused), (), "final").measure(one, other)  # type: ignore[arg-type]


def test_when_the_time_is_up_no_other_export_is_tried_and_the_rest_is_handed_over(store: RunStore) -> None:
    answers = iter([True, False])
    finish(store, FixedMeter(by_macs), lambda: next(answers))
    assert len(list_outcomes(store)) == 1, "there was time for one"
    front = find_front(store)
    assert all(export.bundle for export in front.best), "and what there is has bundles"
