"""`DistillConfig`: what a student learns from its teacher, as a value that JSON can hold. No torch here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["DistillConfig"]


class DistillConfig(BaseModel):
    """Which distillers take part, and how.

    The three terms are Joint-DetNAS' (supplement, A.2). Weights of 1 and a temperature of 1 are reconstructions: the
    weights are those of a later paper of the same group.

    Attributes:
        weights: of each term, by its name in `optimizer.distill.catalogue`; one that is not named or 0 is left out.
        temperature: of the classification term.
        class_aware: box regression weighed with the teacher's class probabilities; otherwise plain.
        feature_regions: most regions of a batch that the feature term compares; 0 is all. Its adapter is the dearest
            part of distillation.
        teacher_canvas: "student" shows the teacher the student's canvas, "own" one of the teacher's size.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {"feature": 1.0, "classification": 1.0, "localization": 1.0}, min_length=1
    )
    temperature: float = Field(1.0, gt=0)
    class_aware: bool = True
    feature_regions: int = Field(0, ge=0)
    teacher_canvas: Literal["student", "own"] = "own"
