"""What a target wants of an export: its variant of NMS, as far as the bundle, and what its TensorRT takes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from made_trials import make_done
from narrow import narrow_arch
from safetensors.torch import save_file
from torch import Tensor

from deploy import BundleManifest, Detector, EngineSpec, TargetSpec, get_target, open_bundle
from deploy.builders.releases import RELEASES
from deploy.data import Dataset, read_dataset, read_image
from deploy.errors import ExportError, InputError
from deploy.evaluate import evaluate_artefact
from deploy.targets.spec import NMS_VARIANTS
from optimizer.cost.macs import MacsCost
from optimizer.data.shapes import CLASS_NAMES, write_shapes
from optimizer.data.splits import Splits
from optimizer.detectors import Detector as TorchDetector
from optimizer.detectors import build_detector
from optimizer.detectors.base import Prediction
from optimizer.handover.handover import hand_over
from optimizer.progress import RunProgress
from optimizer.recipes import smoke
from optimizer.run.run import start_run
from optimizer.search.base import TrialFiles
from optimizer.store.artefacts import ArtefactStore
from optimizer.store.run_store import RunStore
from optimizer.trials.evaluation import build_evaluation
from optimizer.trials.export import check_export, export_model, write_student
from optimizer.trials.exporter import Exporter

SIZE = (128, 96)
ONLY_OPSET_16 = replace(RELEASES["8.6"], highest_opset=16)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return read_dataset(write_shapes(tmp_path_factory.mktemp("shapes"), train=1, val=4, size=SIZE, seed=0), "val")


@pytest.mark.parametrize(("nms", "roi_align"), [*((nms, "op") for nms in NMS_VARIANTS), ("matrix", "grid")])
def test_the_variant_of_a_target_reaches_the_bundle_and_its_detector(
    nms: str, roi_align: str, images: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text(f'name = "mine"\nthreads = 1\nnms = "{nms}"\nroi_align = "{roi_align}"\n')
    target, arch = get_target(str(tmp_path / "mine.toml")), narrow_arch(SIZE)
    detector = build_detector(arch, len(CLASS_NAMES), seed=0)
    source = export_model(detector, arch, tmp_path / "model.onnx", target.spec)
    precision, _ = evaluate_artefact(source, images.class_names, images, target)
    save_file(detector.state_dict(), tmp_path / "weights")
    config = smoke().changed({"target": str(tmp_path / "mine.toml"), "search.cost": "macs"})
    with RunStore.create(tmp_path / "run", config.model_dump(mode="json")) as store:
        weights, model = map(store.artefacts.put_file, (tmp_path / "weights", source.model))
        files = TrialFiles(weights, model, source.head, source.selection.to_json() if source.selection else None)
        store.record(make_done(arch=arch, ap=precision.ap, ap50=precision.ap50, files=files))
        evaluation = build_evaluation(config, store, Splits.divide(images, images), MacsCost(), RunProgress())
        hand_over(store, config, evaluation, MacsCost())
    bundle = open_bundle(tmp_path / "run" / "bundles" / "base")
    assert (
        (bundle.manifest.nms, bundle.manifest.roi_align) == (nms, roi_align)
        and bundle.head == source.head
        and bundle.selection == source.selection
    )
    assert (bundle.selection is not None) == (nms == "raw")
    gate = bundle.manifest.metrics["gate"]
    assert (
        gate["images"] == 6 and gate["detections"] > 20 and gate["ap_pytorch"] == pytest.approx(precision.ap, abs=1e-3)
    )
    image = read_image(images.records[0].path)
    with Detector(bundle, 1) as one, Detector(source, 1) as other:
        assert one(image).scores.tolist() == other(image).scores.tolist() != []


@pytest.mark.parametrize("nms", NMS_VARIANTS)
def test_images_with_many_objects_may_have_more_detections(nms: str, images: Dataset, tmp_path: Path) -> None:
    """Through gate and bundle: the first 100 are PyTorch's, and the bundle says how many there may be."""
    (tmp_path / "mine.toml").write_text(f'name = "mine"\nthreads = 1\nnms = "{nms}"\n')
    target, arch = get_target(str(tmp_path / "mine.toml")), narrow_arch(SIZE, region_proposals=200)
    detector = build_detector(arch, len(CLASS_NAMES), seed=0)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    found = {}
    for most in (100, 250):
        exporter = Exporter(ArtefactStore(tmp_path / "artefacts"), scratch, target.spec, images.class_names, most)
        files = exporter.store(0, arch, detector)
        source = exporter.make_candidate(arch, files).source
        manifest = exporter.describe(f"of-{most}", arch, source, {})
        bundle = write_student(tmp_path / f"of-{most}", detector, source.model, manifest, images, None)
        assert bundle.manifest.max_detections == most
        with Detector(bundle, 1) as runtime:
            found[most] = runtime(read_image(images.records[0].path))
    assert len(found[100]) == 100 < len(found[250]) <= 250
    assert found[250].scores[:100].tolist() == pytest.approx(found[100].scores.tolist(), abs=1e-5)


