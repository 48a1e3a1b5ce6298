"""Making the variants of a trial: exported with fewer region proposals, converted, evaluated, kept for the lease."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from deploy import Bundle, BundleManifest, ModelSource, open_bundle, write_bundle
from deploy.convert import convert
from deploy.errors import CompatibilityError, DeployError, EngineError, ExportError, PrecisionError
from deploy.evaluate import evaluate_artefact
from deploy.files import hash_file
from optimizer.arch.macs import count
from optimizer.cost.base import Candidate
from optimizer.handover.variants import MADE, NOT_WRITTEN, PLAIN, TOO_INACCURATE, Tried, Variant, name_export
from optimizer.search.base import DoneTrial
from optimizer.trials.evaluation import Evaluation
from optimizer.trials.export import export_model

__all__ = ["Workshop", "is_whole"]


@dataclass(frozen=True)
class Workshop:
    """Where variants wait for the lease: a folder of bundles that were not gated, removed when the run is done.

    Attributes:
        data: folder of labelled images; ranges for INT8 and FP16 are found on its training images.
        max_ap_drop: most AP that a variant may lose beside the plain export.
    """

    folder: Path
    evaluation: Evaluation
    data: Path
    max_ap_drop: float

    def make(self, trial: DoneTrial, variant: Variant) -> Tried:
        """The variant exported, evaluated, and kept as a bundle of this folder if it loses no more than it may."""
        try:
            if variant.precision == "fp32":
                bundle = self._export(trial, variant)
            else:
                source = self._have_source(trial, replace(variant, precision="fp32"))
                lost = trial.ap - source.manifest.metrics["ap"]
                if lost > self.max_ap_drop:
                    raise PrecisionError(f"with fp32 already {self._describe_loss(trial, lost)}")
                bundle = self._convert(source, trial, variant, self.max_ap_drop - lost)
        except PrecisionError as error:
            return Tried(trial.number, variant, TOO_INACCURATE, str(error))
        except (ExportError, CompatibilityError, EngineError) as error:
            return Tried(trial.number, variant, NOT_WRITTEN, str(error))
        metrics, cost = bundle.manifest.metrics, self.make_candidate(trial, variant).cost
        lost = trial.ap - metrics["ap"]
        made = Tried(
            trial.number, variant, MADE, ap=metrics["ap"], ap50=metrics["ap50"], macs=cost.macs,
            flops_mmdet=cost.flops_mmdet, model=hash_file(bundle.model),
        )  # fmt: skip
        if lost > self.max_ap_drop:
            return replace(made, outcome=TOO_INACCURATE, reason=self._describe_loss(trial, lost))
        return made

    def is_made(self, tried: Tried) -> bool:
        """Whether what was made is still there."""
        return tried.model is not None and is_whole(self.folder / tried.name)

    def open(self, tried: Tried) -> Bundle:
        return open_bundle(self.folder / tried.name)

    def make_candidate(self, trial: DoneTrial, variant: Variant) -> Candidate:
        """A variant as a cost meter takes it."""
        bundle = open_bundle(self.folder / name_export(trial.number, variant))
        cost = count(variant.change_arch(trial.arch), len(bundle.class_names))
        return Candidate(bundle.model, bundle.preprocess, cost, bundle.head, bundle.selection)

    def _export(self, trial: DoneTrial, variant: Variant) -> Bundle:
        """Another graph of the trial's weights, evaluated by the engine."""
        evaluation, arch = self.evaluation, variant.change_arch(trial.arch)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "export.onnx"
        detector = evaluation.load_detector(replace(trial, arch=arch))
        source = export_model(detector, arch, path, evaluation.target.spec)
        dataset = evaluation.val_data
        precision, _ = evaluate_artefact(
            source, dataset.class_names, dataset, evaluation.judge, evaluation.progress.note
        )
        bundle = self._write(trial, variant, source, precision.ap, precision.ap50)
        path.unlink()
        return bundle

    def _have_source(self, trial: DoneTrial, variant: Variant) -> Bundle:
        """The FP32 bundle that others are made from; its own AP has been found already."""
        folder = self.folder / name_export(trial.number, variant)
        if is_whole(folder):
            return open_bundle(folder)
        if variant != PLAIN:
            return self._export(trial, variant)
        plain = self.evaluation.candidate(trial)
        source = ModelSource(plain.model, plain.preprocess, plain.head, plain.selection)
        return self._write(trial, variant, source, trial.ap, trial.ap50)

    def _convert(self, source: Bundle, trial: DoneTrial, variant: Variant, max_ap_drop: float) -> Bundle:
        evaluation = self.evaluation
        return convert(
            source,
            variant.precision,
            self.data,
            self.folder / name_export(trial.number, variant),
            max_ap_drop=max_ap_drop,
            target=evaluation.judge,
            report=evaluation.progress.note,
        )[0]

    def _write(self, trial: DoneTrial, variant: Variant, source: ModelSource, ap: float, ap50: float) -> Bundle:
        assert source.preprocess is not None and source.head is not None
        arch = variant.change_arch(trial.arch)
        cost = count(arch, len(self.evaluation.val_data.class_names))
        manifest = BundleManifest(
            name=name_export(trial.number, variant),
            arch_id=arch.arch_id,
            arch=arch.to_json(),
            class_names=self.evaluation.val_data.class_names,
            preprocess=source.preprocess,
            head=source.head,
            selection=source.selection,
            nms=self.evaluation.target.spec.nms,
            metrics={"ap": ap, "ap50": ap50, "macs": cost.macs, "params": cost.params},
        )
        return write_bundle(self.folder / manifest.name, source.model, manifest)

    def _describe_loss(self, trial: DoneTrial, lost: float) -> str:
        return f"loses {lost:.4f} of AP {trial.ap:.4f}; allowed: {self.max_ap_drop:g} (--max-ap-drop)"


def is_whole(folder: Path) -> bool:
    """Whether there is a bundle whose every file is as it was written."""
    try:
        open_bundle(folder)
    except DeployError:
        return False
    return True
