"""Options of the command line that change a configuration: one table, from each option to what it changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optimizer.arch.families import FAMILIES
from optimizer.arch.heads import BOX_HEADS, HEADS
from optimizer.cli.option import Option, as_given
from optimizer.cli.option_values import (
    read_counts,
    read_epochs,
    read_keep,
    read_names,
    read_proposals,
    read_weights,
    unless_none,
)
from optimizer.cli.subnet_options import SUBNET_OPTIONS
from optimizer.cli.teacher_options import TEACHER_OPTIONS
from optimizer.config import MOST_EPOCHS
from optimizer.origins import ORIGINS
from optimizer.quantities import parse_bytes, parse_duration, parse_milliseconds, parse_size
from optimizer.recipes import scaled_sizes
from optimizer.track.catalogue import TRACKERS

__all__ = ["OPTIONS", "read_options"]

# Those further down win where two change the same part.
OPTIONS = (
    Option(
        "base",
        str,
        f"Detector to start from: {', '.join(FAMILIES)}; or a space and the block in each of its places: "
        "'shufflenetv2_20:2120 2112 33130031 3132'.",
        as_given("base"),
    ),
    Option(
        "target",
        list[str],
        "Device the students are for: a name or a TOML file. Name it again for further devices (--target cpu --target "
        "two-threads.toml): every student is measured on each, and none of the Pareto set is beaten on all of them. "
        "The first is the one that students are searched and scored for. Default: cpu.",
        {"target": lambda names: names[0], "further_targets": lambda names: tuple(names[1:])},
    ),
    Option("host", str, "Board of a target reached over ssh: user@board.", as_given("host")),
    Option("detector", str, f"Kind of detector: {', '.join(HEADS)}. Default: faster_rcnn.", as_given("detector")),
    Option(
        "box_head",
        str,
        f"Layers on the regions of a faster_rcnn: {', '.join(BOX_HEADS)}. fc2 (default): two fully connected layers; "
        "conv4fc1: four 3x3 convolutions with BatchNorms and one fully connected layer, as DetNAS has.",
        as_given("box_head"),
    ),
    Option(
        "method",
        str,
        "joint: students and teachers together. etp: in the teacher pool. pipeline: search, then prune, then distil. "
        "random: the baseline. pareto: students for every latency. detnas: the blocks of a ShuffleNetV2, by evolution. "
        "detofa: depths and widths of a once-for-all ResNet-50, likewise.",
        as_given("search.method"),
    ),
    *SUBNET_OPTIONS,
    *TEACHER_OPTIONS,
    Option(
        "inherit",
        bool,
        "Whether children start from their parent's weights.",
        as_given("search.inherit"),
        switch="--inherit/--no-inherit",
    ),
    Option(
        "importance",
        str,
        "What channels and layers are ranked by: bn_scale or taylor. Default: taylor for pareto, else bn_scale.",
        as_given("search.importance"),
    ),
    Option(
        "compensate",
        bool,
        "Whether layers make up for channels they no longer read. Default: for pareto only.",
        as_given("search.compensate"),
        switch="--compensate/--no-compensate",
    ),
    Option(
        "continuity",
        bool,
        "Whether children go on with their parent's optimiser moments, average and adapters. Default: method pareto.",
        as_given("search.continuity"),
        switch="--continuity/--no-continuity",
    ),
    Option(
        "elastic",
        float,
        "Of the base's training steps, the share that trains a random narrower network in its place, made of slices of "
        "its weights, so that students work before they are trained. Default: 0.",
        as_given("search.elastic"),
    ),
    Option(
        "actions",
        str,
        "Kinds of action to search over, comma-separated; with 'none' students are only trained further.",
        {"search.space.actions": unless_none(read_names)},
    ),
    Option("finetuned", int, "Students to train further after the search.", as_given("search.finetuned")),
    Option("finetune_epochs", int, "Fine-tuning epochs.", as_given("finetune.epochs")),
    Option("trials", int, "Students to try (quick: 12, on the generated images 4).", as_given("search.trials")),
    Option("budget", str, "Wall-clock limit of the whole run: 20m, 2h, 1h30m.", {"budget_s": parse_duration}),
    Option(
        "size",
        str,
        "Canvas of the base, WIDTHxHEIGHT.",
        {"input_size": parse_size, "search.space.sizes": lambda text: scaled_sizes(parse_size(text))},
    ),
    Option(
        "sizes",
        str,
        "Canvases to search over: 320x240,256x192.",
        {"search.space.sizes": lambda text: tuple(parse_size(part) for part in text.split(","))},
    ),
    Option(
        "region_proposals",
        str,
        "The base's number, then alternatives: 200,100.",
        {"region_proposals": lambda text: read_proposals(text)[0], "search.space.region_proposals": read_proposals},
    ),
    Option(
        "max_detections",
        int,
        "Most objects that an exported model puts out for an image (default 100), for images with many.",
        as_given("max_detections"),
    ),
    Option(
        "epochs",
        str,
        "Epochs the base is trained: a number, or auto: until its AP on training images that are kept out stops rising "
        f"(at most {MOST_EPOCHS}, or 0.4 of the budget). Default: auto with --data (preset quick), else a number.",
        {
            "base_epochs": lambda text: "auto" if str(text) == "auto" else "fixed",
            "base_train.epochs": lambda text: read_epochs(str(text)),
        },
    ),
    Option("trial_epochs", int, "Epochs each student is trained.", as_given("trial_train.epochs")),
    Option(
        "score",
        str,
        "Cost that is scored: latency (default), energy (of an image, where the target tells it) or macs. With "
        "latency+energy it is latency, and the front is over AP, latency and energy.",
        as_given("search.cost"),
    ),
    Option("objective", str, "harmonic (default), geometric, product, arithmetic.", as_given("search.objective")),
    Option("batch_size", int, "Images per training step.", as_given("batch_size", "pool.batch_size")),
    Option(
        "workers",
        int,
        "Processes that load images; 0 loads in the trainer. Default: up to 8 where there is a GPU, else 0.",
        as_given("workers"),
    ),
    Option(
        "weights",
        str,
        "What the base starts from: coco or imagenet (torchvision's, downloaded once), auto (coco where that fits the "
        "base, else imagenet, else none), none, or a checkpoint (.pth, .safetensors). Default: auto with --data (but "
        "for preset smoke), else none.",
        {"weights": read_weights},
    ),
    Option(
        "weights_from",
        str,
        f"Whose detector a file of --weights is: {', '.join(ORIGINS)}. Default: detectron2's and mmdetection's are "
        "known by their names. The base takes the form that such weights are for.",
        as_given("weights_from"),
        switch="--from",
    ),
    Option(
        "freeze_stages",
        int,
        "Stages of the backbone, and its stem with them, that are not trained: 0 (default) to 4. torchvision's own "
        "fine-tuning freezes 1.",
        as_given("freeze.stages"),
    ),
    Option(
        "freeze_norm",
        bool,
        "Whether BatchNorms keep the scales and statistics of the weights the base starts from, for few images.",
        as_given("freeze.norm"),
        switch="--freeze-norm/--train-norm",
    ),
    Option("base_run", Path, "A run whose trained base is taken over.", {"base_run": Path.resolve}),
    Option(
        "precision",
        str,
        "Training arithmetic: auto, fp32, bf16 or fp16.",
        as_given("base_train.precision", "trial_train.precision", "finetune.precision"),
    ),
    Option(
        "precisions",
        str,
        "Precisions of the target to export in at the end: fp32,int8; FP32 always. Each model is tried in every "
        "precision with every number of region proposals; one try costs about a minute of measuring (preset quick on "
        "your data, and paper), and three passes over the validation images.",
        {"variants.precisions": read_names},
    ),
    Option(
        "export_proposals",
        str,
        "Region proposals tried at the end, without training: 100,50; 'none': no others.",
        {"variants.region_proposals": unless_none(lambda text: read_counts("--export-proposals", text))},
    ),
    Option(
        "max_ap_drop",
        float,
        "Most AP such an export may lose compared with the plain one (default 0.01).",
        as_given("variants.max_ap_drop"),
    ),
    Option(
        "max_latency",
        str,
        "Most latency of a student on the target: 33ms. Slower ones are no candidates, and pareto aims below it.",
        {"constraints.max_latency_ms": parse_milliseconds},
    ),
    Option(
        "max_size",
        str,
        "Most that the exported model file of a student may have: 20MB, 500kB.",
        {"constraints.max_bytes": parse_bytes},
    ),
    Option(
        "max_memory",
        str,
        "Most memory that the model of a student may take while it runs on the target: 512MB. Refused where the target "
        "does not tell it (optimize targets check NAME).",
        {"constraints.max_memory_bytes": parse_bytes},
    ),
    Option(
        "min_ap",
        float,
        "Least average precision of a student on the validation images, 0 to 1.",
        as_given("constraints.min_ap"),
    ),
    Option(
        "keep",
        str,
        "Disk space for the trials' weights and models: 20GB (default), or all. Above it the files of trials go that "
        "nothing needs any more (optimize prune --help says which stay).",
        {"keep_bytes": read_keep},
    ),
    Option(
        "workers_on",
        str,
        "Where trainings are done, several at once: ray (the cluster of this machine, started where there is none) or "
        "ray://HOST:PORT. Students are measured on the target, as without. Needs detopt[ray]. Default: here.",
        {"workers_on": lambda text: None if text == "none" else text},
    ),
    Option(
        "at_once",
        int,
        "Trainings at once on workers. Default: one for each GPU of the cluster; without GPUs, one for each machine.",
        as_given("at_once"),
    ),
    Option(
        "gpus_per_trial",
        float,
        "Share of a GPU that each training on workers gets, 0 to 1 (default 1 where the cluster has GPUs).",
        as_given("trial_gpus"),
    ),
    Option(
        "shared_folder",
        bool,
        "Whether all machines of the cluster see the run's folder and the images under the same paths (default). "
        "Otherwise images, teachers and weights are sent to workers through Ray, into a folder of each one's own.",
        as_given("shared_folder"),
        switch="--shared-folder/--no-shared-folder",
    ),
    Option("seed", int, "Same seed, same trials.", as_given("seed")),
    Option(
        "track",
        str,
        f"Trackers to record the run with, comma-separated: {', '.join(TRACKERS)}. Each needs its package, which the "
        "extra of its name installs: detopt[mlflow]. Default: none.",
        {"track": read_names},
    ),
)


def read_options(chosen: Mapping[str, Any]) -> dict[str, object]:
    """The changes of a configuration that these values of options ask for; None asks for nothing.

    Raises:
        InputError: a value cannot be read; the text names the option.
    """
    return {
        path: read(chosen[option.name])
        for option in OPTIONS
        if chosen.get(option.name) not in (None, [])
        for path, read in option.changes.items()
    }
