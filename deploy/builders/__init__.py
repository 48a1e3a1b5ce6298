"""What stands between an exported graph and an engine that runs it on a device."""

from __future__ import annotations
