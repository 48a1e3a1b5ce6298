"""Trained detectors to files in the artefact store, and finished trials back to models that can be run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy import BundleManifest, ModelSource, Preprocess, TargetSpec, parse_selection
from optimizer.arch.macs import count
from optimizer.arch.spec import ArchSpec
from optimizer.cost.base import Candidate
from optimizer.detectors.base import Detector
from optimizer.search.base import DoneTrial, TrialFiles
from optimizer.store.artefacts import ArtefactStore
from optimizer.train.state import TrainState
from optimizer.train.tensor_files import save_tensors
from optimizer.trials.export import export_model

__all__ = ["Exporter"]


@dataclass(frozen=True)
class Exporter:
    """Writes what is kept of a student.

    Attributes:
        scratch: folder of files before they are stored.
        max_detections: the most that a model puts out for an image.
        target: which graph is written (its NMS, and the TensorRT releases that must take it).
    """

    artefacts: ArtefactStore
    scratch: Path
    target: TargetSpec
    class_names: tuple[str, ...]
    max_detections: int = 100

    def store(self, number: int, arch: ArchSpec, detector: Detector, state: TrainState | None = None) -> TrialFiles:
        """Export the detector, and keep its model, its weights and, where there is one, the state of its training.

        Raises:
            ExportError: no graph can be written that the target takes.
        """
        model, weights = (self.scratch / f"trial-{number}.{suffix}" for suffix in ("onnx", "safetensors"))
        source = export_model(detector, arch, model, self.target, self.max_detections)
        assert source.head is not None
        save_tensors(weights, detector.state_dict(), flushed=False)  # never through a link that someone left there
        selection = source.selection.to_json() if source.selection is not None else None
        kept = None
        if state is not None:
            path = self.scratch / f"trial-{number}.left"
            state.save(path, flushed=False)
            kept = self._keep(path)
        size = model.stat().st_size
        return TrialFiles(self._keep(weights), self._keep(model), source.head, selection, kept, size)

    def export_probe(self, number: int, arch: ArchSpec, detector: Detector) -> Candidate:
        """A model that is only measured, and by what decides: it stays in the scratch folder until `forget_probes`."""
        path = self.scratch / f"probe-{number}.onnx"
        source = export_model(detector, arch, path, self.target, self.max_detections)
        return Candidate(source, count(arch, len(self.class_names)), everywhere=False)

    def forget_probes(self) -> None:
        """Remove the models of `export_probe`."""
        for path in self.scratch.glob("probe-*.onnx"):
            path.unlink()

    def find(self, trial: DoneTrial) -> Candidate:
        """The model of a finished trial."""
        self.artefacts.find(trial, "model")
        return self.make_candidate(trial.arch, trial.files)

    def make_candidate(self, arch: ArchSpec, files: TrialFiles) -> Candidate:
        """A stored model with how it is fed and read, and its operations."""
        source = ModelSource(
            self.artefacts.path(files.model),
            Preprocess.imagenet(*arch.input_size),
            files.head,
            parse_selection(files.selection),
        )
        return Candidate(source, count(arch, len(self.class_names)))

    def describe(self, name: str, arch: ArchSpec, source: ModelSource, metrics: Mapping[str, Any]) -> BundleManifest:
        """The manifest of a bundle that holds this model."""
        assert source.preprocess is not None and source.head is not None, "a model that detects"
        return BundleManifest(
            name=name,
            arch_id=arch.arch_id,
            arch=arch.to_json(),
            class_names=self.class_names,
            preprocess=source.preprocess,
            head=source.head,
            selection=source.selection,
            nms=self.target.engine.nms,
            roi_align=self.target.engine.roi_align,
            max_detections=self.max_detections,
            metrics=dict(metrics),
        )

    def _keep(self, path: Path) -> str:
        sha256 = self.artefacts.put_file(path)
        path.unlink()
        return sha256
