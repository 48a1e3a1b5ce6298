"""`DistillConfig`: what a student learns from its teacher, as a value that JSON can hold. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["DEFEAT_RECIPES", "Decay", "DefeatConfig", "DistillConfig", "find_decay"]

Decay = Literal["constant", "linear", "cosine", "up_down"]
Weight = Annotated[float, Field(ge=0)]
RISE = 0.25  # share of a training in which "up_down" doubles


class DefeatConfig(BaseModel):
    """DeFeat's numbers (FACTS 5.4); the defaults are its author's for COCO.

    Attributes:
        alpha_object, alpha_background: what object cells and the others weigh, in neck and body.
        stages: of the body, the finest 0, that are compared.
        class_weights, temperatures: of positive proposals and of the others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha_object: Weight = 4.0
    alpha_background: Weight = 16.0
    stages: tuple[Annotated[int, Field(ge=0)], ...] = Field((1, 2, 3), min_length=1)
    class_weights: tuple[Weight, Weight] = (1.0, 1.0)
    temperatures: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (1.0, 1.0)


DEFEAT_RECIPES: Mapping[str, DefeatConfig] = {
    "coco": DefeatConfig(),
    "voc": DefeatConfig(alpha_object=3.0, alpha_background=12.0, class_weights=(2.0, 2.0)),
}


class DistillConfig(BaseModel):
    """Which distillers take part, and how.

    The first three terms are Joint-DetNAS' (supplement, A.2). Weights of 1 and a temperature of 1 are reconstructions
    there: the weights are those of a later paper of the same group. Of every other term a weight of 1 is its paper's.

    Attributes:
        weights: of each term, by its name in `optimizer.distill.catalogue`; one that is not named or 0 is left out.
            Without any a search chooses one of `optimizer.distill.sets` for each training.
        temperature: of the classification term.
        class_aware: box regression weighed with the teacher's class probabilities; otherwise plain.
        feature_regions: most regions of a batch that the feature term compares; 0 is all. Its adapter is the dearest
            part of distillation.
        teacher_canvas: "student" shows the teacher the student's canvas, "own" one of the teacher's size.
        decay: how all weights change in the course of a training: to 0 along a line or a cosine, or "up_down": to
            twice as much in its first quarter, then to 0.
        defeat: of the terms whose names begin with it. anchor_share: of the anchor mask (psi).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: dict[str, Weight] = Field({"feature": 1.0, "classification": 1.0, "localization": 1.0})
    temperature: float = Field(1.0, gt=0)
    class_aware: bool = True
    feature_regions: int = Field(0, ge=0)
    teacher_canvas: Literal["student", "own"] = "own"
    decay: Decay = "constant"
    defeat: DefeatConfig = DefeatConfig()
    anchor_share: float = Field(0.5, gt=0, lt=1)

    def to_identity(self) -> dict[str, Any]:
        """JSON that is equal for equal configurations in every release: a default is left out where it came later."""
        later = {"decay", "defeat", "anchor_share"}
        usual = {name for name in later if getattr(self, name) == type(self).model_fields[name].default}
        return self.model_dump(mode="json", exclude=usual)


def find_decay(decay: Decay, done: float) -> float:
    """What weights are multiplied by when a training has gone this far, from 0 to 1."""
    if decay == "linear":
        return 1 - done
    if decay == "cosine":
        return (1 + math.cos(math.pi * done)) / 2
    if decay == "up_down":
        return 1 + done / RISE if done < RISE else 2 * (1 - done) / (1 - RISE)
    return 1.0
