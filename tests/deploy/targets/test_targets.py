"""A target is a file; a wrong one is one clear line."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy import Bundle, EngineSpec, LatencyRecord, LinkSpec, MeasuringSpec, TargetSpec, get_target
from deploy.builders.compatibility import VERSIONS
from deploy.builders.precision import CONVERSIONS
from deploy.data.images import ImageFile
from deploy.errors import InputError
from deploy.measuring.protocols import MODES
from deploy.targets import TARGETS, Condition, describe_conditions, read_target, require_working
from deploy.targets.channel import describe_connection
from deploy.targets.hosts import find_hosts_file
from deploy.targets.spec import PRECISIONS


@pytest.fixture(autouse=True)
def no_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hosts file of whoever runs the tests is left out."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def write_hosts(text: str) -> None:
    find_hosts_file().parent.mkdir(parents=True)
    find_hosts_file().write_text(text)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_known_target_is_named_as_it_is_listed(name: str) -> None:
    assert read_target(name).name == name and read_target(name).description


def test_the_cpu_works_from_here() -> None:
    conditions = get_target("cpu").check()
    assert describe_conditions("cpu", conditions)[0] == "target cpu: works"
    assert any(item.what == "engine ort" and "onnxruntime" in item.found for item in conditions)
    assert any(item.what == "sensors" for item in conditions)
    assert Condition("works", "memory", "peak of a process is readable") in conditions
    require_working("cpu", conditions)


def test_what_is_missing_is_said_with_what_to_do() -> None:
    conditions = [Condition("works", "ssh", "b"), Condition("missing", "numpy", "not found", "pip install numpy")]
    assert describe_conditions("board", conditions)[0] == "target board: cannot be measured on, 1 missing"
    with pytest.raises(InputError, match="'board' cannot be measured on: numpy: not found; pip install numpy"):
        require_working("board", conditions)


@pytest.mark.parametrize("name", ["toaster", ""])
def test_an_unknown_target_says_what_there_is(name: str) -> None:
    with pytest.raises(
        InputError, match=f"unknown target '{name}'; there are: cpu, cuda, jetson, rtx, tensorrt; .*TOML"
    ):
        get_target(name)


def test_a_board_without_a_host_says_how_to_name_one() -> None:
    with pytest.raises(InputError, match=r"give --host user@board, or write into .*config/detopt/hosts.toml: .jetson."):
        get_target("jetson")


def test_the_users_hosts_file_says_which_board_it_is(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text('name = "board"\nlink = "ssh"\n')
    write_hosts('[board]\nhost = "user@10.0.0.7"\nport = 2222\npython = "venv/bin/python"\n')
    link = get_target(str(path)).spec.link
    assert (link.host, link.port, link.python) == ("user@10.0.0.7", 2222, "venv/bin/python")
    assert get_target(str(path), "other").spec == TargetSpec("board", LinkSpec("ssh", "other"))
    path.write_text('name = "board"\nlink = "ssh"\nhost = "its-own"\n')
    assert get_target(str(path)).spec == TargetSpec("board", LinkSpec("ssh", "its-own")), "my key is for my board"
    assert get_target(str(path), "user@10.0.0.7").spec.link.port == 2222, "the same board, named by hand"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[board", "is no TOML file"),
        ('board = "user@board"', "board is a table with the keys host, python"),
        ('[board]\nhost = "b"\npassword = "secret"', "passwords are in no file"),
        ("[board]\nhost = 3", "host is a text"),
        ('[board]\nhost = "-oProxyCommand=true"', "not taken as host"),
        ('[other]\nhost = "b"', "no host is named"),
        ('[board]\nhost = "b"\nport = 70000', "port is a number"),
    ],
)
def test_a_wrong_hosts_file_is_one_clear_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "board.toml"
    path.write_text('name = "board"\nlink = "ssh"\n')
    write_hosts(text)
    with pytest.raises(InputError, match=words) as caught:
        get_target(str(path))
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["-oProxyCommand=true", "b;true", "b c", "$(true)", "b\n"])
def test_a_host_that_ssh_might_take_for_something_else_is_refused(tmp_path: Path, host: str) -> None:
    path = tmp_path / "board.toml"
    path.write_text('name = "board"\nlink = "ssh"\n')
    with pytest.raises(InputError, match="not taken as host"):
        get_target(str(path), host)


@pytest.mark.skipif(shutil.which("ssh") is None, reason="needs ssh: install openssh-client")
def test_nothing_of_this_machine_is_lent_to_a_board(tmp_path: Path) -> None:
    """In the words of `ssh` itself, whatever the user's configuration allows elsewhere."""
    config = tmp_path / "config"
    config.write_text(
        "Host *\n  ForwardAgent yes\n  ForwardX11 yes\n  StrictHostKeyChecking no\n  BatchMode no\n  Tunnel yes\n"
        "  PermitLocalCommand yes\n  LocalCommand touch ran\n  LocalForward 8080 localhost:80\n"
    )
    program, *words = describe_connection(LinkSpec("ssh", "board", ssh_config=str(config)), ["true"])
    shown = subprocess.run([program, "-G", *words], capture_output=True, text=True, check=True).stdout
    said = dict(line.split(" ", 1) for line in shown.splitlines())
    assert said["stricthostkeychecking"] in ("yes", "true") and said["batchmode"] == "yes"
    for forbidden in ("forwardagent", "forwardx11", "permitlocalcommand", "tunnel"):
        assert said[forbidden] in ("no", "false"), forbidden
    assert said["clearallforwardings"] == "yes"


