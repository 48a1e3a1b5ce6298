"""How long is it from a clean clone to the first line, and to the end, of `make demo`, and what disk does it take?

    python benchmarks/installation.py [--budget 10m] [--python python3.11] [--before PACKAGE]

The repository as committed is cloned into a temporary folder. pip's cache is as it is: with an empty one the network
decides. `--before` installs something first, such as a CPU build of torch, which then is not fetched with CUDA.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path

from side_by_side import Outcome, add_options, finish

ROOT = Path(__file__).resolve().parents[1]


def measure_disk(folder: Path) -> float:
    """Gigabytes of its files."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="10m", help="of the demo's search (default: 10m)")
    parser.add_argument("--python", default="python3")
    parser.add_argument("--before", default="", help="what pip installs first, such as a CPU build of torch")
    add_options(parser, "installation", 1)
    arguments = parser.parse_args()
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    with tempfile.TemporaryDirectory() as temporary:
        clone = Path(temporary) / "detopt"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        started, first = time.monotonic(), None
        if arguments.before:
            subprocess.run([arguments.python, "-m", "venv", ".venv"], cwd=clone, env=clean, check=True)
            pip = [".venv/bin/python", "-m", "pip", "install", "--quiet", *arguments.before.split()]
            subprocess.run(pip, cwd=clone, env=clean, check=True)
        command = ["make", "--silent", "demo", f"PYTHON={arguments.python}", f"BUDGET={arguments.budget}"]
        process = subprocess.Popen(
            command, cwd=clone, env=clean, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert process.stdout is not None
        for line in process.stdout:
            if first is None and not line.startswith(("WARNING", "[notice]")):
                first = time.monotonic() - started
            print(line, end="", flush=True)
        assert process.wait() == 0, f"make demo ended with {process.returncode}"
        whole = time.monotonic() - started
        outcomes = [
            Outcome("seconds from a clean clone to the first line", first or whole),
            Outcome(f"seconds from a clean clone to the end of a demo of {arguments.budget}", whole),
            Outcome("gigabytes of the environment", measure_disk(clone / ".venv")),
        ]
    finish(arguments.json, __doc__.splitlines()[0], outcomes, before=arguments.before)


if __name__ == "__main__":
    main()
