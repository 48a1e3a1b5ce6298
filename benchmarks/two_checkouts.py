"""Did a change cost anything? Export, latency and training step of R18 at 320x240 by two checkouts, in turns.

    python benchmarks/two_checkouts.py ../before . --rounds 5 --out runs/two-checkouts

Each round is one process per checkout, in turns, so that a machine that drifts does so for both. Ratios are of medians,
second checkout over first. The losses of the steps are compared too: a refactor gives equal numbers for equal seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

SIZE = (320, 240)
BATCH, STEPS, RUNS = 4, 6, 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", type=Path, nargs=2, metavar="CHECKOUT", help="folders of the two versions")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/two-checkouts"))
    arguments = parser.parse_args()
    rounds: list[list[dict[str, Any]]] = [[], []]
    for _ in range(arguments.rounds):
        for side, checkout in enumerate(arguments.checkouts):
            rounds[side].append(ask(checkout.resolve()))
    rows = {
        name: [median(found[name] for found in side) for side in rounds] for name in ("export_s", "infer_ms", "step_s")
    }
    print("| what | first | second | second / first |")
    print("|---|---|---|---|")
    for name, (first, second) in rows.items():
        print(f"| {name} | {first:.4g} | {second:.4g} | {second / first:.3f} |")
    same = all(found["losses"] == rounds[0][0]["losses"] for side in rounds for found in side)
    print(f"losses of {STEPS} steps are {'equal to the last bit' if same else 'NOT equal'}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "two_checkouts.json").write_text(json.dumps(rounds, indent=1) + "\n")


def ask(checkout: Path) -> dict[str, Any]:
    """What a process that imports this checkout alone measures."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-c", CHILD]
    answer = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return found


CHILD = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from two_checkouts import measure
measure()
"""


def measure() -> None:
    """Prints one JSON object; in a process that has this project's packages from one checkout."""
    import numpy as np
    import onnxruntime
    import torch

    from deploy.export import export_onnx
    from optimizer.arch.families import base_arch
    from optimizer.detectors import Truth, build_detector
    from optimizer.train.steps import DetectionStep

    detector = build_detector(base_arch("r18", SIZE, region_proposals=300), 3, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        began = time.perf_counter()
        export_onnx(detector, SIZE, path)
        export_s = time.perf_counter() - began
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        feed = {"images": np.random.default_rng(0).normal(size=(1, 3, SIZE[1], SIZE[0])).astype(np.float32)}
        times = []
        for _ in range(RUNS):
            began = time.perf_counter()
            session.run(None, feed)
            times.append((time.perf_counter() - began) * 1000)
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn((BATCH, 3, SIZE[1], SIZE[0]), generator=generator)
    boxes = torch.tensor([[20.0, 30.0, 120.0, 140.0], [150.0, 60.0, 280.0, 200.0]])
    truths = [Truth(boxes, torch.tensor([0, 2]))] * BATCH
    detector.train()
    optimizer = torch.optim.SGD(detector.parameters(), lr=1e-3)
    steps, losses, step = [], [], DetectionStep()
    for _ in range(STEPS):
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        total = sum(step(detector, images, truths).values())
        total.backward()
        optimizer.step()
        steps.append(time.perf_counter() - began)
        losses.append(float(total))
    found = {"export_s": export_s, "infer_ms": median(times[10:]), "step_s": median(steps[1:]), "losses": losses}
    print(json.dumps({**found, "torch": torch.__version__, "onnxruntime": onnxruntime.__version__}))


if __name__ == "__main__":
    main()
