"""The end of a run: bundles of the front, all measured beside the base in one lease, and `front.json`."""

from __future__ import annotations
