"""Whether what is needed of a student can be had from a search space at all, before students are trained for it."""

from __future__ import annotations

import math

from optimizer.arch.macs import count
from optimizer.config import RunConfig
from optimizer.errors import InputError
from optimizer.search.base import DoneTrial
from optimizer.search.constraints import BYTES_OF_A_PARAMETER
from optimizer.search.predictor import Probe, fit_predictor
from optimizer.search.sizing import shrink_fully

__all__ = ["check_size", "explain_unreachable"]

DOUBT = 0.1  # of the least latency predicted: what is missed by less may turn out to be in reach


def check_size(config: RunConfig, num_classes: int) -> None:
    """Refuse, before any work, a size of the model, as a file or in memory, that no student's weights fit into.

    The smallest is found kind by kind of action, and of subnets of a super-network nothing is said.

    Raises:
        InputError: even the smallest is larger.
    """
    most = config.constraints.most_weight_bytes
    if most == math.inf or config.search.in_pool or not config.search.trials:
        return
    arch = config.trained_arch()
    smallest = shrink_fully(arch, config.search.space, lambda child: count(child, num_classes).params)
    least = BYTES_OF_A_PARAMETER * count(smallest, num_classes).params
    if least > most:
        flag = "--max-size" if most == config.constraints.max_bytes else "--max-memory"
        raise InputError(
            f"no student can have {most / 1e6:g} MB: the smallest that this search makes of "
            f"{config.trained_family} has about {least / 1e6:.3g} MB; raise {flag}, allow more --actions, or start "
            "from a smaller --base"
        )


def explain_unreachable(config: RunConfig, base: DoneTrial, probes: tuple[Probe, ...], num_classes: int) -> str | None:
    """Why no student can be as fast as is asked for, and what could be reached; None where one may be.

    Asked of methods that predict latencies before they train; the others find out by measuring.
    """
    most_ms = config.constraints.max_latency_ms
    if most_ms is None or base.figures is None or not config.search.aims or not config.search.trials:
        return None
    if not config.search.cost_kind.is_latency:
        return None
    predictor = fit_predictor(base.arch, probes, num_classes)
    least = predictor.predict(shrink_fully(base.arch, config.search.space, predictor.predict))
    if least * (1 - DOUBT) <= config.constraints.find_ceiling(base.figures.median_ms):
        return None
    return (
        f"no student can be as fast as {most_ms:g} ms: the least that this search could reach is about "
        f"{least * base.figures.median_ms:.3g} ms, {least:.2f} of the base's latency; raise --max-latency, allow more "
        "--actions or smaller canvases (--sizes), or start from a faster --base"
    )
