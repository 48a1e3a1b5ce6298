"""The page in every state a run can be in: whole, self-contained, and safe whatever a data set calls its files."""

from __future__ import annotations

import base64
import gzip
import hashlib
import importlib.util
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from made_trials import make_done
from PIL import Image
from plotly.offline import get_plotlyjs
from report_pages import BASE, EXPORT, FAILED, NOT_BEGUN, PENDING, PRUNED, RECORD, SMALL, Text, make_data, page
from rich.console import Console

from optimizer.arch import PruneChannels, base_arch
from optimizer.errors import InputError
from optimizer.handover.front import make_front
from optimizer.handover.state import HandOverState
from optimizer.handover.variants import Variant, VariantResult
from optimizer.report.console import front_table
from optimizer.report.page import Picture, trace_lineage, write_report
from optimizer.search.base import FailedTrial, PendingTrial, Proposal, ScreenedTrial, Work
from optimizer.search.costs import COSTS
from optimizer.search.latency import FurtherCost


def test_what_all_latencies_are_warned_of_is_said_once(tmp_path: Path) -> None:
    hot = {**RECORD, "flags": ["a busy machine", "it was hot"]}
    content = page(tmp_path, make_data([BASE, replace(PRUNED, latency=hot), SMALL]))
    assert content.count("a busy machine") == 1 and content.count("it was hot") == 1
    (tmp_path / "report.html").unlink()
    content = page(tmp_path, make_data([replace(BASE, latency={**RECORD, "flags": []}), replace(PRUNED, latency=hot)]))
    assert content.count("a busy machine; it was hot") == 1


def test_before_the_base_is_trained(tmp_path: Path) -> None:
    content = page(tmp_path, make_data([]))
    assert "The base is not trained yet." in content
    assert 'http-equiv="refresh"' in content, "a page of a running search reloads itself"


def test_with_the_base_alone(tmp_path: Path) -> None:
    text = str(Text(page(tmp_path, make_data([BASE]))))
    assert "0 / 6 students tried" in text and "0.400 AP of the base" in text


def test_students_that_were_trained_at_the_end_alone_were_tried_too(tmp_path: Path) -> None:
    further = make_done(2, Proposal(1, finetune=True), ap=0.42)
    joined = replace(SMALL, number=3, proposal=replace(SMALL.proposal, finetune=True))
    text = str(Text(page(tmp_path, make_data([BASE, PRUNED, further]))))
    assert "1 / 6 students tried" in text, "what is trained further is no new student"
    assert "2 students tried" in str(Text(page(tmp_path, make_data([BASE, PRUNED, further, joined]))))


def test_a_finished_run(tmp_path: Path) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    content = page(tmp_path, make_data(
        [BASE, PRUNED, SMALL, FAILED], HandOverState(bundles={1: "bundles/student-001"}), finished=True,
        status="finished", pictures=[Picture("a.jpg", picture.getvalue(), picture.getvalue())],
    ))  # fmt: skip
    parsed, text = Text(content), str(Text(content))
    assert 'http-equiv="refresh"' not in content
    assert "base (beaten)" in text and "student-001" in text and "-17 %" in text
    assert "prune channels (52 of 480 channels of the backbone)" in text, "its lineage"
    assert "the loss was not finite 5 times in a row" in text and "a busy machine" in text
    assert {"href": "bundles/student-001"} in [values for tag, values in parsed.tags if tag == "a"]
    assert sum(tag == "img" for tag, _ in parsed.tags) == 2


def test_other_exports_are_listed_with_what_became_of_the_rest(tmp_path: Path) -> None:
    slower = VariantResult(0, Variant("int8"), "not faster", "0.9 times as fast", ap=0.4, ap50=0.7)
    of_base = replace(EXPORT, trial=0, variant=Variant("fp32", 50), ap=0.39, ratio=1.5)
    tried = {item.name: item for item in (EXPORT, slower, of_base)}
    content = page(tmp_path, make_data([BASE, PRUNED], HandOverState((0, 1), tried)))
    parsed, text = Text(content), str(Text(content))
    assert "3 other exports tried: 2 kept, 1 not faster" in text and "base-int8: not faster: 0.9 times as fast" in text
    assert "student-001-int8-p50 int8 50 0.415 0.690 10.2" in text and "-50 %" in text and "base-p50 (beaten)" in text
    assert {"href": "bundles/student-001-int8-p50"} in [values for tag, values in parsed.tags if tag == "a"]
    assert "prune channels (52 of 480" in text, "the lineage of the student whose other export is on the front"
    assert "other exports" not in str(Text(page(tmp_path, make_data([BASE])))).lower()


