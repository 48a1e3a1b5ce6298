"""`optimize arch`: what an architecture costs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from optimizer.arch.encoding import arch_from_encoding, encoding_from_arch
from optimizer.arch.families import (
    FAMILIES,
    PATH_SPACES,
    base_arch,
    body_from_choices,
    body_from_ofa,
    count_classifier,
    count_path,
)  # fmt: skip
from optimizer.arch.heads import BOX_HEADS, HEADS
from optimizer.arch.macs import count
from optimizer.arch.spec import ArchSpec
from optimizer.errors import InputError
from optimizer.quantities import parse_size

__all__ = ["arch"]

BLOCKS = "detnas:"  # before an encoding of blocks


def arch(
    architecture: Annotated[
        str,
        typer.Argument(
            help=f"A name ({', '.join(FAMILIES)}), a text encoding of widths, detnas: and the number of each block, or "
            "ofa_resnet50: and D, E and W, such as 'ofa_resnet50:D2 E0.35 W1,1,0.8,0.65'."
        ),
    ],
    size: Annotated[str, typer.Option(help="Canvas, WIDTHxHEIGHT.")] = "1333x800",
    detector: Annotated[str, typer.Option(help=f"Kind of detector: {', '.join(HEADS)}.")] = "faster_rcnn",
    box_head: Annotated[str, typer.Option(help=f"Of a faster_rcnn: {', '.join(BOX_HEADS)}.")] = "",
    group_widths: Annotated[
        str | None, typer.Option(help="Channels per group of an encoded ResNeXt, by original stage: 4,8,16,32.")
    ] = None,
    space: Annotated[str, typer.Option(help="Space of a detnas: encoding, where two have as many places.")] = "",
    classes: Annotated[int, typer.Option(help="Object classes.")] = 80,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Count an architecture's parameters and operations."""
    canvas = parse_size(size)
    spec, classifier = _read_architecture(architecture, canvas, detector, space, group_widths)
    if box_head:
        spec = replace(spec, head=spec.head.choose_box_head(box_head))
    cost = count(spec, classes)
    if as_json:
        values = {"params": cost.params, "macs": cost.macs, "flops_mmdet": cost.flops_mmdet}
        typer.echo(
            json.dumps({**values, "arch_id": spec.arch_id, "depths": spec.body.depths, "input_size": canvas}, indent=2)
        )
        return
    table = Table(title=f"{architecture if len(architecture) < 20 else 'encoding'} at {size}, {classes} classes")
    for column in ("params", "MACs", "FLOPs as mmdetection counts"):
        table.add_column(column, justify="right")
    table.add_row(f"{cost.params / 1e6:.2f} M", f"{cost.macs / 1e9:.2f} G", f"{cost.flops_mmdet / 1e9:.1f} G")
    console = Console()
    console.print(table)
    for line in filter(None, (classifier, encoding_from_arch(spec))):
        console.print(line, highlight=False, markup=False)


def _read_architecture(
    text: str, canvas: tuple[int, int], detector: str, space: str, group_widths: str | None
) -> tuple[ArchSpec, str]:
    """The detector, and a line on its body alone and as a classifier where the papers give those figures."""
    if text.startswith(BLOCKS):
        family, path = body_from_choices(text.removeprefix(BLOCKS), space)
        alone, whole = count_path(path, PATH_SPACES[family])
        line = f"body alone at 224x224: {alone / 1e6:.1f} M MACs; as a classifier of 1000: {whole / 1e6:.1f} M"
        return replace(base_arch(family, canvas, detector=detector), body=path), line
    if (found := body_from_ofa(text)) is not None:
        family, body = found
        alone, whole = body.count((224, 224)).macs, count_classifier(body)
        line = f"body alone at 224x224: {alone / 1e9:.4f} G MACs; as a classifier of 1000: {whole / 1e9:.4f} G"
        return replace(base_arch(family, canvas, detector=detector), body=body), line
    if text in FAMILIES or "(" not in text:
        return base_arch(text, canvas, detector=detector), ""
    groups = None if group_widths is None else _read_group_widths(group_widths)
    return arch_from_encoding(text, canvas, group_widths=groups), ""


def _read_group_widths(text: str) -> tuple[int, ...]:
    if not all(part.strip().isdigit() for part in text.split(",")):
        raise InputError(f"--group-widths takes four whole numbers such as 4,8,16,32; not {text!r}")
    return tuple(int(part) for part in text.split(","))
