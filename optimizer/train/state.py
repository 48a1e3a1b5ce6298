"""What a training leaves besides the weights, so that another one goes on where it stopped instead of starting cold."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from optimizer.errors import RunFailed
from optimizer.train.tensor_files import save_tensors

__all__ = ["MODEL", "STEP", "Saved", "StateDamaged", "TrainState"]

Tensors = Mapping[str, Tensor]


class StateDamaged(RunFailed):
    """A file with the state of a training is not what was written."""


MODEL, STEP = "model.", "step."


@dataclass(frozen=True)
class TrainState:
    """The state of a training's end, on the CPU.

    Parameters are named as in the model, behind "model.", and as in a step with adapters, behind "step.".

    Attributes:
        ahead: how far the trained parameters of the model are ahead of their moving average, which the weights are;
            empty without one.
        moments: what the optimiser keeps of each parameter, by kind ("exp_avg", "step", ...).
        step: the step's state dict; empty where it has none.
        averaged: updates of the moving average so far.
        scale: of the losses in half precision; empty where there is none.
    """

    ahead: Tensors = field(default_factory=dict)
    moments: Mapping[str, Tensors] = field(default_factory=dict)
    step: Tensors = field(default_factory=dict)
    averaged: int = 0
    scale: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def capture(
        cls,
        model: nn.Module,
        step: object,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        average: AveragedModel | None,
    ) -> TrainState:
        """The state of these parts as they are; in bfloat16, which is exact enough and half as large."""
        moments: dict[str, dict[str, Tensor]] = {}
        for name, parameter in _name_parameters(model, step):
            for kind, value in optimizer.state.get(parameter, {}).items():
                if value is not None:
                    kept = value.detach().to("cpu", torch.bfloat16 if value.ndim else torch.float32, copy=True)
                    moments.setdefault(kind, {})[name] = kept
        ahead = {}
        if average is not None:
            averaged = dict(average.module.named_parameters())
            ahead = {
                name: (parameter.detach() - averaged[name].detach()).to("cpu", torch.bfloat16)
                for name, parameter in model.named_parameters()
            }
        return cls(
            ahead,
            moments,
            _copy(step.state_dict()) if isinstance(step, nn.Module) else {},
            int(average.n_averaged) if average is not None else 0,
            scaler.state_dict(),
        )

    def restore(
        self,
        model: nn.Module,
        step: object,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        average: AveragedModel | None,
    ) -> None:
        """Put new parts, whose model has the average as its weights, into this state.

        What the state does not know, or knows with another shape, starts as in a new training: adapters to another
        teacher, the loss scale of another arithmetic, moments of another optimiser.
        """
        if average is not None and self.ahead:
            average.n_averaged.fill_(self.averaged)
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    parameter.add_(self.ahead[name].to(parameter.device, parameter.dtype))
        if isinstance(step, nn.Module) and _list_shapes(step.state_dict()) == _list_shapes(self.step):
            step.load_state_dict(dict(self.step))
        wanted = "exp_avg" if isinstance(optimizer, torch.optim.AdamW) else "momentum_buffer"
        trained = {parameter for group in optimizer.param_groups for parameter in group["params"]}
        for name, parameter in _name_parameters(model, step):
            found = {kind: tensors[name] for kind, tensors in self.moments.items() if name in tensors}
            fits = all(value.shape == parameter.shape for value in found.values() if value.ndim)
            if wanted in found and fits and parameter in trained:
                optimizer.state[parameter] = {
                    kind: value.to(parameter.device, torch.float32) for kind, value in found.items()
                }
        if scaler.is_enabled() and self.scale:
            scaler.load_state_dict(dict(self.scale))

    def save(self, path: Path, weights: Tensors | None = None, notes: str = "", *, flushed: bool = True) -> None:
        """Write it, and with it the weights the training ended with, so that the file is whole or not there.

        Args:
            notes: text for whoever goes on from the file.
            flushed: whether to wait for the disk; a power cut costs a file that is not what it holds.

        Raises:
            OSError: the disk is full, or fails.
        """
        groups = {"ahead": self.ahead, "step": self.step, "weights": weights or {}}
        groups |= {f"moments/{kind}": tensors for kind, tensors in self.moments.items()}
        tensors = {f"{group}/{name}": value for group, named in groups.items() for name, value in named.items()}
        numbers = json.dumps({"averaged": self.averaged, "scale": dict(self.scale)})
        words = {"numbers": numbers, "notes": notes, "sum": _sum_up(tensors)}
        save_tensors(path, tensors, words, flushed=flushed)

    @classmethod
    def load(cls, path: Path) -> Saved:
        """A state that was saved, and what was saved with it.

        Raises:
            StateDamaged: the file is damaged.
        """
        tensors: dict[str, Tensor] = {}
        groups: dict[str, dict[str, Tensor]] = {}
        try:
            with safe_open(path, "pt") as file:
                words = file.metadata()
                numbers, notes = json.loads(words["numbers"]), words["notes"]
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            if words.get("sum", "") not in ("", _sum_up(tensors)):  # older builds wrote none
                raise ValueError("its checksum is another")
            for name, value in tensors.items():
                *group, last = name.split("/")
                groups.setdefault("/".join(group), {})[last] = value
            averaged, scale = int(numbers["averaged"]), dict(numbers["scale"])
        except (SafetensorError, OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise StateDamaged(f"{path} cannot be read ({type(error).__name__}); delete it to start over") from error
        moments = {
            name.removeprefix("moments/"): found for name, found in groups.items() if name.startswith("moments/")
        }
        state = cls(groups.get("ahead", {}), moments, groups.get("step", {}), averaged, scale)
        return Saved(state, groups.get("weights", {}), notes)


class Saved(NamedTuple):
    """A state from a file, with the weights its training ended with and notes; both may be empty."""

    state: TrainState
    weights: dict[str, Tensor]
    notes: str


def _name_parameters(model: nn.Module, step: object) -> Iterator[tuple[str, nn.Parameter]]:
    for name, parameter in model.named_parameters():
        yield MODEL + name, parameter
    if isinstance(step, nn.Module):
        for name, parameter in step.named_parameters():
            yield STEP + name, parameter


def _sum_up(tensors: Tensors) -> str:
    """A checksum of all tensors and their names; safetensors has none, and a power cut leaves holes."""
    total = 0
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        total = zlib.crc32(value.numpy().data, zlib.crc32(name.encode(), total))
    return f"{total:08x}"


def _copy(tensors: Tensors) -> dict[str, Tensor]:
    return {name: value.detach().to("cpu", copy=True) for name, value in tensors.items()}


def _list_shapes(tensors: Tensors) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in tensors.items()}