def test_a_trial_in_hand_is_said_to_be_in_hand(tmp_path: Path) -> None:
    assert "in hand" in str(Text(page(tmp_path, make_data([BASE, PENDING]))))


def test_every_target_has_a_chart_and_columns(tmp_path: Path) -> None:
    name = "a <b>board</b>"
    hot = {**RECORD, "target": name, "median_ms": 41.04, "flags": ["it was hot"]}
    base = replace(BASE, elsewhere={name: FurtherCost(1.0, {**hot, "median_ms": 61.54})})
    pruned = replace(PRUNED, elsewhere={name: FurtherCost(1.5, hot)})
    content = page(tmp_path, make_data([base, pruned, FAILED]))
    parsed, text = Text(content), str(Text(content))
    assert "<b>board" not in content and f"AP AP50 cpu, ms 95 % p99 vs base {name}, ms (95 %) vs base GMAC" in text
    assert "41.0 (20.1-20.9) -33 %" in text and f"times as fast {name}, ms times as fast score" in text
    assert f"On {name}, all: it was hot" in text and content.count("it was hot") == 1
    charts = [values.get("id") for tag, values in parsed.tags if tag == "div"]
    assert "front" in charts and "front-0" in charts
    table = content.split("Every trial")[1].split("</table>")[0]
    rows = re.findall(r"<tr[^>]*>.*?</tr>", table, re.DOTALL)
    widths = {len(re.findall("<t[dh]", row)) for row in rows if "colspan" not in row}
    assert widths == {11}
    assert 'colspan="7"' in content, "of a failed trial"
    volume = "0.0228" if importlib.util.find_spec("moocore") else "was not found: it takes moocore"
    assert f"Hypervolume {'of the front ' if volume[0] == '0' else ''}over AP and all 2 costs" in text
    assert volume in text


def test_energy_beside_latency_has_a_chart_and_a_column(tmp_path: Path) -> None:
    trials = []
    for trial, ratio in ((BASE, 1.0), (PRUNED, 1.5)):
        record = {**RECORD, "energy": {"gross_mj": 300.0 / ratio}, "flags": ["it was hot"]}
        costs = {"energy on cpu": FurtherCost(ratio, record, "energy")}
        trials.append(replace(trial, latency=record, elsewhere=costs))
    front = make_front(trials, NOT_BEGUN, kind=COSTS["latency+energy"])
    content = page(tmp_path, make_data([*trials, FAILED], front=front))
    text = str(Text(content))
    assert "AP AP50 cpu, ms 95 % p99 vs base energy on cpu, mJ vs base GMAC" in text and "200.0 -33 %" in text
    assert "times as fast energy on cpu, mJ times as frugal score" in text and "energy on cpu, mJ" in content
    assert "On energy" not in text, "warnings of that lease are said once"
    assert "front-0" in [values.get("id") for tag, values in Text(content).tags if tag == "div"]


def test_a_run_that_counts_operations_says_that_nothing_was_measured(tmp_path: Path) -> None:
    trials = [replace(trial, latency=None) for trial in (BASE, PRUNED)]
    text = str(Text(page(tmp_path, make_data(trials))))
    assert (
        "Nothing was measured" in text
        and "its MACs compared with the base" in text
        and "its latency" not in text
        and "latency, ms" not in text
    )


