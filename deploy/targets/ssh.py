"""A board reached by the system's `ssh`: files pushed by hash, an agent on its stdin, every answer checked."""

from __future__ import annotations

import json
import os
import re
import select
import shlex
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Callable, Dict, Iterator, List, Mapping, Sequence, Tuple

import numpy as np

from deploy.agent import AGENT_VERSION, BOARD_LEASE
from deploy.archive import write_archive
from deploy.bundle import Bundle, hash_file
from deploy.detections import Detections
from deploy.errors import BoardError, InputError
from deploy.latency import LatencyRecord, MeasurementFailure
from deploy.measure import Measured, Subject
from deploy.pipeline.detector import Timings
from deploy.pipeline.sources import list_images
from deploy.protocols import get_protocol
from deploy.targets.base import TargetSpec

__all__ = ["SshTarget"]

REPLY_LIMIT = 64 << 20
CONNECT_S, HELLO_S, PUSH_S, DETECT_S, LEASE_S = 15, 60.0, 600.0, 3600.0, 600.0
SETUP_S, MODEL_S = 120.0, 180.0  # bounds on one process of a measurement, far above what the protocols take
LATENCY_LIMIT_MS = 1e7
HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,254}\Z")
WORD = re.compile(r"[A-Za-z0-9_~/][A-Za-z0-9_./~+-]{0,254}\Z")
Report = Callable[[str], None]

# Runs on a board before anything of ours is there. Its arguments: cache folder, SHA-256, size.
PUSH = """
import hashlib, os, sys
folder, digest, size = os.path.expanduser(sys.argv[1]), sys.argv[2], int(sys.argv[3])
path = os.path.join(folder, digest)
def matches(name):
    total = hashlib.sha256()
    with open(name, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            total.update(block)
    return total.hexdigest() == digest
os.makedirs(folder, mode=0o700, exist_ok=True)
if os.path.isfile(path) and matches(path):
    print("have", flush=True)
    sys.exit()
print("send", flush=True)
aside = "%s.%d.part" % (path, os.getpid())
try:
    with open(aside, "wb") as file:
        while size:
            block = sys.stdin.buffer.read(min(size, 1 << 20))
            if not block:
                sys.exit("the file was cut short")
            file.write(block)
            size -= len(block)
        file.flush()
        os.fsync(file.fileno())
    if not matches(aside):
        sys.exit("the file was altered on its way")
    os.rename(aside, path)
except OSError as error:
    sys.exit("the file cannot be stored: %s" % error)
finally:
    if os.path.exists(aside):
        os.remove(aside)
print("stored", flush=True)
"""
START = """
import os, sys
folder = os.path.expanduser(sys.argv[1])
os.execv(sys.executable, [sys.executable, "-I", os.path.join(folder, sys.argv[2]), "agent", folder])
"""


