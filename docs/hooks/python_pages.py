"""Reference pages of the public names of both packages: those in `__all__`, each where it is defined."""

from __future__ import annotations

import inspect

import deploy
import optimizer

__all__ = ["make_python_page", "name_homes"]

INTROS = {
    "optimizer": "A recipe gives a `RunConfig`, `optimize` runs it, `open_front` opens what came of it.",
    "deploy": "Opens bundles and models, measures them, adopts others' models. Needs numpy; an engine's library is "
    "loaded when a model is opened.",
}
PACKAGES = {"optimizer": optimizer, "deploy": deploy}


def name_homes(package: str) -> dict[str, str]:
    """Each public name, and the dotted name under which its source has it."""
    homes = {}
    for name in PACKAGES[package].__all__:
        value = getattr(PACKAGES[package], name)
        defined = inspect.isclass(value) or inspect.isfunction(value)
        homes[name] = f"{value.__module__}.{value.__qualname__}" if defined else f"{package}.{name}"
    return homes


def make_python_page(package: str) -> str:
    """Markdown for mkdocstrings: a section for each public name."""
    parts = [f"# In Python: {package}", f"{INTROS[package]} `from {package} import ...` has each of these names."]
    for name, home in name_homes(package).items():
        other = home.rpartition(".")[2]
        parts.append(f"::: {home}" if other == name else f"## {name}\n\nAnother name of [{other}][{home}].")
    return "\n\n".join(parts) + "\n"
