"""Does a search on real images find a student that is faster than the base and as good as the base trained as long?

    python benchmarks/joint_search.py RUN

RUN is the folder of a finished run, `--precisions fp32 --export-proposals none`: what an export gains is not a gain of
the search. Of the students on its front whose latency is at least 15 % below the base's, the
one with the best AP is picked. Then the control is trained: the base, trained further with the students' own recipe for
as many epochs as that student's lineage was. Both are exported and evaluated the same way. Writes RUN/control.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

from optimizer.config import parse_config
from optimizer.cost.macs import MacsCost
from optimizer.handover.front import find_front
from optimizer.progress import RunProgress
from optimizer.report.page import trace_lineage
from optimizer.run.images import read_data
from optimizer.search.base import Proposal, list_done
from optimizer.store.artefacts import ArtefactStore
from optimizer.store.run_store import RunStore
from optimizer.trials.evaluation import build_evaluation

LESS_LATENCY = 0.15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    folder = parser.parse_args().run
    with RunStore.open(folder) as store, tempfile.TemporaryDirectory() as scratch:
        config = parse_config(store.config)
        splits = read_data(store, config)
        trials = {trial.number: trial for trial in list_done(store.history())}
        front = find_front(store)
        fast = [n for n in front.numbers if n and front.plain[n].change <= -LESS_LATENCY]
        picked = trials[max(fast, key=lambda number: trials[number].ap)]
        rounds = len(trace_lineage(picked, trials)) - 1
        control = [trials[0]]
        artefacts = ArtefactStore(Path(scratch) / "artefacts")
        for name in (trials[0].files.weights, trials[0].files.model):
            artefacts.put_file(store.artefacts.path(name))
        evaluation = build_evaluation(config, store, splits, MacsCost(), RunProgress())
        evaluation = replace(
            evaluation,
            builder=replace(evaluation.builder, artefacts=artefacts),
            trainer=replace(evaluation.trainer, scratch=Path(scratch)),
            exporter=replace(evaluation.exporter, artefacts=artefacts, scratch=Path(scratch)),
            history=lambda: control,
        )
        for number in range(1, rounds + 1):
            trained = evaluation(number, Proposal(parent=number - 1))
            control.append(replace(trained, number=number))
            print(f"control after {trained.work.epochs_total:g} epochs: AP {trained.ap:.4f}", flush=True)
    last = control[-1]
    result = {
        "student": picked.number,
        "student_ap": picked.ap,
        "student_ap50": picked.ap50,
        "student_latency_over_base": 1 + front.plain[picked.number].change,
        "student_epochs_total": picked.work.epochs_total,
        "control_ap": last.ap,
        "control_ap50": last.ap50,
        "control_epochs_total": last.work.epochs_total,
        "base_ap": trials[0].ap,
        "control_ap_by_epochs": [[trial.work.epochs_total, trial.ap] for trial in control],
    }
    (folder / "control.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
