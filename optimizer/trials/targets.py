"""The targets of a run: the one that its students are searched for, and further ones that they are measured on too."""

from __future__ import annotations

from dataclasses import replace

from deploy import get_target
from deploy.targets import LINKS, Target, read_target
from optimizer.config import RunConfig
from optimizer.cost.energy import name_energy
from optimizer.errors import InputError

__all__ = ["open_targets"]


def open_targets(config: RunConfig) -> tuple[Target, ...]:
    """The run's targets, the one that decides first. Its ``host`` is that of the one which is a board.

    Raises:
        InputError: as `get_target`; two have the same name, one takes another graph than the first, or the host could
            be that of several.
    """
    names = config.targets
    hosts = dict.fromkeys(range(len(names)), "")
    if config.host:
        boards = [place for place, name in enumerate(names) if read_target(name).link.kind == "ssh"]
        if len(boards) > 1:
            listed = " and ".join(names[place] for place in boards)
            raise InputError(
                f"--host {config.host} may be {listed}; write the host of each into your hosts file or its target's "
                "file instead (docs/using.md)"
            )
        hosts[boards[0] if boards else 0] = config.host
    targets = tuple(get_target(name, hosts[place]) for place, name in enumerate(names))
    _require_different(found := [target.spec.name for target in targets])
    if config.search.cost_kind.has_energy_axis and (axis := name_energy(found[0])) in found:
        raise InputError(f"a target is called {axis!r}, as the energy of {found[0]!r} is: give it another name")
    for target in targets[1:]:
        _require_same_graph(targets[0], target)
    return (_ask_more(targets[0], config), *targets[1:])


def _ask_more(target: Target, config: RunConfig) -> Target:
    """The target, which measures besides latencies what the run needs to know."""
    if not config.asked_of_target:
        return target
    also = tuple(dict.fromkeys((*target.spec.measuring.also, *config.asked_of_target)))
    spec = replace(target.spec, measuring=replace(target.spec.measuring, also=also))
    return LINKS[spec.link.kind](spec)


def _require_different(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"two targets are called {name!r}, and latencies are told apart by that; give one a file with another "
                "name in it"
            )


def _require_same_graph(first: Target, other: Target) -> None:
    """Students are exported once, for the first."""
    for what, own, wanted in (
        ("nms", first.spec.engine.nms, other.spec.engine.nms),
        ("roi_align", first.spec.engine.roi_align, other.spec.engine.roi_align),
    ):
        if own != wanted:
            raise InputError(
                f"students are exported once for all targets of a run, and target {other.spec.name!r} takes {what} = "
                f"{wanted!r} where {first.spec.name!r} takes {own!r}; search for it in a run of its own, or give both "
                f"files the same {what}"
            )
