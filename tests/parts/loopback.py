"""A board: OpenSSH's own sshd on a loopback port, keys of this test, a target file and a hosts file to reach it."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy import get_target
from deploy.targets.ssh import SshTarget

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
needs_sshd = pytest.mark.skipif(SSHD is None, reason="needs sshd: install openssh-server")


class Board:
    """An sshd that can be stopped and started again on the same port."""

    def __init__(self, folder: Path, python: str = sys.executable) -> None:
        self.folder, self.cache = folder, folder / "cache"
        folder.mkdir(mode=0o700)
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
        shutil.copy(folder / "user.pub", folder / "authorized")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\n"
            f"AuthorizedKeysFile {folder}/authorized\nPidFile none\nStrictModes no\nUsePAM no\n"
            f"PasswordAuthentication no\nPermitRootLogin prohibit-password\nSetEnv TMPDIR={folder}\n"
        )
        self.trust_host_key()
        (folder / "config").write_text(f"Host *\n  UserKnownHostsFile {folder}/known_hosts\n  IdentitiesOnly yes\n")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        self.host = f"{getpass.getuser()}@127.0.0.1"
        way = (
            f'port = {self.port}\npython = "{python}"\ncache = "{self.cache}"\nssh_config = "{folder}/config"\n'
            f'key = "{folder}/user"\n'
        )
        self.file = folder / "ssh-loopback.toml"
        self.file.write_text('name = "loopback"\nlink = "ssh"\nthreads = 1\n')
        self.config_home = folder / "config-home"
        (self.config_home / "detopt").mkdir(parents=True)
        (self.config_home / "detopt" / "hosts.toml").write_text(f'[loopback]\nhost = "{self.host}"\n{way}')
        self.start()

    @property
    def target(self) -> SshTarget:
        assert os.environ["XDG_CONFIG_HOME"] == str(self.config_home), "where the user's hosts file is"
        target = get_target(str(self.file))
        assert isinstance(target, SshTarget)
        return target

    def start(self) -> None:
        self.server = subprocess.Popen(
            [str(SSHD), "-D", "-e", "-f", str(self.folder / "sshd_config")], stderr=subprocess.DEVNULL
        )
        wait_for(self._answers, "sshd")

    def stop(self) -> None:
        """No new connection, and none of the old ones either."""
        self.server.kill()
        self.server.wait()
        for agent in self.find_agents():
            os.kill(agent, signal.SIGKILL)

    def trust_host_key(self) -> None:
        host_key = (self.folder / "host.pub").read_text()
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {host_key}")

    def replace_python(self, script: str) -> SshTarget:
        """The target with another program in the interpreter's place; ``$PYTHON`` is the interpreter."""
        path = self.folder / "odd-python"
        path.write_text(f"#!/bin/sh\nPYTHON={sys.executable}\n{script}\n")
        path.chmod(0o755)
        return self.change_link(python=str(path))

    def change_link(self, **changes: Any) -> SshTarget:
        """The target with other values in its link."""
        spec = self.target.spec
        return SshTarget(replace(spec, link=replace(spec.link, **changes)))

    def find_agents(self) -> list[int]:
        """Processes of this board's agents, by their number."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if b"agent" in words and str(self.cache).encode() in words:
                    found.append(int(entry.name))
        return found

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def wait_for(condition: Callable[[], object], what: str, seconds: float = 20) -> None:
    """Until the condition holds; a failed test after these seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what} in vain"
        time.sleep(0.05)


def find_parent(process: int) -> int:
    """The process that started this one."""
    return int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])
