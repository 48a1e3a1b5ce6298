"""Actions applied to weights: what matters in a trained detector, and what its child inherits."""

from optimizer.morph.apply import Morphed, morph
from optimizer.morph.compensate import Moments, compensate, measure_moments
from optimizer.morph.importance import measure_importance
from optimizer.morph.inherit import inherit
from optimizer.morph.saliency import measure_gates, measure_saliency, spread_gates
from optimizer.morph.slices import ask_child

__all__ = [
    "Moments",
    "Morphed",
    "ask_child",
    "compensate",
    "inherit",
    "measure_gates",
    "measure_importance",
    "measure_moments",
    "measure_saliency",
    "morph",
    "spread_gates",
]
