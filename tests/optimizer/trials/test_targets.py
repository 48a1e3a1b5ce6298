"""Which targets a run has: told apart by name, of one graph, and with one host where one of them is a board."""

from __future__ import annotations

from pathlib import Path

import pytest

from optimizer.errors import InputError
from optimizer.recipes import quick
from optimizer.run.checks import check_targets
from optimizer.trials.targets import open_targets


@pytest.fixture(autouse=True)
def no_hosts_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def write(folder: Path, name: str, text: str = "threads = 2") -> str:
    path = folder / f"{name}.toml"
    path.write_text(f'name = "{name}"\n{text}\n')
    return str(path)


def open_named(*names: str, host: str = "") -> list[tuple[str, int | None, str]]:
    config = quick().changed({"target": names[0], "further_targets": names[1:], "host": host})
    return [(t.spec.name, t.spec.engine.threads, t.spec.link.host) for t in open_targets(config)]


def test_one_processor_with_one_and_two_threads_is_two_targets(tmp_path: Path) -> None:
    one, two = write(tmp_path, "one", "threads = 1"), write(tmp_path, "two")
    assert open_named(one, two) == [("one", 1, ""), ("two", 2, "")]
    assert open_named("cpu") == [("cpu", None, "")]


def test_a_host_is_the_one_of_the_board_among_them(tmp_path: Path) -> None:
    board, other = (write(tmp_path, name, 'link = "ssh"') for name in ("board", "other"))
    assert [host for _, _, host in open_named("cpu", board, host="me@it")] == ["", "me@it"]
    assert [host for _, _, host in open_named(board, "cpu", host="me@it")] == ["me@it", ""]
    with pytest.raises(InputError, match=r"--host me@it may be .*board.toml and .*other.toml; write the host of each"):
        open_named(board, other, host="me@it")
    with pytest.raises(InputError, match="'cpu' is this machine"):
        open_named("cpu", write(tmp_path, "two"), host="me@it")


def test_the_target_that_decides_measures_what_is_asked_of_students(tmp_path: Path) -> None:
    names = (write(tmp_path, "one", "threads = 1"), "cpu")
    config = quick().changed({"target": names[0], "further_targets": names[1:]})
    assert [target.spec.measuring.also for target in open_targets(config)] == [(), ()]
    limited = config.changed({"constraints.max_memory_bytes": 10**9})
    assert [target.spec.measuring.also for target in open_targets(limited)] == [("memory",), ()]
    assert [target.spec.engine.threads for target in open_targets(limited)] == [1, None]


def test_memory_that_a_target_does_not_tell_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    config = quick().changed({"constraints.max_memory_bytes": 10**9})
    assert len(check_targets(config)) == 1
    monkeypatch.setattr("deploy.sensors.machine.OWN_STATUS", Path("/nowhere"))
    with pytest.raises(InputError, match=r"'cpu' does not tell memory, which --max-memory needs: this system does not"):
        check_targets(config)


def test_two_of_one_name_cannot_be_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two targets are called 'cpu'"):
        open_named("cpu", write(tmp_path, "cpu"))


def test_all_take_the_graph_of_the_first(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="target 'other' takes nms = 'matrix' where 'cpu' takes 'op'"):
        open_named("cpu", write(tmp_path, "other", 'nms = "matrix"'))


def test_a_run_that_scores_by_operations_measures_nowhere() -> None:
    with pytest.raises(InputError, match="a run that scores by operations measures on no target"):
        quick().changed({"search.cost": "macs", "further_targets": ("cuda",)})
