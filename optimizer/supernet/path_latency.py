"""The latency of thousands of paths at once, as predicted from a few that were measured on the target."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from deploy.files import make_folder, write_file
from deploy.reading import read_json_object
from optimizer.arch.ofa_space import OfaSpace, OfaSubnet
from optimizer.arch.spec import ArchSpec
from optimizer.errors import InputError
from optimizer.path_filter.space import Cost, Floats, Genes, find_ends
from optimizer.search.predictor import Probe, count_features, fit_predictor
from optimizer.store.values import DAMAGE, read_list, read_mapping, read_text, read_whole

__all__ = ["MeasuredPaths", "choose_subnets"]

LIMIT = 1 << 20  # bytes of a file
OF_DEPTHS = ("backbone", "blocks")  # features that D and E change as well; the others follow from W


@dataclass(frozen=True)
class MeasuredPaths:
    """Latencies that were measured before a super-network was trained. They stay with it, as its filter's buckets do.

    Attributes:
        target: what they were measured on.
        base: the architecture that all are shares of.
        probes: those of subnets.
        num_classes: of the data set.
    """

    target: str
    base: ArchSpec
    probes: tuple[Probe, ...]
    num_classes: int

    def predict_each(self, space: OfaSpace) -> Cost:
        """The predicted latency of paths on the super-network's canvas, as a share of the base's.

        It is `LatencyPredictor.predict` of each path's detector, without making one for each.
        """
        predictor = fit_predictor(self.base, self.probes, self.num_classes)
        widths = [number for number, slot in enumerate(space.slots) if slot.kind == "width"]
        counts = tuple(len(space.slots[number].choices) for number in widths)
        smallest = find_ends(space)[0]
        rest = np.zeros(counts)
        for choices in product(*map(range, counts)):
            genes = smallest.copy()
            genes[widths] = choices
            features = count_features(space.arch(space.subnet(genes.tolist(), space.sizes[0])), self.num_classes)
            rest[choices] = predictor.weigh({**features, **dict.fromkeys(OF_DEPTHS, 0.0)})
        of_macs, of_blocks = (predictor.weigh({name: 1.0}) for name in OF_DEPTHS)

        def predict(genes: Genes) -> Floats:
            blocks = (space.tokens(genes) > 0).sum(axis=1)
            latencies: Floats = rest[tuple(genes[:, widths].T)] + of_macs * space.cost(genes) + of_blocks * blocks
            return latencies

        return predict

    def write(self, path: Path) -> None:
        """Keep it, whole or not at all."""
        make_folder(path.parent)
        content = {
            "target": self.target, "base": self.base.to_json(), "classes": self.num_classes,
            "measured": [probe.to_json() for probe in self.probes],
        }  # fmt: skip
        write_file(path, json.dumps(content).encode())

    @staticmethod
    def read(path: Path) -> MeasuredPaths:
        """What `write` kept.

        Raises:
            InputError: it is damaged.
        """
        try:
            content: Mapping[str, Any] = read_json_object(path, LIMIT)
            return MeasuredPaths(
                read_text(content["target"]),
                ArchSpec.from_json(read_mapping(content["base"])),
                tuple(Probe.from_json(read_mapping(value)) for value in read_list(content["measured"])),
                read_whole(content["classes"]),
            )
        except (InputError, *DAMAGE) as error:
            why = " ".join(str(error).split())
            raise InputError(f"{path} is damaged ({why:.120}); restore it, or train the pool anew") from error


def choose_subnets(space: OfaSpace) -> list[OfaSubnet]:
    """Subnets that tell the parts of a latency apart: the ends, and of each kind of choice all at its smallest."""
    smallest, largest = find_ends(space)
    chosen = [largest, smallest]
    for kind in ("depth", "width", "expand"):
        chosen.append(np.where([slot.kind == kind for slot in space.slots], smallest, largest))
    return [space.subnet(genes.tolist(), space.sizes[0]) for genes in chosen]
