"""What a teacher can teach. Not in ``__init__``, which the command line imports without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from optimizer.arch.spec import ArchSpec
from optimizer.distill.base import Distiller
from optimizer.distill.classification import Classification
from optimizer.distill.config import DistillConfig
from optimizer.distill.localization import Localization
from optimizer.distill.proposal import ProposalFeature

__all__ = ["DISTILLERS"]

DISTILLERS: Mapping[str, Callable[[ArchSpec, ArchSpec, DistillConfig], Distiller]] = {  # of student and teacher
    "feature": lambda of, by, config: ProposalFeature(of.maps[0].width, by.maps[0].width, config.feature_regions),
    "classification": lambda of, by, config: Classification(config.temperature),
    "localization": lambda of, by, config: Localization(config.class_aware),
}