def test_a_run_by_energy_shows_it_beside_the_latency(tmp_path: Path) -> None:
    trials = [
        replace(trial, latency={**RECORD, "energy": {"gross_mj": 300.0 / trial.cost_ratio}}) for trial in (BASE, PRUNED)
    ]
    front = make_front(trials, NOT_BEGUN, kind=COSTS["energy"])
    content = page(tmp_path, make_data([*trials, FAILED], front=front))
    text = str(Text(content))
    assert "Accuracy against energy" in text and "its energy compared with the base" in text
    assert "latency, ms 95 % p99 mJ vs base" in text and "250.0 -17 %" in text and "ms times as frugal" in text
    table = content.split("The Pareto set")[1].split("</table>")[0]
    assert {len(re.findall("<t[dh]", row)) for row in table.split("<tr")[1:] if "colspan" not in row} == {13}


def test_it_needs_nothing_but_itself(tmp_path: Path) -> None:
    for tag, values in Text(page(tmp_path, make_data([BASE, PRUNED]))).tags:
        for name in ("src", "href", "action", "data"):
            assert not re.match(r"(https?:)?//", values.get(name) or ""), (tag, values)
        assert tag != "link"


def test_names_from_outside_are_text_and_not_markup(tmp_path: Path) -> None:
    harmful = "<script>alert(1)</script>"
    failed = FailedTrial(1, Proposal(0), harmful)
    data = make_data([BASE, failed], title=harmful, status=harmful, settings={harmful: harmful},
                     pictures=[Picture(harmful, b"", b"")])  # fmt: skip
    content = page(tmp_path, data)
    assert harmful not in content and content.count("&lt;script&gt;alert(1)") >= 5


def test_a_browser_runs_only_the_scripts_that_we_wrote(tmp_path: Path) -> None:
    """No handler, no `javascript:`, nothing fetched: should a name ever get through as markup, it does nothing."""
    content = page(tmp_path, make_data([BASE, PRUNED], seconds_by_part={"training": 80.0}))
    [policy] = [values["content"] for tag, values in Text(content).tags
                if values.get("http-equiv") == "Content-Security-Policy"]  # fmt: skip
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'" and "unsafe" not in rules["script-src"] and "http" not in policy
    scripts = re.findall(r"<script( [^>]*)?>(.*?)</script>", content, re.DOTALL)
    [(_, packed)] = [item for item in scripts if 'id="library"' in item[0]]
    run = [text for attributes, text in scripts if "type=" not in attributes]
    run.append(gzip.decompress(base64.b64decode(packed)).decode())
    allowed = [f"'sha256-{base64.b64encode(hashlib.sha256(item.encode()).digest()).decode()}'" for item in run]
    assert len(run) == 2 and set(rules["script-src"].split()) == set(allowed), "the page's own, and what it unpacks"
    assert run[1] == get_plotlyjs() and len(content) < 3e6
    charts = [text for attributes, text in scripts if 'class="chart"' in attributes]
    assert len(charts) == 4 and all("<" not in text and json.loads(text)["data"] for text in charts)
    assert content.index("Content-Security-Policy") < content.index("<script")
    assert "\r" not in content, "a browser would hash another text than we did"


@pytest.mark.slow
@pytest.mark.parametrize("inflates", [True, False])
def test_a_real_browser_draws_every_chart_or_says_what_it_lacks(tmp_path: Path, inflates: bool) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium: apt-get install chromium")
    content = page(tmp_path, make_data([BASE, PRUNED], finished=True))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=60000", "--dump-dom"]
    flags += [f"--user-data-dir={tmp_path / 'browser'}"]
    place = tmp_path / "report.html"
    if not inflates:
        policy = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
        place.write_text(policy.sub("<script>delete window.DecompressionStream</script>", content))
    shown = subprocess.run(
        [browser, *flags, place.as_uri()], check=True, capture_output=True, text=True, timeout=300
    ).stdout
    drawn = len(re.findall(r'<div id="[^"]+"[^>]*class="[^"]*js-plotly-plot', shown))
    assert drawn == (content.count('class="chart"') if inflates else 0)
    assert ("The charts need a browser that" in shown) is not inflates


