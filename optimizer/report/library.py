"""The library that draws a page's charts, packed: plotly.js has 4.8 MB, and 2 MB as a browser can inflate it."""

from __future__ import annotations

import base64
import gzip
import pkgutil
from functools import lru_cache

from plotly.offline import get_plotlyjs

__all__ = ["list_library_scripts", "write_library"]

LEVEL = 6  # of compression: 9 takes longer, and gives 0.2 % less


def write_library() -> str:
    """HTML for the end of a page: the packed library, and the script that unpacks it and draws every chart."""
    return f'<script type="text/plain" id="library">{_pack_library()}</script>\n<script>{_read_script()}</script>'


def list_library_scripts() -> list[str]:
    """What a browser has to be allowed to run for that: the script of the page, and the library once it is unpacked."""
    return [_read_script(), get_plotlyjs()]


@lru_cache(maxsize=1)
def _pack_library() -> str:
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), LEVEL, mtime=0)).decode()


@lru_cache(maxsize=1)
def _read_script() -> str:
    content = pkgutil.get_data(__name__, "templates/draw_charts.js")
    assert content is not None
    return content.decode()
