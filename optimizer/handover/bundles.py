"""Bundles of what is handed over, each behind its gate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from deploy import Bundle, BundleManifest, write_bundle
from deploy.engines import get_engine
from optimizer.arch.spec import ArchSpec
from optimizer.cost.base import RelativeCost
from optimizer.handover.variants import VariantResult, name_export
from optimizer.search.base import DoneTrial
from optimizer.trials.builder import Builder
from optimizer.trials.export import write_student
from optimizer.trials.exporter import Exporter
from optimizer.trials.judge import Judge

__all__ = ["BundleWriter"]


@dataclass(frozen=True)
class BundleWriter:
    """Writes bundles into `folder`, each under the name of its export.

    FP32 models pass the gate of `write_student`; a converted one has no twin in PyTorch, and its gate was its AP.
    """

    folder: Path
    builder: Builder
    exporter: Exporter
    judge: Judge

    def write_plain(self, trial: DoneTrial, measured: RelativeCost) -> Path:
        """The plain export of a trial.

        Raises:
            ParityError: its model does not detect what its source detects.
        """
        metrics = {
            "ap": trial.ap,
            "ap50": trial.ap50,
            "macs": trial.counts.macs,
            "params": trial.counts.params,
            "ratio": measured.ratio,
            "latency": measured.latency,
            **(
                {"elsewhere": {target: cost.to_json() for target, cost in measured.elsewhere.items()}}
                if measured.elsewhere
                else {}
            ),
        }
        source = self.exporter.find(trial).source
        manifest = self.exporter.describe(name_export(trial.number), trial.arch, source, metrics)
        model = self.exporter.artefacts.find(trial, "model", verify=True)
        return self._write_gated(trial, trial.arch, model, manifest, trial.ap)

    def write_variant(self, trial: DoneTrial, item: VariantResult, made: Bundle) -> Path:
        """Another export of a trial, as it was made for the lease.

        Raises:
            ParityError: as for a plain one, where it is in FP32.
        """
        assert item.ap is not None
        metrics = {**made.manifest.metrics, "ratio": item.ratio, "latency": item.latency}
        manifest = replace(made.manifest, name=item.name, metrics=metrics)
        if item.variant.precision == "fp32":
            return self._write_gated(trial, item.variant.change_arch(trial.arch), made.model, manifest, item.ap)
        path = self.folder / manifest.name
        write_bundle(path, made.model, manifest)
        return path

    def _write_gated(self, trial: DoneTrial, arch: ArchSpec, model: Path, manifest: BundleManifest, ap: float) -> Path:
        """The gate is for the graph: its AP is ONNX Runtime's, asked for where another engine found `ap`."""
        by_ort = ap if get_engine(self.judge.engine.spec.engine.name).is_reference else None
        path = self.folder / manifest.name
        write_student(path, self.builder.load(trial, arch), model, manifest, self.judge.images, by_ort)
        return path
