"""What a browser may do with a page that this project writes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

__all__ = ["write_policy"]


def write_policy(scripts: Iterable[str]) -> str:
    """A content-security policy under which a browser runs these scripts, and nothing else, and fetches nothing."""
    digests = (hashlib.sha256(script.encode(errors="backslashreplace")).digest() for script in scripts)
    allowed = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
