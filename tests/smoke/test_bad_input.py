"""Every wrong input is one clear line and the right exit code, before any work starts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from optimizer.cli import main

Refuse = Callable[..., str]
DETNAS = [
    "--base",
    "shufflenetv2_20",
    "--method",
    "detnas",
    "--teacher",
    "none",
    "--preset",
    "smoke",
    "--score",
    "macs",
]
DETOFA = [*DETNAS, "--base", "ofa_resnet50", "--method", "detofa"]


@pytest.fixture
def refuse(capsys: pytest.CaptureFixture[str]) -> Refuse:
    """Runs `optimize` with what it must refuse; gives what it says on stderr."""

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as stopped:
            main(list(arguments))
        message = capsys.readouterr().err.strip()
        assert stopped.value.code == 2, message
        assert "Traceback" not in message
        return message

    return run


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--base", "r19", "--target", "cpu"], ["r19", "r18"]),
        (["--base", "r18", "--target", "toaster"], ["toaster", "cpu"]),
        (["--base", "r101", "--target", "jetson"], ["jetson", "--host user@board", "hosts.toml"]),
        (
            ["--base", "r101", "--target", "board.toml", "--host=-oProxyCommand=true"],
            ["-oProxyCommand", "not taken as host"],
        ),
        (["--base", "r101", "--target", "board.toml", "--host", "127.0.0.1"], ["board", "ssh", "is it on"]),
        (["--base", "r18", "--target", "cpu", "--host", "user@board"], ["this machine", "--host"]),
        (["--base", "r18", "--target", "cpu", "--target", "toaster"], ["toaster", "cpu"]),
        (["--base", "r18", "--target", "cpu", "--target", "cpu"], ["two targets", "'cpu'"]),
        (["--base", "r18", "--target", "cpu", "--primary", "jetson"], ["--primary", "--target jetson"]),
        (["--base", "r18", "--primary", "cpu"], ["--primary", "--target cpu"]),
        (["--base", "r18", "--target", "cpu", "--target", "cuda", "--score", "macs"], ["--score", "target"]),
        (["--base", "r18", "--preset", "huge"], ["huge", "quick"]),
        (["--base", "r18", "--method", "luck"], ["luck", "joint"]),
        (["--base", "r18", "--size", "16x16"], ["16x16", "64"]),
        (["--base", "r18", "--size", "big"], ["big"]),
        (["--base", "r18", "--budget", "soon"], ["soon", "20m"]),
        (["--base", "r18", "--max-latency", "0ms"], ["33ms", "0ms"]),
        (["--base", "r18", "--max-latency", "33ms", "--score", "macs"], ["--max-latency", "--score"]),
        (["--base", "r18", "--score", "money"], ["money", "energy, latency, latency+energy, macs"]),
        (["--base", "r18", "--max-size", "20"], ["20MB", "'20'"]),
        (["--base", "r18", "--max-size", "10kB"], ["0.01 MB", "smallest", "--max-size"]),
        (["--base", "r18", "--max-memory", "10kB"], ["0.01 MB", "smallest", "--max-memory"]),
        (["--base", "r18", "--max-memory", "1GB", "--score", "macs"], ["--max-memory", "--score"]),
        (["--base", "r18", "--min-ap", "30"], ["min_ap", "less than 1"]),
        (["--base", "r18", "--budget", "2s", "--preset", "smoke"], ["budget"]),
        (["--base", "r18", "--weights", "absent.pth", "--preset", "smoke"], ["absent.pth"]),
        (
            ["--base", "r18", "--weights", "imagenet", "--preset", "smoke"],
            [
                *("resnet18-f37072fd.pth", "https://download.pytorch.org/models/resnet18-f37072fd.pth"),
                *("nets/hub/checkpoints", "--weights none"),
            ],
        ),
        (
            ["--base", "r50", "--weights", "imagenet", "--preset", "smoke"],
            ["nets/hub/checkpoints/resnet50-0676ba61.pth", "damaged", "delete it"],
        ),
        (["--base", "r18", "--weights", "coco", "--preset", "smoke"], ["coco", "r50", "--weights imagenet"]),
        (["--base", "x101", "--weights", "imagenet", "--preset", "smoke"], ["x101", "r101", "--weights none"]),
        (["--base", "r18", "--data", "no/such/folder"], ["no/such/folder"]),
        (["--base", "r18", "--trials", "-1"], ["trials"]),
        (["--base", "r18", "--region-proposals", "many"], ["--region-proposals", "many"]),
        (["--base", "r18", "--export-proposals", "many"], ["--export-proposals", "many"]),
        (["--base", "r18", "--precisions", "fp16"], ["fp16", "fp32, int8", "--precisions"]),
        (["--base", "r18", "--max-ap-drop", "-1"], ["max_ap_drop"]),
        (["--base", "r18", "--teacher", "aunt"], ["teacher", "dynamic"]),
        (["--base", "r18", "--teacher-epochs", "8,3"], ["--teacher-epochs", "8,3,5"]),
        (["--base", "r18", "--teacher-pool", "a-file", "--preset", "smoke"], ["a-file", "folder"]),
        (["--base", "r18", "--actions", "fly"], ["fly", "prune_channels"]),
        (["--base", "r18", "--actions", "none", "--teacher", "none"], ["nothing to search"]),
        (["--base", "r18", "--actions", "none", "--method", "random", "--teacher", "fixed"], ["random search draws"]),
        (["--base", "r18", "--base-run", "no/such/run", "--preset", "smoke"], ["no/such/run"]),
        (["--base", "r18", "--preset", "paper", "--detector", "retinanet"], ["anchors", "canvas"]),
        (["teachers", "train", "--base", "r18", "--data", "no/such/folder"], ["no/such/folder"]),
        (["supernets", "train", "--base", "shufflenetv2_20", "--data", "no/such/folder"], ["no/such/folder"]),
        ([*DETNAS, "--pretrain", "no/such/folder"], ["no/such/folder", "--pretrain", "each class"]),
        ([*DETNAS, "--pretrain", "detopt"], ["detopt holds no folders of classes", "--pretrain"]),
        ([*DETNAS, "--pretrain", "nets"], ["hold no images", "--pretrain"]),
        ([*DETNAS, "--base", "r18"], ["shufflenetv2_20"]),
        ([*DETNAS, "--limit", "fast"], ["such as 0.8,0.6"]),
        ([*DETNAS, "--limit", "-1"], ["above 0"]),
        ([*DETNAS, "--limit", "5000"], ["of at least a million"]),
        ([*DETNAS, "--limit", "300M,230M"], ["the least is 237.2M MACs in the body"]),
        ([*DETNAS, "--limit", "0.2"], ["smaller canvases too (--sizes)"]),
        ([*DETOFA, "--limit", "0.001"], ["the least is 0.", "smaller canvases too (--sizes)"]),
        ([*DETOFA, "--pretrain", "no/such/folder"], ["no/such/folder", "--pretrain", "each class"]),
        ([*DETOFA, "--ranker", "luck"], ["images", "filter"]),
        ([*DETOFA, "--classification-paths", "42"], ["a multiple of 5 from 40 on, or 0 for none"]),
        ([*DETOFA, "--limit", "100M"], ["the least is "]),
        (["arch", "ofa_resnet50:D3 E0.35 W1"], ["D is chosen from 0, 1, 2"]),
        (["arch", "ofa_resnet50:D2 E0.35"], ["D, E and W such as 'D2 E0.35 W1"]),
        (["arch", "ofa_resnet50:widest"], ["'widest' is no letter with numbers"]),
        ([*DETNAS, "--teacher", "dynamic"], ["no teacher pool"]),
        (["--base", "r18", "--method", "distill"], ["optimize distill --student r18"]),
        (["--base", "r18", "--distillers", "feature"], ["--distillers", "no teacher", "--teacher base"]),
        (["--base", "r18", "--distillers", "magic", "--teacher", "base"], ["magic", "feature"]),
        (["--base", "r18", "--distillers", "feature=", "--teacher", "base"], ["--distillers", "feature="]),
        (["distill", "--student", "r18"], ["--teacher runs/first"]),
        (["distill", "--teacher", "no/such/run"], ["--student"]),
        (["distill", "--student", "r18", "--teacher", "no/such/run"], ["no/such/run", "RUN/student-004"]),
        (["distill", "--student", "r19", "--teacher", "no/such/run"], ["r19", "r18"]),
        (["distill", "--student", "r18", "--teacher", "a-file"], ["a-file", "--base r50"]),
        (["distill", "--student", "r18", "--teacher", "a-file", "--base", "r50"], ["a-file", "not a file of weights"]),
        (["resume", "no/such/run"], ["no/such/run"]),
        (["report", "no/such/run"], ["no/such/run"]),
        (["data", "check", "no/such/folder"], ["no/such/folder"]),
        (["targets", "check", "toaster"], ["toaster", "cpu"]),
        (["arch", "(64, x), ["], ["encoding"]),
    ],
)
def test_optimize_says_what_is_wrong_and_exits_with_2(
    arguments: list[str], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuse: Refuse
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nets"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")  # no network
    damaged = tmp_path / "nets" / "hub" / "checkpoints" / "resnet50-0676ba61.pth"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"half a file")
    (tmp_path / "a-file").touch()
    (tmp_path / "board.toml").write_text('name = "board"\nlink = "ssh"\n')
    (tmp_path / "detopt").mkdir()
    (tmp_path / "detopt" / "hosts.toml").write_text('[board]\nhost = "127.0.0.1"\nport = 1\n')
    message = refuse(*arguments)
    for word in words:
        assert word in message
    assert not list(tmp_path.glob("runs/*/run.db")), "nothing may be started"


def test_an_empty_data_set_is_refused(tmp_path: Path, refuse: Refuse) -> None:
    (tmp_path / "data").mkdir()
    assert "data" in refuse("--base", "r18", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "run"))


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path, refuse: Refuse) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    refuse("--base", "r18", "--preset", "smoke", "--out", str(tmp_path))
    assert (tmp_path / "precious.txt").read_text() == "mine" and not (tmp_path / "run.db").exists()


def test_a_corrupt_run_is_said_to_be_one_by_the_program_itself(tmp_path: Path) -> None:
    (tmp_path / "run.db").write_bytes(b"this is not a database" * 100)
    command = [sys.executable, "-m", "optimizer", "resume", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 2, result.stderr
    assert "run.db" in result.stderr and "Traceback" not in result.stderr
