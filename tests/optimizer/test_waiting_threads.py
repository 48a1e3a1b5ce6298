"""Idle threads of OpenMP give their cores back, unless the user says otherwise; said before torch is loaded."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from optimizer.cli import main


@pytest.mark.parametrize(("users", "policy"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_the_command_says_how_threads_wait(
    users: str | None, policy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if users:
        monkeypatch.setenv("OMP_WAIT_POLICY", users)
    with pytest.raises(SystemExit):
        main(["--help"])
    assert os.environ["OMP_WAIT_POLICY"] == policy and "optimize" in capsys.readouterr().out


def test_torch_is_not_loaded_before_that() -> None:
    subprocess.run([sys.executable, "-c", "import sys, optimizer.cli; assert 'torch' not in sys.modules"], check=True)
