"""One SQLite file per run is the truth; artefacts lie beside it under their content hash."""

from optimizer.store.artefacts import ArtefactStore
from optimizer.store.entry import DataSummary, KeptTeacher
from optimizer.store.run_store import RunStore

__all__ = ["ArtefactStore", "DataSummary", "KeptTeacher", "RunStore"]
