"""Options of searches among the subnets of a super-network: the methods detnas and detofa."""

from __future__ import annotations

from optimizer.cli.option import Option, as_given
from optimizer.cli.option_values import read_limits, read_pretrain

__all__ = ["SUBNET_OPTIONS"]

SUBNET_OPTIONS = (
    Option(
        "limit",
        str,
        "detnas, detofa: the most that students may cost, as shares of the base's latency (or MACs): 0.8,0.6; or MACs "
        "of the body at 224x224, as DetNAS has it: 300M.",
        {"search.limits": read_limits},
    ),
    Option(
        "population",
        int,
        "detnas, detofa: subnets of a generation (default 50; 100 with --ranker filter).",
        as_given("search.population"),
    ),
    Option(
        "generations",
        int,
        "detnas, detofa: generations for each limit (default 20; 500 with --ranker filter).",
        as_given("search.generations"),
    ),
    Option(
        "supernet_epochs",
        int,
        "detnas, detofa: epochs that the super-network is trained; with --shrinking dwe or dew, three times as many.",
        as_given("paths.train.epochs", "ofa.train.epochs"),
    ),
    Option(
        "shrinking",
        str,
        "detofa: none draws every subnet from the first step on; dwe shrinks depth, width and inner width in turn, dew "
        "in once-for-all's order; filter is DetOFA's path filter, which chooses the subnets that are trained.",
        as_given("ofa.shrinking"),
    ),
    Option(
        "bucket",
        str,
        "detofa with --shrinking filter: what the filter's five buckets are of. flops (default, the paper's): "
        "operations of the body; latency: that of the detector on the target, predicted from a few untrained subnets "
        "which are measured before the super-network is trained.",
        as_given("ofa.filtering.bucket"),
    ),
    Option(
        "ranker",
        str,
        "detofa with --shrinking filter: what ranks the subnets that are bred. images (default): their AP on images "
        "that are kept out; filter (the paper's way, and the preset paper's): the path filter alone, and only the best "
        "of each limit is trained and evaluated.",
        as_given("ofa.filtering.ranker"),
    ),
    Option(
        "classification_paths",
        int,
        "detofa with --shrinking filter and --pretrain: subnets judged by how well they classify, that the path filter "
        "learns before any detects: a multiple of 5 from 40 on (smoke 40, quick 100, paper 10000), or 0 for none.",
        as_given("ofa.filtering.classification_paths"),
    ),
    Option(
        "coupled",
        bool,
        "detofa: whether depth and width of a stage go together (CompOFA), which leaves fewer subnets.",
        as_given("ofa.coupled"),
        switch="--coupled/--uncoupled",
    ),
    Option(
        "pretrain",
        str,
        "detnas, detofa: what the super-network's body is pre-trained on. crops (default of detnas): the objects in "
        "the training images; a folder that holds a folder of images for each class; or none (default of detofa), and "
        "detnas trains its super-network for twice as many epochs unless --supernet-epochs says how many.",
        {"paths.pretraining.images": read_pretrain, "ofa.pretraining.images": read_pretrain},
    ),
)
