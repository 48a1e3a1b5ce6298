"""What `mkdocs` cannot know of this repository: pages made by code, pages outside `docs/`, drawings as part of a page.

A link is written relative to the file that it stands in. Here it is turned into one of the site; what the site does not
have, such as source code, becomes plain text. A link that leads nowhere stays, and the build fails.
"""

from __future__ import annotations

import posixpath
import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from command_pages import make_deploy_page, make_optimize_page
from mkdocs.structure.files import File, Files
from python_pages import make_python_page

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "deploy/README.md", "optimizer/README.md")
FOLDERS = ("benchmarks/*.md", "benchmarks/reports/*.md", "benchmarks/reports/*.png", "benchmarks/reports/*.svg")


def make_history_page() -> str:
    """Charts of the reports' figures over time, by `benchmarks/history.py`."""
    spec = spec_from_file_location("history", ROOT / "benchmarks" / "history.py")
    assert spec is not None and spec.loader is not None
    history = sys.modules.setdefault("history", module_from_spec(spec))
    spec.loader.exec_module(history)
    body = history.make_body(history.list_points([history.REPORTS]))
    intro = "A point per report; the dashed line is what was wanted."
    return f'# History of the reports\n\n{intro}\n\n<div class="history">\n{body}\n</div>\n'


MADE = {
    "benchmarks/history.md": make_history_page,
    "commands/optimize.md": make_optimize_page,
    "commands/deploy.md": make_deploy_page,
    "python/optimizer.md": lambda: make_python_page("optimizer"),
    "python/deploy.md": lambda: make_python_page("deploy"),
}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|mailto:|#)([^)#\s]*)(#[\w-]*)?\)")
DRAWING = re.compile(r'<img alt="([^"]*)" src="[^"]*/?drawings/(\w+)\.svg"\s*/?>')


def on_files(files: Files, config: Any) -> Files:
    for source, place in list_outside().items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    for place, make in MADE.items():
        files.append(File.generated(config, place, content=make()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    return turn_links(markdown, page.file.src_uri) if page.file.src_uri not in MADE else markdown


def on_page_content(html: str, **_: Any) -> str:
    """Drawings become part of the page, so that they take its colours, light or dark."""
    return DRAWING.sub(lambda found: read_drawing(found[2], found[1]), html)


def list_outside() -> dict[str, str]:
    """Files of the repository that the site has besides `docs/`: where each is, and where it goes."""
    found = [*OUTSIDE, *(str(path.relative_to(ROOT)) for pattern in FOLDERS for path in sorted(ROOT.glob(pattern)))]
    return {source: "index.md" if source == "README.md" else source for source in found}


def turn_links(markdown: str, place: str) -> str:
    """Links of a page, from those of the repository to those of the site."""
    outside = list_outside()
    source = next((source for source, known in outside.items() if known == place), f"docs/{place}")

    def turn(found: re.Match[str]) -> str:
        mark, text, path, anchor = found[1], found[2], found[3], found[4] or ""
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path)) if path else source
        if (ROOT / target).is_dir():
            target = f"{target}/README.md"
        if target.startswith("docs/"):
            there = target.removeprefix("docs/")
        elif target in outside:
            there = outside[target]
        elif (ROOT / target).exists():
            return text
        else:
            return found[0]
        return f"{mark}[{text}]({posixpath.relpath(there, posixpath.dirname(place) or '.')}{anchor})"

    kept = re.split(r"(^```.*?^```|`[^`\n]*`(?!\]))", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(LINK.sub(turn, part) if number % 2 == 0 else part for number, part in enumerate(kept))


def read_drawing(name: str, text: str) -> str:
    """A drawing without its own colours, which are for those who see it outside the site."""
    drawing = (ROOT / "docs" / "concepts" / "drawings" / f"{name}.svg").read_text()
    drawing = re.sub(r"<style>.*?</style>", "", drawing, flags=re.DOTALL)
    shown = drawing.replace("<svg ", f'<svg class="drawing" role="img" aria-label="{text}" ', 1)
    return f'<span class="drawing-frame">{shown}</span>'
