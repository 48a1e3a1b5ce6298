"""What a teacher can teach. Not in ``__init__``, which the command line imports without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from optimizer.arch.spec import ArchSpec
from optimizer.distill.anchor_mask import AnchorMask
from optimizer.distill.base import Distiller
from optimizer.distill.classification import Classification
from optimizer.distill.config import DistillConfig
from optimizer.distill.defeat import DecoupledBody, DecoupledClasses, DecoupledNeck
from optimizer.distill.gaussian_mask import GaussianMask
from optimizer.distill.localization import Localization
from optimizer.distill.proposal import ProposalFeature
from optimizer.distill.whole_feature import WholeFeature

__all__ = ["DISTILLERS"]

DISTILLERS: Mapping[str, Callable[[ArchSpec, ArchSpec, DistillConfig], Distiller]] = {  # of student and teacher
    "feature": lambda of, by, config: ProposalFeature(of.maps[0].width, by.maps[0].width, config.feature_regions),
    "classification": lambda of, by, config: Classification(config.temperature),
    "localization": lambda of, by, config: Localization(config.class_aware),
    "defeat": lambda of, by, config: DecoupledNeck(config.defeat.alpha_object, config.defeat.alpha_background),
    "defeat_body": lambda of, by, config: DecoupledBody(config.defeat.alpha_object, config.defeat.alpha_background),
    "defeat_classes": lambda of, by, config: DecoupledClasses(config.defeat.class_weights, config.defeat.temperatures),
    "whole_feature": lambda of, by, config: WholeFeature(),
    "anchor_mask": lambda of, by, config: AnchorMask(by.maps[0].width, config.anchor_share),
    "gaussian_mask": lambda of, by, config: GaussianMask(),
}