def test_this_machine_has_no_host() -> None:
    with pytest.raises(InputError, match="'cpu' is this machine; --host goes with"):
        get_target("cpu", "user@board")


def test_a_file_describes_a_target(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('name = "mine"\nthreads = 1\nprecisions = ["fp32"]\n')
    assert get_target(str(tmp_path / "mine.toml")).spec == TargetSpec("mine", engine=EngineSpec(threads=1))


def test_a_file_of_version_0_1_0_names_every_key_beside_the_others(tmp_path: Path) -> None:
    """Users have such files; the value they are read into may change, its keys may not."""
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\nlink = "ssh"\nengine = "trt"\nthreads = 2\nnms = "matrix"\nroi_align = "grid"\n'
        'precisions = ["fp16", "fp32"]\ndescription = "a board"\ntensorrt = "10.3"\nmode = "burst"\n'
        'lock_clocks = "auto"\n'
    )
    write_hosts(
        '[mine]\nhost = "user@board"\npython = "python3.8"\ncache = "/data"\nssh_config = "config"\nport = 2222\n'
        'key = "id"\n'
    )
    assert get_target(str(path)).spec == TargetSpec(
        "mine",
        LinkSpec("ssh", "user@board", "python3.8", "/data", "config", 2222, "id"),
        EngineSpec("trt", 2, "matrix", "grid", ("fp16", "fp32"), "10.3"),
        MeasuringSpec("burst", "auto"),
        "a board",
    )
    path.write_text('name = "mine"\nlink = "ssh"\nhost = "other"\npython = "python3.9"\ncache = "/tmp"\n')
    assert get_target(str(path)).spec.link == LinkSpec("ssh", "other", "python3.9", "/tmp")


@pytest.mark.parametrize("text", ['measuring = "burst"', 'kind = "ssh"', "[link]\nkind = 'ssh'"])
def test_a_file_has_no_tables_and_no_names_of_parts(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'name = "mine"\n{text}\n')
    with pytest.raises(InputError, match=r"unknown: (measuring|kind); its keys are name, link, host|link is a text"):
        get_target(str(path))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it has no name"),
        ("name = ", "no TOML"),
        ("name = " + "[" * 100_000, "no TOML"),
        ('name = "x"\nspeed = 3', "unknown: speed"),
        ("name = 3", "no name"),
        ('name = "x"\nthreads = 0', "threads is a positive"),
        ('name = "x"\nthreads = true', "threads is a positive"),
        ('name = "x"\nprecisions = []', "precisions is a list"),
        ('name = "x"\nprecisions = ["fp8"]', "unknown precision 'fp8'; there are: fp32, fp16, int8"),
        ('name = "x"\nengine = "ort-cuda"\nprecisions = ["int8"]', "its engine 'ort-cuda' takes: fp32, fp16;"),
        ('name = "x"\nnms = 1', "nms is a text"),
        ('name = "x"\nroi_align = 1', "roi_align is a text"),
        ('name = "x"\nmode = "fast"', "mode is one of sustained, burst, not 'fast'"),
        ('name = "x"\nalso = ["taste"]', r"also is a list of some of memory, energy, not \['taste'\]"),
        ('name = "x"\nlock_clocks = true', "lock_clocks is one of auto, never, require, not True"),
        ('name = "x"\nlink = "usb"', "the link 'usb'; this release has: local, ssh"),
        ('name = "x"\nlink = "ssh"', "no host is named: give --host"),
        ('name = "x"\nlink = "ssh"\nhost = "-oProxyCommand=true"', "not taken as host"),
        ('name = "x"\nlink = "ssh"\nhost = "b"\npython = "python3;true"', "not taken as python"),
        ('name = "x"\nlink = "ssh"\nhost = "b"\nport = 70000', "port is taken only from your own hosts file"),
        ('name = "x"\nlink = "ssh"\nssh_config = "evil"', "ssh_config is taken only from your own hosts file"),
        ('name = "x"\nkey = "~/.ssh/id_ed25519"', "key is taken only from your own hosts file"),
        ('name = "x"\nengine = "abacus"', "the engine 'abacus'; this release has: .*ort"),
        ('name = "x"\nnms = "fast"', "the nms 'fast'; this release has: matrix, op, raw"),
        ('name = "x"\nroi_align = "fast"', "the roi_align 'fast'; this release has: grid, op"),
        ('name = "x"\ntensorrt = 8.6', "tensorrt is a text"),
        ('name = "x"\ntensorrt = "7.1"', r"checked against TensorRT 8\.6, .*, not 7\.1"),
    ],
)
def test_a_wrong_file_is_one_clear_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "odd.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        get_target(str(path))
    assert "\n" not in str(caught.value)