def test_the_gate_looks_at_each_image_once_in_pytorch(
    images: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arch = narrow_arch(SIZE)
    detector, target = build_detector(arch, len(CLASS_NAMES), seed=0), get_target("cpu")
    source = export_model(detector, arch, tmp_path / "model.onnx", target.spec)
    assert source.preprocess is not None and source.head is not None
    manifest = BundleManifest(
        name="one", arch_id="", arch={}, class_names=images.class_names, preprocess=source.preprocess,
        head=source.head, metrics={},
    )  # fmt: skip
    looked: Counter[bytes] = Counter()
    detect = type(detector).detect

    def watch(self: TorchDetector, canvases: Tensor) -> list[Prediction]:
        looked[canvases.numpy().tobytes()] += 1
        return detect(self, canvases)

    monkeypatch.setattr(type(detector), "detect", watch)
    bundle = write_student(tmp_path / "one", detector, source.model, manifest, images, None)
    assert len(looked) >= len(images.records) + 2 and set(looked.values()) == {1}
    assert bundle.manifest.metrics["gate"]["images"] == len(images.records) + 2


def test_an_export_is_checked_against_the_release_of_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arch = narrow_arch(SIZE)
    detector = build_detector(arch, 3, seed=0)
    monkeypatch.setitem(RELEASES, "8.6", ONLY_OPSET_16)  # type: ignore[arg-type]
    for target in (TargetSpec("new", engine=EngineSpec(tensorrt="10.3")), TargetSpec("cpu")):
        assert export_model(detector, arch, tmp_path / "model.onnx", target).head == "detections"
    for target in (TargetSpec("old", engine=EngineSpec(tensorrt="8.6")), TargetSpec("any", engine=EngineSpec("trt"))):
        with pytest.raises(ExportError, match=rf"target {target.name}: TensorRT 8\.6: model: opset 17; .*export with"):
            export_model(detector, arch, tmp_path / "model.onnx", target)


def test_a_base_whose_export_no_engine_takes_is_refused_by_an_untrained_one() -> None:
    arch = narrow_arch((512, 512), region_proposals=3900)
    with pytest.raises(InputError, match="3900 best of a list; TopK takes at most 3840"):
        check_export(arch, 3, TargetSpec("board", engine=EngineSpec("trt")))
    check_export(arch, 3, TargetSpec("cpu"))  # nothing is exported for a target without TensorRT


def test_a_run_refuses_before_any_work_what_the_board_would_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "board.toml").write_text('name = "board"\ntensorrt = "8.6"\n')
    monkeypatch.setitem(RELEASES, "8.6", ONLY_OPSET_16)  # type: ignore[arg-type]
    config = smoke().changed({"target": str(tmp_path / "board.toml")})
    with pytest.raises(InputError, match=r"does not suit target board: TensorRT 8\.6: model: opset 17"):
        start_run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
