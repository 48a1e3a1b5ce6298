"""Presets: functions that return a whole `RunConfig`. The command line changes single values of one of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from optimizer.arch.space import Space
from optimizer.config import MOST_EPOCHS, RunConfig, SearchConfig, ShapesConfig, VariantsConfig
from optimizer.distill.config import DistillConfig
from optimizer.supernet.elastic_config import ElasticRecipe
from optimizer.supernet.filter_config import Filtering
from optimizer.supernet.ofa_config import OfaRecipe
from optimizer.supernet.path_config import PathRecipe
from optimizer.supernet.pretrain_config import Pretraining
from optimizer.train.config import TrainConfig

__all__ = ["RECIPES", "distilled", "paper", "quick", "scaled_sizes", "smoke"]

PAPER_SIZES = ((512, 512), (800, 600), (1080, 720), (1333, 800))
PAPER_ACTIONS = ("prune_channels", "prune_layer", "add_layer", "rearrange", "resize")


def scaled_sizes(size: tuple[int, int], factors: tuple[float, ...] = (1.0, 0.9, 0.8)) -> tuple[tuple[int, int], ...]:
    """Canvases to search over: ``size`` and smaller ones of the same shape, sides rounded to multiples of 8."""
    width, height = size
    scaled = [size] + [(max(64, round(width * f / 8) * 8), max(64, round(height * f / 8) * 8)) for f in factors[1:]]
    return tuple(dict.fromkeys(scaled))


QUICK_DISTILL = DistillConfig(feature_regions=64, teacher_canvas="student")


def quick(data: Path | None = None) -> RunConfig:
    """The default: minutes on a CPU for the generated shapes, more for images of your own. AdamW, cosine.

    A search for a whole front; on the generated shapes with plain exports only. No teachers, as a pool that is worth
    learning from would take longer than all the rest. That steps are sized by latency, in bands of it, comes from
    benchmarks/simulated_search.py; the rate of the last training, and when there is no other, from
    benchmarks/front_quality.py.
    """
    size, region_proposals = ((128, 96), (100, 50)) if data is None else ((320, 320), (200, 100, 50))
    train = TrainConfig(epochs=5, lr=6e-4, optimizer="adamw", schedule="cosine", warmup_steps=40, weight_decay=1e-2)
    pretraining = Pretraining(
        train=train.model_copy(update={"epochs": 8, "lr": 1e-3, "schedule": "linear"}),
        size=(64, 64) if data is None else (96, 96),
        least_area=0.25,
    )
    return RunConfig(
        preset="quick",
        data=data,
        weights=None if data is None else "auto",
        input_size=size,
        region_proposals=region_proposals[0],
        shapes=ShapesConfig(train=160, val=48, size=(128, 96)),
        base_epochs="fixed" if data is None else "auto",
        base_share=0.35,
        base_train=train.model_copy(update={"epochs": 10 if data is None else MOST_EPOCHS}),
        trial_train=train.model_copy(
            update={"epochs": 1, "lr": 2e-4, "warmup_steps": 10, "bn_l1": 1e-5, "ema_decay": 0.95}
        ),
        final_protocol="screen" if data is None else "final",
        search=SearchConfig(
            method="pareto",
            trials=4 if data is None else 12,
            max_actions=2,
            teacher="none",
            finetuned=3 if data is None else 4,
            screened=4 if data is None else 8,  # of few images an epoch is short, and looking takes a good part of it
            space=Space(sizes=scaled_sizes(size), region_proposals=region_proposals),
        ),
        pool=ElasticRecipe(
            train=_phases(train, (8, 3, 5)),
            distill=QUICK_DISTILL,
            calibration_images=32,
        ),
        paths=PathRecipe(
            train=train.model_copy(update={"epochs": 12}),
            pretraining=pretraining,
            calibration_images=64,
        ),
        ofa=OfaRecipe(
            train=train.model_copy(update={"epochs": 12}),
            pretraining=pretraining.model_copy(update={"images": "none"}),
            filtering=Filtering(warm_up=0.25, paths=20, classification_paths=100),
            calibration_images=64,
        ),
        distill=QUICK_DISTILL,
        finetune=train.model_copy(update={"epochs": 6, "lr": 4e-4, "warmup_steps": 10, "ema_decay": 0.95}),
        variants=VariantsConfig() if data is None else VariantsConfig(precisions=None, region_proposals=None),
    )


def smoke(data: Path | None = None) -> RunConfig:
    """Every step of a run in little more than a minute on two cores; its figures mean nothing."""
    size = (96, 96)
    train = TrainConfig(
        epochs=1, lr=6e-4, optimizer="adamw", schedule="cosine", warmup_steps=2, checkpoint_every_s=6.0
    )  # fmt: skip
    return quick(data).model_copy(
        update={
            "preset": "smoke",
            "weights": None,
            "input_size": size,
            "region_proposals": 30,
            "batch_size": 2,
            "shapes": ShapesConfig(train=16, val=16, size=size),
            "base_epochs": "fixed",
            "base_train": train.model_copy(update={"epochs": 5}),
            "trial_train": train,
            "search": SearchConfig(
                trials=2, teacher="dynamic", space=Space(sizes=scaled_sizes(size), region_proposals=(30, 20))
            ),
            "pool": ElasticRecipe(
                train=_phases(train, (1, 1, 1)), batch_size=2, distill=QUICK_DISTILL, calibration_images=4
            ),
            "paths": PathRecipe(
                train=train,
                pretraining=Pretraining(train=train, batch_size=8, size=(32, 32)),
                batch_size=2,
                calibration_images=4,
            ),
            "ofa": OfaRecipe(
                train=train,
                pretraining=Pretraining(images="none", train=train, batch_size=8, size=(32, 32)),
                filtering=Filtering(paths=8, draws=10, fit_epochs=5, classification_paths=40),
                batch_size=2,
                calibration_images=4,
            ),
            "finetune": train,
            "variants": VariantsConfig(),
            "search_protocol": "quick",
            "final_protocol": "quick",
        }
    )


def paper(data: Path | None = None) -> RunConfig:
    """Joint-DetNAS' own numbers where the supplement states them (FLOPs-steered there, latency here).

    Stated: the pool (R101 1.5 times as wide, 48, 24 and 36 epochs at 0.12, 0.04 and 0.04, 32 GPUs of 2 images); 3
    epochs a student, cosine, learning rate 0.01, batch 4, top-5 list, student fixed for the first 5 of 100 iterations,
    alpha 0.4 (0.1 for X101), beta 0.8, L1 of 1e-5 on BatchNorm scales, four resolutions, 16 epochs of fine-tuning.
    DetNAS' super-network is pre-trained as its authors do on ImageNet: 300,000 batches of 1024 (240 epochs), at 0.5
    falling linearly, momentum 0.9, weight decay 4e-5, labels smoothed by 0.1, crops of 224x224. SyncBN is what several
    GPUs of one training use. The base's own schedule is the usual 1x (12 epochs, 0.02, steps at
    8 and 11); that the pool's rate falls at 2/3 and 11/12 of a phase is a reconstruction.
    """
    base = TrainConfig(
        epochs=12, lr=0.02, optimizer="sgd", schedule="step", milestones=(8 / 12, 11 / 12), warmup_steps=500,
        weight_decay=1e-4, bn_l1=1e-5,
    )  # fmt: skip
    return RunConfig(
        preset="paper",
        data=data,
        weights=None if data is None else "auto",
        input_size=(1333, 800),
        region_proposals=1000,
        shapes=ShapesConfig(train=2000, val=200, size=(640, 480)),
        base_train=base,
        trial_train=base.model_copy(update={"epochs": 3, "lr": 0.01, "schedule": "cosine", "milestones": ()}),
        search=SearchConfig(
            trials=100,
            fixed_trials=5,
            teacher="dynamic",
            finetuned=1,
            space=Space(sizes=PAPER_SIZES, region_proposals=(1000,), actions=PAPER_ACTIONS, round_to=1),
        ),
        pool=ElasticRecipe(
            family="r101",
            train=tuple(
                base.model_copy(update={"epochs": epochs, "lr": lr, "bn_l1": 0.0, "milestones": (2 / 3, 11 / 12)})
                for epochs, lr in ((48, 0.12), (24, 0.04), (36, 0.04))
            ),
            batch_size=64,
        ),
        paths=PathRecipe(
            train=base.model_copy(update={"milestones": (2 / 3, 8 / 9), "bn_l1": 0.0}),
            pretraining=Pretraining(
                train=TrainConfig(
                    epochs=240, lr=0.5, optimizer="sgd", schedule="linear", weight_decay=4e-5, clip_norm=0.0
                ),
                batch_size=1024,
                size=(224, 224),
            ),
            batch_size=16,
            shuffle="halves",
            calibration_images=4000,
        ),
        ofa=OfaRecipe(  # DetOFA's for COCO: Adam, 10 and 60 epochs; 2000 images and pre-training are once-for-all's
            train=TrainConfig(epochs=70, lr=5e-4, optimizer="adamw", weight_decay=0.0, schedule="cosine"),
            pretraining=Pretraining(
                train=TrainConfig(epochs=185, lr=0.65, optimizer="sgd", schedule="cosine", weight_decay=3e-5),
                batch_size=512,
                size=(224, 224),
            ),
            shrinking="filter",
            filtering=Filtering(warm_up=10 / 70, ranker="filter", classification_paths=10_000),
            batch_size=64,
            calibration_images=2000,
        ),
        distill=DistillConfig(teacher_canvas="own"),
        finetune=base.model_copy(update={"epochs": 16, "lr": 0.01, "schedule": "cosine", "milestones": ()}),
        variants=VariantsConfig(precisions=None, region_proposals=(50, 100, 300, 1000)),
    )


def distilled(config: RunConfig, student: str, teacher: Path) -> RunConfig:
    """A recipe without its search: one student of a family is trained as a base is, and taught by one teacher.

    Args:
        teacher: a run (its best detector), a detector of one (``runs/first/student-004``), or a file of weights of the
            recipe's base.
    """
    return config.changed(
        {
            "search.method": "distill",
            "search.student": student,
            "search.teacher": teacher,
            "search.trials": 1,
            "search.finetuned": 0,
            "search.space.actions": (),
            "distill.teacher_canvas": "student",
        }
    )


def _phases(train: TrainConfig, epochs: tuple[int, int, int]) -> tuple[TrainConfig, TrainConfig, TrainConfig]:
    """Training of the super-network, and of the two shrinking phases at half its learning rate."""
    slower = train.model_copy(update={"lr": train.lr / 2, "warmup_steps": min(train.warmup_steps, 10)})
    return (
        train.model_copy(update={"epochs": epochs[0]}),
        slower.model_copy(update={"epochs": epochs[1]}),
        slower.model_copy(update={"epochs": epochs[2]}),
    )


RECIPES: dict[str, Callable[[Path | None], RunConfig]] = {"smoke": smoke, "quick": quick, "paper": paper}
