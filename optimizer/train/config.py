"""`TrainConfig`: how a training runs, as a value that JSON can hold. No torch here, so that `--help` stays quick."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Freeze", "TrainConfig"]


class Freeze(BaseModel):
    """What a training leaves as it is.

    torchvision's references fine-tune published weights with the stem, one stage and every BatchNorm of the backbone
    frozen.

    Attributes:
        stages: 0, or how many stages of the backbone, and the stem with them.
        norm: whether every BatchNorm keeps its scale, shift and running statistics.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stages: int = Field(0, ge=0, le=4)
    norm: bool = False


class TrainConfig(BaseModel):
    """One training.

    Attributes:
        lr: learning rate after the warm-up.
        schedule: "cosine" falls to zero; "linear" too, on a straight line; "step" divides by ten at each milestone;
            "constant" stays.
        milestones: shares of the training (0..1) at which "step" divides.
        warmup_steps: steps over which the rate rises linearly from a thousandth; at most a tenth of the training.
        weight_decay: of weights; BatchNorm and biases are left out.
        clip_norm: gradients are scaled to at most this norm; 0 is off.
        ema_decay: the trained weights are an exponential moving average with this decay; 0 is off. Where the rate
            stays, the decay rises to this from a tenth, so that the first weights are soon forgotten.
        bn_l1: L1 penalty on the backbone's BatchNorm scales (Joint-DetNAS: 1e-5), which makes channels prunable.
        precision: arithmetic of the forward pass; "auto" is fp16 on a GPU, bf16 on a CPU that executes it, else fp32.
        max_bad_losses: batches in a row whose loss is not finite before the training gives up.
        checkpoint_every_s: seconds between checkpoints, which is about what a killed training has to do again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(ge=1)
    lr: float = Field(gt=0)
    optimizer: Literal["sgd", "adamw"] = "adamw"
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(1e-4, ge=0)
    schedule: Literal["cosine", "linear", "step", "constant"] = "cosine"
    milestones: tuple[float, ...] = ()
    warmup_steps: int = Field(0, ge=0)
    clip_norm: float = Field(10.0, ge=0)
    ema_decay: float = Field(0.0, ge=0, lt=1)
    bn_l1: float = Field(0.0, ge=0)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    max_bad_losses: int = Field(5, ge=1)
    checkpoint_every_s: float = Field(30.0, ge=0)
