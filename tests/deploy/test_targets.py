"""A target is a file; a wrong one is one clear line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy import Bundle, Subject, TargetSpec, get_target
from deploy.errors import InputError
from deploy.targets import TARGETS


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_known_target_is_named_as_it_is_listed(name: str) -> None:
    assert get_target(name).spec.name == name


def test_the_cpu_works_from_here() -> None:
    lines = get_target("cpu").check()
    assert lines[0] == "target cpu: works" and any("onnxruntime" in line for line in lines)


@pytest.mark.parametrize("name", ["jetson", "tensorrt", "cuda", ""])
def test_an_unknown_target_says_what_there_is(name: str) -> None:
    with pytest.raises(InputError, match=f"unknown target '{name}'; there are: cpu; .*TOML"):
        get_target(name)


def test_a_file_describes_a_target(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('name = "mine"\nthreads = 1\nprecisions = ["fp32"]\n')
    assert get_target(str(tmp_path / "mine.toml")).spec == TargetSpec("mine", threads=1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it has no name"),
        ("name = ", "no TOML"),
        ('name = "x"\nspeed = 3', "unknown: speed"),
        ("name = 3", "no name"),
        ('name = "x"\nthreads = 0', "threads is a positive"),
        ('name = "x"\nthreads = true', "threads is a positive"),
        ('name = "x"\nprecisions = []', "precisions is a list"),
        ('name = "x"\nnms = 1', "nms is a text"),
        ('name = "x"\nlink = "usb"', "the link 'usb'; this release has: local, ssh"),
        ('name = "x"\nlink = "ssh"', "has no host: write host"),
        ('name = "x"\nlink = "ssh"\nhost = "-oProxyCommand=true"', "not taken as host"),
        ('name = "x"\nlink = "ssh"\nhost = "b"\npython = "python3;true"', "not taken as python"),
        ('name = "x"\nport = 70000', "port is a number"),
        ('name = "x"\nengine = "trt"', "the engine 'trt'; this release has: ort"),
        ('name = "x"\nnms = "fast"', "the nms 'fast'; this release has: matrix, op"),
    ],
)
def test_a_wrong_file_is_one_clear_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "odd.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        get_target(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.toml cannot be read"):
        get_target(str(tmp_path / "absent.toml"))


def test_a_target_measures_and_detects(
    tmp_path: Path, tiny_bundle: Bundle, write_image: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.toml").write_text('name = "mine"\nthreads = 1\n')
    target = get_target(str(tmp_path / "mine.toml"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    record = target.measure({"tiny": Subject.of(tiny_bundle)}, level="quick")["tiny"]
    assert record.target == "mine"
    image = write_image()
    assert [(path, len(found)) for path, found, _ in target.detect(tiny_bundle, [image])] == [(image, 2)]
