"""The findings about a model as text of 80 columns, and as JSON."""

from __future__ import annotations

import textwrap
from collections import Counter
from dataclasses import asdict
from typing import Any, Mapping, Sequence

from deploy.builders.compatibility import BLOCKING, SEVERITIES, Finding, fits_release
from deploy.builders.releases import RELEASES, RTX, find_release

__all__ = ["describe_findings", "findings_json", "summarise_blocking"]

COLUMNS = 80
ORDER = (*RELEASES, RTX.version)
NAMED = 3  # nodes of one kind in a summary
CLOSING = "Compared with what is documented of each release; no TensorRT was run."


def describe_findings(title: str, findings: Mapping[str, Sequence[Finding]]) -> str:
    """One verdict per release, then each thing found once, with the nodes and the releases it is about."""
    lines = [title, "", _row("TensorRT", "runs on", *SEVERITIES, "fits")]
    for version, found in findings.items():
        counts = Counter(finding.severity for finding in found)
        numbers = [str(counts[severity]) for severity in SEVERITIES]
        release = find_release(version)
        assert release is not None
        lines.append(_row(version, release.runs_on, *numbers, "yes" if fits_release(found) else "no"))
    blocks: dict[tuple[str, str, str, str], dict[str, list[str]]] = {}
    for found in findings.values():
        for finding in found:
            key = (finding.severity, finding.op, finding.reason, finding.advice)
            versions = blocks.setdefault(key, {}).setdefault(finding.node, [])
            versions.append(finding.version)
    for severity in SEVERITIES:
        for key, nodes in blocks.items():
            if key[0] == severity:
                lines.extend(_describe_block(key, nodes))
    used = [severity for severity in SEVERITIES if any(key[0] == severity for key in blocks)]
    lines.extend(["", *(f"{severity + ':':<8} {SEVERITIES[severity]}" for severity in used), CLOSING])
    return "\n".join(part for line in lines for part in _wrap(line, 9 if line.split(":")[0] in SEVERITIES else 0))


def findings_json(findings: Mapping[str, Sequence[Finding]]) -> dict[str, Any]:
    """By release: whether it fits, and every finding."""
    return {
        version: {"fits": fits_release(found), "findings": [_finding_json(finding) for finding in found]}
        for version, found in findings.items()
    }


def _finding_json(finding: Finding) -> dict[str, str]:
    """Its fields; the severity is called "level" there, as in every release so far."""
    fields: dict[str, str] = asdict(finding)
    return {"level" if name == "severity" else name: value for name, value in fields.items()}


def summarise_blocking(findings: Sequence[Finding]) -> str:
    """One line of what is in the way: releases, nodes, why, and what to do; empty where nothing is."""
    blocks: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    for finding in findings:
        if finding.severity in BLOCKING:
            nodes = blocks.setdefault((finding.op, finding.reason, finding.advice), {})
            nodes.setdefault(finding.node, []).append(finding.version)
    parts = []
    for (op, reason, advice), nodes in blocks.items():
        versions = [version for version in ORDER if any(version in found for found in nodes.values())]
        names = [name for name in nodes if name]
        shown = ", ".join(names[:NAMED])
        if len(names) > NAMED:
            shown += f" and {len(names) - NAMED} more"
        where = f"{op} {shown}".strip()
        parts.append(f"TensorRT {', '.join(versions)}: {where}: {reason}; {advice}")
    return ". ".join(parts)


def _row(version: str, runs_on: str, *cells: str) -> str:
    numbers = "".join(f"{cell:>8}" for cell in cells)
    return f"{version:<9}{runs_on:<28}{numbers}"


def _describe_block(key: tuple[str, str, str, str], nodes: Mapping[str, Sequence[str]]) -> list[str]:
    severity, op, reason, advice = key
    versions = [version for version in ORDER if any(version in found for found in nodes.values())]
    count = "" if len(nodes) == 1 else f" ({len(nodes)} nodes)"
    head = f"{severity:<8} {op}{count}, on {', '.join(versions)}"
    lines = ["", head]
    names = [name for name in nodes if name]
    for label, text in (("node", ", ".join(names)), ("why", reason), ("do", advice)):
        if text:
            lines.append("\n".join(_wrap(f"  {label:<6} {text}", 9)))
    return lines


def _wrap(text: str, indent: int) -> list[str]:
    """Lines of at most `COLUMNS`; a name longer than that is broken."""
    if "\n" in text or len(text) <= COLUMNS:
        return [text]
    return textwrap.wrap(text, COLUMNS, subsequent_indent=" " * indent, break_on_hyphens=False)
