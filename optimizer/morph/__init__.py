"""Actions applied to weights: what matters in a trained detector, and what its child inherits."""

from optimizer.morph.apply import Morphed, morph
from optimizer.morph.importance import measure_importance
from optimizer.morph.inherit import inherit

__all__ = ["Morphed", "inherit", "measure_importance", "morph"]