@pytest.mark.parametrize("place", ["javascript:alert(1)", "../../elsewhere", "/etc", "bundles/../..", "bundles/a\n", 3])
def test_a_bundle_that_is_not_in_the_run_is_refused(place: object) -> None:
    with pytest.raises(InputError, match="not where a bundle of it can be"):
        HandOverState.from_json({"bundles": {"1": place}})
    with pytest.raises(InputError, match="not where a bundle of it can be"):
        HandOverState.from_json({"tried": {"a": {**EXPORT.to_json(), "bundle": place}}})
    state = HandOverState((0, 1), {EXPORT.name: EXPORT}, bundles={1: "bundles/student-001"})
    assert HandOverState.from_json(state.to_json()) == state


def test_names_that_are_not_utf8_are_shown_escaped(tmp_path: Path) -> None:
    odd = "street\udc80\ud800.jpg"
    content = page(tmp_path, make_data([BASE], settings={"data": odd}, pictures=[Picture(odd, b"", b"")]))
    assert content.count("street\\udc80\\ud800.jpg") == 4 - 1


def test_the_old_page_stays_until_the_new_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = page(tmp_path, make_data([BASE]))

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError):
        write_report(tmp_path / "report.html", make_data([BASE, PRUNED]))
    assert (tmp_path / "report.html").read_text() == before


def test_a_lineage_runs_from_the_base_to_the_student() -> None:
    by_number = {trial.number: trial for trial in (BASE, PRUNED, SMALL)}
    assert [trial.number for trial in trace_lineage(SMALL, by_number)] == [0, 1, 2]


def test_the_table_of_the_front_fits_a_terminal_of_80_columns() -> None:
    done = [BASE, PRUNED, SMALL]
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(front_table(make_front(done, NOT_BEGUN)))
    lines = console.export_text().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert [line.split()[0] for line in lines[2:]] == ["student-001", "base", "student-002"]
    assert "20.5 (20.1-20.9)" in lines[3] and "(beaten)" in lines[3] and "-17%" in lines[2]
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(front_table(make_front(done, HandOverState((0, 1, 2), {EXPORT.name: EXPORT}))))
    last = console.export_text().splitlines()[-1]
    assert len(last.rstrip()) <= 80 and last.split()[0] == "student-001-int8-p50" and "10.2 (10.0-10.4)" in last


def test_a_base_in_training_shows_its_curve_and_says_if_it_was_still_gaining(tmp_path: Path) -> None:
    judged = ((4, 0.31), (5, 0.36), (6, 0.37))
    over, short = (replace(BASE.work, judged=judged, still_gaining=gaining) for gaining in (False, True))
    assert "The base in training" not in page(tmp_path, make_data([BASE]))
    done = page(tmp_path, make_data([replace(BASE, work=over)]))
    assert "The base in training" in done and "still gaining" not in done
    assert "The base was still gaining when its time was up" in page(tmp_path, make_data([replace(BASE, work=short)]))


def test_a_screened_student_is_listed_with_its_ap_and_is_on_no_chart(tmp_path: Path) -> None:
    proposal = Proposal(0, (PruneChannels(0.1, 8, 32),), epochs=0)
    screened = ScreenedTrial(3, proposal, BASE.arch, 0.987, 0.99, BASE.counts, 2.6)
    trials = [BASE, PRUNED, SMALL]
    plain = page(tmp_path, make_data(trials))
    (tmp_path / "report.html").unlink()
    content = page(tmp_path, make_data([*trials, screened]))
    assert "0.987" in content and "not trained; on images kept out of training" in str(Text(content))
    assert content.count("<circle") == plain.count("<circle")


def test_a_page_with_many_screenings_folds_them_round_by_round(tmp_path: Path) -> None:
    looks = [
        ScreenedTrial(
            number, Proposal(0, (PruneChannels(0.1, 8, number),), epochs=0, aim=0.562), BASE.arch, 0.2 + number / 1000,
            0.5, BASE.counts, 2.6,
        )
        for number in range(1, 201)
    ]  # fmt: skip
    trained = replace(PRUNED, number=201, proposal=replace(looks[-1].proposal, epochs=1))
    further = replace(SMALL, number=202, proposal=Proposal(201, epochs=2))
    content = page(tmp_path, make_data([BASE, *looks, trained, further]))
    parsed, text = Text(content), str(Text(content))
    assert sum(tag == "details" for tag, _ in parsed.tags) == 1
    assert not any(tag == "details" and "open" in values for tag, values in parsed.tags)
    assert (
        "200 screened: children of the base, aimed at 0.56 of the base's latency; best AP 0.400; trial 200 was "
        "trained, as trial 201" in text
    )
    outside = str(Text(re.sub(r"<details>.*?</details>", "", content, flags=re.DOTALL)))
    assert "0.256" in text and "0.256" not in outside, "the AP of one that was screened"
    assert "aims at 0.56 of the base's latency rung 1" in outside and "trained further rung 2" in outside
    assert "Dotted lines mark" in text


