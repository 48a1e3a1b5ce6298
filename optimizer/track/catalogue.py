"""The trackers there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from optimizer.errors import InputError
from optimizer.track.base import Tracker
from optimizer.track.mlflow import Mlflow
from optimizer.track.tensorboard import TensorBoard

__all__ = ["TRACKERS", "check_trackers"]

TRACKERS: Mapping[str, type[Tracker]] = {
    "tensorboard": TensorBoard,
    "mlflow": Mlflow,
}


def check_trackers(names: Iterable[str]) -> None:
    """Import the libraries of these trackers.

    Raises:
        InputError: one is missing; the text says what to install.
    """
    for name in names:
        package = TRACKERS[name].package
        try:
            TRACKERS[name].load()
        except ImportError as error:
            raise InputError(
                f"--track {name} needs the package {package}, which cannot be imported here ({error}): "
                f"pip install {package}, or detopt[{name}]"
            ) from error
