"""Chains of actions that are sized by latency: how a saving is split is drawn, how far each action goes is found."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import lru_cache
from itertools import pairwise
from random import Random
from typing import Any, TypeAlias

from optimizer.arch.edits import Action, IllegalAction, Importance
from optimizer.arch.space import Space, legal_actions
from optimizer.arch.spec import ArchSpec
from optimizer.search.predictor import LatencyPredictor, count_features, fit_predictor

__all__ = [
    "Chain",
    "apply_chain",
    "choose_probes",
    "draw_split",
    "find_least",
    "is_saving",
    "list_savings",
    "shrink_fully",
    "size_chain",
    "spread_importance",
]

Chain: TypeAlias = tuple[Action, ...]
Price: TypeAlias = Callable[[ArchSpec], float]

BISECTIONS = 6
DOUBLINGS = 8
MOST = 0.7  # of a width, by one action
RATIO_STEPS = 50  # ratios are multiples of 1 / 50: as fine as rounded widths, and the same edits come up again
PROBE_RATIO = 0.5
PROBE_LAYERS = 2
WEIGHT_FLOOR = 0.01  # of a kind in a split: what is drawn thinner than this is left out


def is_sized(action: Action) -> bool:
    """Whether an action may go any distance, by its field `ratio`; the others do one thing."""
    return any(field.name == "ratio" for field in fields(action))  # type: ignore[arg-type]


def is_saving(action: Action | type[Any]) -> bool:
    """Whether an action (or all of its class) is there to make a network faster; the others move or add blocks."""
    return action.prunes or action.of_canvas


def apply_chain(arch: ArchSpec, chain: Chain) -> ArchSpec | None:
    """What actions come to where every group of channels loses the same share; None where one is illegal."""
    for action in chain:
        try:
            arch = _apply(arch, action)
        except IllegalAction:
            return None
    return arch


@lru_cache(maxsize=50_000)
def _apply(arch: ArchSpec, action: Action) -> ArchSpec:
    return action.apply(arch, spread_importance(arch)).child


@lru_cache(maxsize=1000)
def spread_importance(arch: ArchSpec) -> Importance:
    """By which every group of channels loses the same share, and all blocks matter alike."""
    widths = {name: group.width for group in arch.body.channel_groups() for name in group.names}
    return Importance(
        channels={name: tuple((channel + 1) / width for channel in range(width)) for name, width in widths.items()},
        blocks={(stage, block): 1.0 for stage, block, _ in arch.body.blocks()},
    )


def list_savings(arch: ArchSpec, chain: Chain, predictor: LatencyPredictor) -> list[float] | None:
    """ln(latency before / after) of each action of a chain, as predicted; None where the chain is illegal."""
    features = _trace_features(arch, chain, predictor.num_classes)
    if features is None:
        return None
    latencies = [predictor.weigh(of) for of in features]
    return [math.log(before / after) for before, after in pairwise(latencies)]


@lru_cache(maxsize=100_000)
def _trace_features(arch: ArchSpec, chain: Chain, num_classes: int) -> list[Mapping[str, float]] | None:
    """The features of an architecture and of what each action makes of it; None where one is illegal."""
    steps = [apply_chain(arch, chain[:length]) for length in range(len(chain) + 1)]
    known = [step for step in steps if step is not None]
    return [count_features(step, num_classes) for step in known] if len(known) == len(steps) else None


def draw_split(kinds: Sequence[str], sensitivities: Mapping[str, float], rng: Random) -> dict[str, float]:
    """How a saving is split over kinds of action: more to those by which a saving costs less.

    How much that counts is drawn too, from not at all to in inverse proportion, so that no kind is forgotten.
    """
    trust = rng.random()
    weights = {kind: rng.gammavariate(1.0, 1.0) / sensitivities[kind] ** trust for kind in kinds}
    total = sum(weights.values())
    return {kind: weight / total for kind, weight in weights.items() if weight >= WEIGHT_FLOOR * total}


def size_chain(
    arch: ArchSpec,
    aim: float,
    split: Mapping[str, float],
    space: Space,
    predictor: LatencyPredictor,
    first: Action | None = None,
) -> Chain:
    """Actions after which the predicted latency is as near to `aim` as this split of the saving can take it.

    At most one of each kind, and none where nothing helps. Actions that do one thing are chosen first, each the nearest
    to its part of the saving; the others then go as far as is missing, by bisection.

    Args:
        aim: latency as a share of the base's.
        split: weight of each kind that may be used.
        first: an action that moves or adds a block, which comes before all others; no block is then left out.
    """

    def saving(actions: Sequence[Action]) -> float:
        savings = list_savings(arch, _order(first, actions), predictor)
        return -math.inf if savings is None else sum(savings)

    missing = math.log(predictor.predict(arch) / aim)
    legal = [action for action in legal_actions(arch, space) if is_saving(action) and action.kind in split]
    if first is not None:
        legal = [action for action in legal if is_sized(action) or action.of_canvas]
    sized = [action for action in legal if is_sized(action)]
    chosen: list[Action] = []
    for kind in dict.fromkeys(action.kind for action in legal if not is_sized(action)):
        options: list[list[Action]] = [
            [],
            *([action] for action in legal if action.kind == kind and saving([action]) > 0),
        ]
        if sized:  # which must not have to make up for a step too far
            options = [option for option in options if not option or saving([*chosen, *option]) <= missing]
        wanted = missing * (split[kind] if sized else 1)
        nearest: list[Action] = min(options, key=lambda option: abs(saving(option) - wanted) if option else wanted)
        chosen += nearest
    rates = {action: split[action.kind] / slope for action in sized if (slope := _slope(action, saving([action]))) > 0}
    tried = [chosen]
    if rates:
        low, high = 0.0, (missing - max(saving(chosen), 0)) / sum(split[action.kind] for action in rates)
        tried.append([*chosen, *_stretch(rates, high)])
        while saving(tried[-1]) < missing and len(tried) < DOUBLINGS:
            low, high = high, 2 * high
            tried.append([*chosen, *_stretch(rates, high)])
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            tried.append([*chosen, *_stretch(rates, middle)])
            low, high = (low, middle) if saving(tried[-1]) >= missing else (middle, high)
    best = min(tried, key=lambda actions: abs(saving(actions) - missing))
    return _order(first, best) if saving(best) > 0 else ()


def _slope(action: Any, saving: float) -> float:
    """How steeply latency falls with the width that an action prunes: d ln(latency) / d ln(width)."""
    return saving / -math.log(1 - action.ratio)


def _stretch(rates: Mapping[Action, float], way: float) -> list[Action]:
    """Each action at the ratio that it has after `way`; left out where that rounds to nothing."""
    ratios = {
        action: min(round((1 - math.exp(-way * rate)) * RATIO_STEPS) / RATIO_STEPS, MOST)
        for action, rate in rates.items()
    }
    return [_with_ratio(action, ratio) for action, ratio in ratios.items() if ratio > 0]


def _with_ratio(action: Any, ratio: float) -> Action:
    changed: Action = replace(action, ratio=ratio)
    return changed


def _order(first: Action | None, actions: Sequence[Action]) -> Chain:
    """Blocks, then widths, then what the network is shown."""
    ordered = sorted(actions, key=lambda action: (action.of_canvas, is_sized(action)))
    return tuple(ordered) if first is None else (first, *ordered)


def find_least(arch: ArchSpec, space: Space, predictor: LatencyPredictor) -> float:
    """The least latency, as predicted, that one action of each kind can lead to."""
    return predictor.predict(_shrink(arch, space, predictor.predict))


def shrink_fully(arch: ArchSpec, space: Space, price: Price) -> ArchSpec:
    """The cheapest that actions of a space make of an architecture, each kind in turn until none makes it cheaper."""
    smaller = _shrink(arch, space, price)
    while price(smaller) < price(arch):
        arch, smaller = smaller, _shrink(smaller, space, price)
    return arch


def _shrink(arch: ArchSpec, space: Space, price: Price) -> ArchSpec:
    """The cheapest that one action of each kind, one after the other, makes of an architecture."""
    legal = [action for action in legal_actions(arch, space) if is_saving(action)]
    for kind in dict.fromkeys(action.kind for action in legal):
        options = [_with_ratio(a, MOST) if is_sized(a) else a for a in legal if a.kind == kind]
        children = [child for option in options if (child := apply_chain(arch, (option,))) is not None]
        arch = min([arch, *children], key=price)
    return arch


def choose_probes(base: ArchSpec, space: Space) -> list[Chain]:
    """Chains of actions on the base that tell the parts of its latency apart: far along one kind of action each."""
    predictor = fit_predictor(base, ())
    legal = [action for action in legal_actions(base, space) if is_saving(action)]
    chains: list[Chain] = []
    for kind in dict.fromkeys(action.kind for action in legal):
        options = [action for action in legal if action.kind == kind]
        if is_sized(options[0]):
            options = [_with_ratio(options[0], PROBE_RATIO)]
        savings = {option: (list_savings(base, (option,), predictor) or [0.0])[0] for option in options}
        farthest = max(options, key=lambda option: savings[option])
        again = (farthest,) * PROBE_LAYERS
        layers = not is_sized(farthest) and not farthest.of_canvas and apply_chain(base, again) is not None
        if savings[farthest] > 0:
            chains.append(again if layers else (farthest,))
    return chains