def test_a_target_with_tensorrt_names_the_release_its_exports_have_to_suit(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text('name = "board"\ntensorrt = "10.3"\n')
    assert get_target(str(path)).spec.engine.releases == ("10.3",)
    assert EngineSpec("trt").releases == VERSIONS, "one that names none has to suit all"
    assert EngineSpec("trt", tensorrt="8.6").releases == ("8.6",)
    assert get_target("cpu").spec.engine.releases == ()


def test_a_target_is_measured_in_its_mode_and_with_its_clocks(
    tmp_path: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\nthreads = 1\nmode = "burst"\nlock_clocks = "auto"\n')
    monkeypatch.setitem(MODES, "burst", 0.001)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))  # no jetson_clocks: nothing to lock, nothing to say
    subjects = {"tiny": tiny_bundle}
    record = get_target(str(path)).measure(subjects, protocol="quick")["tiny"]
    assert isinstance(record, LatencyRecord) and record.mode == "burst" and not record.device.clocks_locked
    path.write_text('name = "mine"\nlock_clocks = "require"\n')
    with pytest.raises(InputError, match="no jetson_clocks"):
        get_target(str(path)).measure(subjects, protocol="quick")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.toml cannot be read"):
        get_target(str(tmp_path / "absent.toml"))


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ["pipe", "zeros", "folder", "large"])
def test_a_target_file_that_might_never_end_is_not_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "mine.toml"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "zeros":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_text('name = "' + "a" * 2 * 10**6 + '"')
    with pytest.raises(InputError, match=r"not a plain file|too large"):
        read_target(str(path))


def test_a_target_measures_and_detects(
    tmp_path: Path, tiny_bundle: Bundle, write_image: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.toml").write_text('name = "mine"\nthreads = 1\n')
    target = get_target(str(tmp_path / "mine.toml"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    record = target.measure({"tiny": tiny_bundle}, protocol="quick")["tiny"]
    assert record.target == "mine"
    image = write_image()
    assert [(place, len(found)) for place, found, _ in target.detect(tiny_bundle, [ImageFile(image)])] == [(0, 2)]


def test_targets_name_precisions_that_a_model_can_be_converted_to() -> None:
    assert set(PRECISIONS) == {"fp32", *CONVERSIONS}
    preferred = {name: read_target(name).engine.precisions for name in TARGETS}
    assert all("fp32" in precisions for precisions in preferred.values())
    assert preferred["cpu"] == ("fp32", "int8") and preferred["jetson"] == ("fp16", "int8", "fp32")


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ["pipe", "folder", "large", "no text"])
def test_a_hosts_file_that_is_none_is_one_clear_line(tmp_path: Path, kind: str) -> None:
    path, hosts = tmp_path / "board.toml", find_hosts_file()
    path.write_text('name = "board"\nlink = "ssh"\n')
    hosts.parent.mkdir(parents=True)
    if kind == "pipe":
        os.mkfifo(hosts)
    elif kind == "folder":
        hosts.mkdir()
    else:
        hosts.write_bytes(b"a" * 2 * 10**6 if kind == "large" else b"\xff\xfe")
    with pytest.raises(InputError, match=r"not a plain file|too large|cannot be read"):
        get_target(str(path))