@dataclass(frozen=True)
class SshTarget:
    """A target behind `ssh`. The user's own configuration counts; a host whose key is not known is refused."""

    spec: TargetSpec

    def __post_init__(self) -> None:
        spec = self.spec
        if not spec.host:
            raise InputError(
                'target {!r} is reached by ssh and has no host: write host = "user@board" into its file'.format(
                    spec.name
                )
            )
        for what, value, pattern in (
            ("host", spec.host, HOST),
            ("python", spec.python, WORD),
            ("cache", spec.cache, WORD),
        ):
            if not pattern.match(value):
                raise InputError("target {!r}: {!r} is not taken as {}".format(spec.name, value, what))
        if shutil.which("ssh") is None:
            raise InputError("target {!r} needs the program ssh; install OpenSSH's client".format(spec.name))

    def check(self) -> List[str]:
        """What the board is, after its agent answered."""
        with self._open_agent() as agent:
            hello = agent.ask({"op": "hello"}, HELLO_S, "its introduction")
        if not isinstance(hello, dict) or hello.get("version") != AGENT_VERSION:
            raise self._fail("its introduction", "an answer of another version")
        engines = [str(item)[:80] for item in hello.get("engines") or []]
        if not any(item.split(" ")[0] == self.spec.engine for item in engines):
            raise self._fail("its introduction", "it lacks the engine {!r}; it has: {}".format(
                self.spec.engine, ", ".join(engines) or "none"))  # fmt: skip
        return [
            "target {}: works".format(self.spec.name),
            "board: {}, {}, Python {}, numpy {}".format(
                self.spec.host, *(str(hello.get(key))[:80] for key in ("machine", "python", "numpy"))
            ),
            "engines: {}".format(", ".join(engines)),
            "free disk: {} MiB".format(str(hello.get("free_mib"))[:20]),
        ]

    def measure(
        self,
        subjects: Mapping[str, Subject],
        images: Sequence[Path] = (),
        level: str = "screen",
        seed: int = 0,
        report: Report = lambda line: None,
    ) -> Dict[str, Measured]:
        """As `deploy.measure.measure_models`, in one lease of the board; a `BoardError` where the board fails."""
        protocol = get_protocol(level)
        if not subjects:
            raise InputError("there is no model to measure")
        for subject in subjects.values():
            if not subject.model.is_file():
                raise InputError("there is no model {}".format(subject.model))
        digests = {name: self._push(subject.model, report) for name, subject in subjects.items()}
        files = list_images(images)[: protocol.images] if images else []
        request = {
            "op": "measure",
            "subjects": {
                name: {
                    "model": digests[name],
                    "preprocess": subject.preprocess and subject.preprocess.to_json(),
                    "head": subject.head,
                }
                for name, subject in subjects.items()
            },
            "images": [self._push(path, report) for path in files],
            "level": level,
            "engine": self.spec.engine,
            "threads": self.spec.threads,
            "seed": seed,
            "lease_s": LEASE_S,
        }
        limit_s = LEASE_S + protocol.processes * (1 + protocol.retries) * (SETUP_S + MODEL_S * len(subjects))
        with self._open_agent() as agent:
            answer = agent.ask(request, limit_s, "measuring", report)
        if not isinstance(answer, dict) or set(answer) != set(subjects):
            raise self._fail("measuring", "it answered for other models than it was asked for")
        return {
            name: self._parse_measured(value, digests[name], str(subjects[name].model), level)
            for name, value in answer.items()
        }

    def detect(
        self, bundle: Bundle, images: Sequence[Path], report: Report = lambda line: None
    ) -> Iterator[Tuple[Path, Detections, Timings]]:
        """Objects in each image, found on the board."""
        files = {self._push(path, report): path for path in list_images(images)}
        request = {
            "op": "detect",
            "model": self._push(bundle.model, report),
            "preprocess": bundle.preprocess.to_json(),
            "head": bundle.head,
            "images": list(files),
            "engine": self.spec.engine,
            "threads": self.spec.threads,
        }
        with self._open_agent() as agent:
            answer = agent.ask(request, DETECT_S, "detecting", report)
        try:
            found = [_parse_detected(item, files, len(bundle.class_names)) for item in answer]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise self._fail("detecting", "not a list of detections: {!r}".format(error)) from error
        yield from found

    def _parse_measured(self, value: Any, digest: str, model: str, level: str) -> Measured:
        if isinstance(value, dict) and isinstance(value.get("error"), str):
            return MeasurementFailure(level, model, self.spec.name, value["error"][:2000])
        try:
            record = LatencyRecord.from_json(value)
            _check_record(record, digest, level)
            json.dumps(record.to_json(), allow_nan=False)
        except (
            InputError,
            ArithmeticError,
            AssertionError,
            AttributeError,
            LookupError,
            TypeError,
            ValueError,
        ) as error:
            raise self._fail("measuring", "not a latency record: {}".format(error)) from error
        return replace(record, target=self.spec.name)

    def _push(self, path: Path, report: Report) -> str:
        """Have a file in the board's cache; its name there is its SHA-256."""
        digest, size = hash_file(path), path.stat().st_size
        with self._connect([self.spec.python, "-I", "-c", PUSH, self.spec.cache, digest, str(size)]) as channel:
            channel.step = "pushing {}".format(path.name)
            deadline = time.monotonic() + PUSH_S
            word = channel.read_line(deadline)
            if word == b"send":
                report("pushing {} to {}".format(path.name, self.spec.host))
                with path.open("rb") as file:
                    for block in iter(lambda: file.read(1 << 16), b""):
                        channel.write(block, deadline)
                word = channel.read_line(deadline)
            if word not in (b"have", b"stored"):
                raise self._fail(channel.step, "an answer that makes no sense")
        return digest

    @contextmanager
    def _open_agent(self) -> Iterator["_Channel"]:
        with tempfile.TemporaryDirectory(prefix="agent-") as folder:
            write_archive(Path(folder) / "detect.pyz")
            digest = self._push(Path(folder) / "detect.pyz", lambda line: None)
        with self._connect([self.spec.python, "-I", "-c", START, self.spec.cache, digest]) as channel:
            yield channel

    @contextmanager
    def _connect(self, words: Sequence[str]) -> Iterator["_Channel"]:
        """Run a fixed list of words on the board; the connection ends with the block."""
        spec = self.spec
        command = ["ssh", "-T", "-x", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
                   "-o", "ConnectTimeout={}".format(CONNECT_S), "-o", "ServerAliveInterval=10",
                   "-o", "ServerAliveCountMax=3", "-o", "ClearAllForwardings=yes"]  # fmt: skip
        for option, value in (("-F", spec.ssh_config), ("-p", spec.port), ("-i", spec.key)):
            if value is not None:
                command += [option, str(Path(str(value)).expanduser())]
        command += ["--", spec.host, " ".join(shlex.quote(word) for word in words)]
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0, start_new_session=True
            )
            try:
                yield _Channel(spec.host, process, errors)
            finally:
                process.kill()
                process.wait()
                for stream in (process.stdin, process.stdout):
                    assert stream is not None
                    stream.close()

    def _fail(self, step: str, reason: str) -> BoardError:
        return BoardError("{}: {} failed: {}".format(self.spec.host, step, reason))