def test_what_failed_or_waits_in_a_round_is_said_in_it(tmp_path: Path) -> None:
    harmful = "<script>alert(1)</script>"
    proposal = Proposal(1, (PruneChannels(0.1, 8, 32),), epochs=0, aim=0.75)
    content = page(tmp_path, make_data([BASE, PRUNED, FailedTrial(2, proposal, harmful), PendingTrial(3, proposal)]))
    assert harmful not in content and "&lt;script&gt;alert(1)" in content
    assert "2 screened: children of trial 1, aimed at 0.75 of the base's latency; none could be screened" in str(
        Text(content)
    )
    [fold] = re.findall(r"<details>.*?</details>", content, re.DOTALL)
    assert "in hand" in fold


def test_a_run_without_screenings_has_no_rounds_aims_or_rungs(tmp_path: Path) -> None:
    content = page(tmp_path, make_data([BASE, PRUNED, SMALL, FAILED, PENDING]))
    text = str(Text(content))
    assert not any(tag == "details" for tag, _ in Text(content).tags)
    for word in ("screen", "aims at", "rung", "Dotted lines"):
        assert word not in re.sub("the base and screenings included", "", text), word
    assert "How the front grew" in text and "Where the time went" not in text


def test_the_time_of_a_run_is_split_and_summed_up_in_words(tmp_path: Path) -> None:
    text = str(
        Text(page(tmp_path, make_data([BASE], seconds_by_part={"training": 60.0, "screening": 15.0, "AP": 25.0})))
    )
    assert "Training and screening took 75 % of the time" in text
    assert "How the front grew" not in text, "there is nothing to see with the base alone"
    (tmp_path / "report.html").unlink()
    text = str(Text(page(tmp_path, make_data([BASE], seconds_by_part={"training": 60.0, "AP": 40.0}))))
    assert "Training took 60 % of the time" in text


def test_one_student_of_one_teacher_is_listed_and_handed_over_though_its_teacher_beats_it(tmp_path: Path) -> None:
    taken = "taken over from <b>runs/first</b>"
    teacher = replace(BASE, proposal=Proposal(None, (), "the teacher, as it is"), work=Work(9, 3, changes=(taken,)))
    whole = Proposal(None, (), "r18, taught by the base", arch=base_arch("r18", (96, 96)))
    judged = Work(6, 20, changes=("weights of imagenet",), judged=((4, 0.2), (6, 0.3)))
    student = replace(SMALL, number=1, proposal=whole, ap=0.3, cost_ratio=0.9, work=judged)
    state = HandOverState((0, 1), bundles={0: "bundles/base", 1: "bundles/student-001"})
    front = make_front([teacher, student], state, asked_for=[1])
    assert [export.name for export in front.best] == ["base"] and [e.name for e in front.beaten] == ["student-001"]
    [listed] = front.to_json()["students"]
    assert (listed["name"], listed["bundle"], listed["on_front"]) == ("student-001", "bundles/student-001", False)
    content = page(tmp_path, make_data([teacher, student], front=front))
    text = str(Text(content))
    assert "student-001 (beaten)" in text and "1: r18, taught by the base (weights of imagenet)" in text
    assert "the teacher, as it is taken over from <b>runs/first</b>" in text and taken not in content
    assert "The student in training" in text
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(front_table(front))
    assert "student-001 (beaten)" in console.export_text()
    front = make_front([teacher, replace(student, ap=0.5)], state, asked_for=[1])
    assert front.beaten == () and "on_front" not in front.to_json()["students"][0]
    assert make_front([teacher], state, asked_for=[1]).beaten == (), "it is yet to be trained"
