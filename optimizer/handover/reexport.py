"""Making the variants of a trial: exported with fewer region proposals, converted, evaluated, kept for the lease."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from deploy import Bundle, ModelSource, open_bundle, write_bundle
from deploy.convert import ConversionLimits, convert
from deploy.errors import CompatibilityError, DeployError, EngineError, ExportError, PrecisionError
from deploy.files import hash_file
from optimizer.arch.macs import count
from optimizer.cost.base import Candidate
from optimizer.handover.variants import MADE, NOT_WRITTEN, PLAIN, TOO_INACCURATE, Variant, VariantResult, name_export
from optimizer.search.base import DoneTrial
from optimizer.trials.builder import Builder
from optimizer.trials.export import export_model
from optimizer.trials.exporter import Exporter
from optimizer.trials.judge import Judge

__all__ = ["VariantBuilder", "is_whole"]


@dataclass(frozen=True)
class VariantBuilder:
    """Makes variants in a folder of bundles that were not gated: there they wait for the lease.

    Attributes:
        data: folder of labelled images; ranges for INT8 and FP16 are found on its training images.
        max_ap_drop: most AP that a variant may lose compared with the plain export.
    """

    folder: Path
    builder: Builder
    exporter: Exporter
    judge: Judge
    data: Path
    max_ap_drop: float

    def make(self, trial: DoneTrial, variant: Variant) -> VariantResult:
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
            return VariantResult(trial.number, variant, TOO_INACCURATE, str(error))
        except (ExportError, CompatibilityError, EngineError) as error:
            return VariantResult(trial.number, variant, NOT_WRITTEN, str(error))
        metrics, counts = bundle.manifest.metrics, self.make_candidate(trial, variant).counts
        lost = trial.ap - metrics["ap"]
        made = VariantResult(
            trial.number, variant, MADE, ap=metrics["ap"], ap50=metrics["ap50"], macs=counts.macs,
            flops_mmdet=counts.flops_mmdet, model=hash_file(bundle.model), model_bytes=bundle.model.stat().st_size,
        )  # fmt: skip
        if lost > self.max_ap_drop:
            return replace(made, outcome=TOO_INACCURATE, reason=self._describe_loss(trial, lost))
        return made

    def is_made(self, tried: VariantResult) -> bool:
        """Whether what was made is still there."""
        return tried.model is not None and is_whole(self.folder / tried.name)

    def open(self, tried: VariantResult) -> Bundle:
        return open_bundle(self.folder / tried.name)

    def make_candidate(self, trial: DoneTrial, variant: Variant) -> Candidate:
        """A variant as a cost meter takes it: it is made for the target that decides, and measured there alone."""
        bundle = open_bundle(self.folder / name_export(trial.number, variant))
        counts = count(variant.change_arch(trial.arch), len(bundle.class_names))
        return Candidate(bundle, counts, everywhere=False)

    def _export(self, trial: DoneTrial, variant: Variant) -> Bundle:
        """Another graph of the trial's weights, evaluated by the engine."""
        arch = variant.change_arch(trial.arch)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "export.onnx"
        exporter = self.exporter
        source = export_model(self.builder.load(trial, arch), arch, path, exporter.target, exporter.max_detections)
        precision = self.judge.find_precision(source)
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
        return self._write(trial, variant, self.exporter.find(trial).source, trial.ap, trial.ap50)

    def _convert(self, source: Bundle, trial: DoneTrial, variant: Variant, max_ap_drop: float) -> Bundle:
        return convert(
            source,
            variant.precision,
            self.data,
            self.folder / name_export(trial.number, variant),
            limits=ConversionLimits(max_ap_drop),
            target=self.judge.engine,
            report=self.judge.progress.note,
            ap=source.manifest.metrics["ap"],
        )[0]

    def _write(self, trial: DoneTrial, variant: Variant, source: ModelSource, ap: float, ap50: float) -> Bundle:
        assert source.preprocess is not None and source.head is not None
        arch = variant.change_arch(trial.arch)
        counts = count(arch, len(self.exporter.class_names))
        metrics = {"ap": ap, "ap50": ap50, "macs": counts.macs, "params": counts.params}
        manifest = self.exporter.describe(name_export(trial.number, variant), arch, source, metrics)
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