class _Channel:
    """One connection: whole lines, size limits, deadlines; whatever goes wrong is a `BoardError`."""

    def __init__(self, host: str, process: "subprocess.Popen[bytes]", errors: IO[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._host, self._process, self._errors = host, process, errors
        self._input, self._output = process.stdin, process.stdout
        os.set_blocking(self._input.fileno(), False)
        self._rest = b""
        self.step = "connecting"

    def ask(self, request: Mapping[str, Any], limit_s: float, step: str, report: Report = lambda line: None) -> Any:
        """The result of a request."""
        self.step = step
        deadline = time.monotonic() + limit_s + CONNECT_S
        self.write(json.dumps({**request, "limit_s": limit_s}).encode() + b"\n", deadline)
        while True:
            try:
                answer = json.loads(self.read_line(deadline).decode())
            except (ValueError, RecursionError) as error:
                raise self._fail("an answer that is no JSON") from error
            if isinstance(answer, dict) and isinstance(answer.get("note"), str):
                report(answer["note"][:500])
            elif isinstance(answer, dict) and answer.get("ok") is True and "result" in answer:
                return answer["result"]
            elif isinstance(answer, dict) and answer.get("ok") is False:
                raise self._fail(str(answer.get("error"))[:2000])
            else:
                raise self._fail("an answer that makes no sense")

    def write(self, content: bytes, deadline: float) -> None:
        while content:
            self._wait([], [self._input], deadline)
            try:
                content = content[self._input.write(content) or 0 :]
            except OSError as error:
                raise self._fail(self._explain()) from error

    def read_line(self, deadline: float) -> bytes:
        parts, size = [self._rest], len(self._rest)
        while b"\n" not in parts[-1]:
            self._wait([self._output], [], deadline)
            part = os.read(self._output.fileno(), 1 << 16)
            if not part:
                raise self._fail(self._explain())
            parts.append(part)
            size += len(part)
            if size > REPLY_LIMIT:
                raise self._fail("an answer of more than {} MiB".format(REPLY_LIMIT >> 20))
        line, self._rest = b"".join(parts).split(b"\n", 1)
        return line

    def _wait(self, readers: List[Any], writers: List[Any], deadline: float) -> None:
        ready = select.select(readers, writers, [], max(0.0, deadline - time.monotonic()))
        if not any(ready):
            raise self._fail("no answer in time")

    def _explain(self) -> str:
        """Why the connection ended, in the words of `ssh` or of the board."""
        try:
            code = self._process.wait(CONNECT_S)
        except subprocess.TimeoutExpired:
            return "the connection was closed"
        self._errors.seek(0)
        lines = [line for line in self._errors.read(1 << 16).decode(errors="replace").splitlines() if line.strip()]
        words = "".join(char for char in (lines or ["no message"])[-1] if char.isprintable())[:500]
        return "the connection ended with {}: {}".format(code, words)

    def _fail(self, reason: str) -> BoardError:
        return BoardError("{}: {} failed: {}".format(self._host, self.step, reason))


def _check_record(record: LatencyRecord, digest: str, level: str) -> None:
    """Whether a record from elsewhere answers what was asked, with numbers that can be latencies."""
    if (record.model_sha256, record.target, record.level) != (digest, BOARD_LEASE, level):
        raise ValueError("it is of another model, target or level")
    canaries = [value for item in record.canaries for value in item]
    numbers = np.array([*record.samples_ms, *canaries, *([] if record.pre_ms is None else [record.pre_ms])], np.float64)
    if not np.all(np.isfinite(numbers)) or numbers.min() <= 0 or numbers.max() > LATENCY_LIMIT_MS or not canaries:
        raise ValueError("its milliseconds are no latencies")
    texts = (record.lease, record.measured_at, record.bound, record.feeds, record.device.cpu, record.device.runtime)
    if not all(isinstance(text, str) and len(text) < 1000 for text in (*texts, *record.flags)):
        raise ValueError("its texts are none")
    if type(record.device.threads) is not int or type(record.device.cores) is not int:
        raise ValueError("its device is none")


def _parse_detected(
    item: Mapping[str, Any], files: Mapping[str, Path], classes: int
) -> Tuple[Path, Detections, Timings]:
    found = Detections(
        np.array(item["boxes_xyxy"], np.float32).reshape(-1, 4),
        np.array(item["scores"], np.float32),
        np.array(item["labels"], np.int64),
    )
    timings = Timings(float(item["pre_ms"]), float(item["infer_ms"]))
    finite = np.isfinite(found.boxes_xyxy).all() and np.isfinite(timings).all()
    if not finite or not np.all((found.scores >= 0) & (found.scores <= 1)):
        raise ValueError("boxes, scores or times out of range")
    if not np.all((found.labels >= 0) & (found.labels < classes)):
        raise ValueError("labels out of range")
    return files[item["image"]], found, timings
