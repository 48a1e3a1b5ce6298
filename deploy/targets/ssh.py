"""A board reached by the system's `ssh`: files pushed by hash, an agent on its stdin, every answer checked."""

from __future__ import annotations

import pkgutil
import re
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Sequence

from deploy.bundles.archive import write_archive
from deploy.data.images import ImageFile
from deploy.detections import Detections
from deploy.errors import BoardError, InputError
from deploy.files import hash_file
from deploy.foreign import make_printable
from deploy.measuring.measure import Measured
from deploy.measuring.protocols import get_protocol
from deploy.measuring.request import MeasuringRequest, Setup
from deploy.pipeline.detector import Timings
from deploy.pipeline.model import ModelSource
from deploy.pipeline.sources import list_images
from deploy.targets.agent import AGENT_VERSION, BOARD_LEASE
from deploy.targets.answers import parse_conditions, parse_detected, parse_measured
from deploy.targets.channel import Channel, Fault, connect
from deploy.targets.examine import INSTALL, Condition
from deploy.targets.spec import TargetSpec

__all__ = ["SshTarget"]

CACHE_LIMIT = 2 << 30  # bytes of the board's disk for pushed files
START_S, EXAMINE_S, STALL_S, DETECT_S, LEASE_S = 120.0, 600.0, 60.0, 3600.0, 600.0
DETECT_IMAGES = 256  # in one request
SETUP_S, MODEL_S = 120.0, 180.0  # bounds on one process of a measurement, far above what the protocols take
HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,254}\Z")
WORD = re.compile(r"[A-Za-z0-9_~/][A-Za-z0-9_./~+-]{0,254}\Z")
ADVICE: Mapping[Fault | None, str] = {
    Fault.UNKNOWN_KEY: "log in once by hand and compare the key of the host: ssh {}",
    Fault.NO_LOGIN: "let your key in: ssh-copy-id {}",
    Fault.UNKNOWN_HOST: "is the name right? ssh takes a name of ~/.ssh/config, or user@board; asked for {}",
    Fault.OLD_PYTHON: "the Python of {} is too old; " + INSTALL["Python 3.8"],
    Fault.DISK_FULL: "free some space in the cache folder of {}",
}
Report = Callable[[str], None]


@dataclass(frozen=True)
class SshTarget:
    """A target behind `ssh`. The user's own configuration counts; a host whose key is not known is refused."""

    spec: TargetSpec

    def __post_init__(self) -> None:
        name, link = self.spec.name, self.spec.link
        if not link.host:
            raise InputError(f"target {name!r} is reached by ssh and has no host: give --host user@board")
        for what, value, pattern in (
            ("host", link.host, HOST),
            ("python", link.python, WORD),
            ("cache", link.cache, WORD),
        ):
            if not pattern.match(value):
                raise InputError(f"target {name!r}: {value!r} is not taken as {what}")
        if shutil.which("ssh") is None:
            raise InputError(f"target {name!r} needs the program ssh; install OpenSSH's client")

    def check(self) -> list[Condition]:
        """What the way there and the board are; where one step fails, the later ones are not tried."""
        link, engine, conditions = self.spec.link, self.spec.engine, []
        with tempfile.TemporaryDirectory(prefix="agent-") as folder, self._connect(Path(folder)) as (channel, archive):
            try:
                hello = self._push(channel, archive, lambda line: None)
                conditions.append(Condition("works", "ssh", link.host))
                conditions += [_explain_lack(name) for name in hello["lacks"]]
                if conditions[1:]:
                    return conditions
                version = channel.ask({"op": "hello"}, START_S, "its introduction")
                if version != AGENT_VERSION:
                    raise channel.fail("an answer of another version")
                request = {"op": "examine", "engine": engine.name, "threads": engine.threads}
                return conditions + parse_conditions(channel.ask(request, EXAMINE_S, "examining it"))
            except BoardError as error:
                where = "agent" if conditions else "ssh" if channel.exit_code in (None, 255) else "Python or disk"
                usual = "is it on, and does this work? ssh {} " + link.python + " --version"
                return [
                    *conditions,
                    Condition("missing", where, str(error), ADVICE.get(channel.fault, usual).format(link.host)),
                ]
            except ValueError as error:
                return [*conditions, Condition("missing", "agent", str(error), "its answers cannot be relied on")]

    def measure(
        self,
        subjects: Mapping[str, ModelSource],
        images: Sequence[Path] = (),
        protocol: str = "screen",
        seed: int = 0,
        report: Report = lambda line: None,
    ) -> dict[str, Measured]:
        """As `deploy.measuring.measure.measure_models`, in a lease of the board; a `BoardError` where it fails."""
        engine, measuring = self.spec.engine, self.spec.measuring
        setup = Setup(
            engine.name, engine.threads, measuring.mode, measuring.lock_clocks, BOARD_LEASE, LEASE_S, measuring.also
        )
        rules = get_protocol(protocol, setup.mode, setup.also)
        if not subjects:
            raise InputError("there is no model to measure")
        for subject in subjects.values():
            if not subject.model.is_file():
                raise InputError(f"there is no model {subject.model}")
        digests = {name: hash_file(subject.model) for name, subject in subjects.items()}
        paths = list_images(images)[: rules.images] if images else []
        files = {digests[name]: subject.model for name, subject in subjects.items()}
        shown = [hash_file(path) for path in paths]
        there = {name: ModelSource.of(subject, Path(digests[name])) for name, subject in subjects.items()}
        asked = MeasuringRequest(there, tuple(map(Path, shown)), protocol, setup, seed)
        passes = rules.processes * (1 + rules.retries) + 2  # without a model that ended its process; of memory alone
        limit_s = LEASE_S + passes * (SETUP_S + MODEL_S * len(subjects))
        with self._open_agent({**files, **dict(zip(shown, paths))}, report) as agent:
            answer = agent.ask({"op": "measure", **asked.to_json()}, limit_s, "measuring", report)
            if not isinstance(answer, dict) or set(answer) != set(subjects):
                raise agent.fail("it answered for other models than it was asked for")
            try:
                return {
                    name: parse_measured(value, digests[name], str(subjects[name].model), protocol, self.spec)
                    for name, value in answer.items()
                }
            except ValueError as error:
                raise agent.fail(str(error)) from error

    def detect(
        self, source: ModelSource, images: Sequence[ImageFile], report: Report = lambda line: None
    ) -> Iterator[tuple[int, Detections, Timings]]:
        """As `Detector.detect_files`, found on the board."""
        there = []
        for position, image in enumerate(images):
            if image.path.is_file():
                there.append((position, image, hash_file(image.path)))
            else:
                report(f"there is no image {image.path} (skipped)")
        model = hash_file(source.model)
        files = {digest: image.path for _, image, digest in there}
        with self._open_agent({model: source.model, **files}, report) as agent:
            for start in range(0, len(there), DETECT_IMAGES):
                part = there[start : start + DETECT_IMAGES]
                request = {
                    "op": "detect",
                    "source": ModelSource.of(source, Path(model)).to_json(),
                    "images": [digest for _, _, digest in part],
                    "sizes": [image.labelled_size for _, image, _ in part],
                    "engine": self.spec.engine.name,
                    "threads": self.spec.engine.threads,
                }
                answer = agent.ask(request, DETECT_S, "detecting", report)
                try:
                    found = parse_detected(answer, len(part))
                except ValueError as error:
                    raise agent.fail(str(error)) from error
                for index, detections, timings in found:
                    yield part[index][0], detections, timings

    @contextmanager
    def _open_agent(self, files: Mapping[str, Path], report: Report) -> Iterator[Channel]:
        """An agent on the board that has these files, by SHA-256."""
        with tempfile.TemporaryDirectory(prefix="agent-") as folder, self._connect(Path(folder)) as (channel, archive):
            for name in self._push(channel, {**archive, **files}, report)["lacks"]:
                raise channel.fail("{0.what}: {0.found}; {0.advice}".format(_explain_lack(name)))
            yield channel

    @contextmanager
    def _connect(self, folder: Path) -> Iterator[tuple[Channel, dict[str, Path]]]:
        """A connection to a board that waits for files, and the first of them: this package, written in `folder`."""
        link = self.spec.link
        archive, script = folder / "detect.pyz", pkgutil.get_data(__name__, "receive.py")
        assert script is not None
        write_archive(archive)
        python = link.python[2:] if link.python.startswith("~/") else link.python  # a login starts at home
        words = [python, "-E", "-c", script.decode(), link.cache, hash_file(archive), str(CACHE_LIMIT)]
        with connect(link, words) as channel:
            yield channel, {hash_file(archive): archive}

    def _push(self, channel: Channel, files: Mapping[str, Path], report: Report) -> dict[str, Any]:
        """Ask which of the files the board has, and send the others; what it says of its Python."""
        sizes = {digest: path.stat().st_size for digest, path in files.items()}
        hello = channel.ask({"files": sizes}, START_S, "connecting")
        channel.step = "starting"
        missing, lacks = (hello.get(key) if isinstance(hello, dict) else None for key in ("missing", "lacks"))
        if not isinstance(missing, list) or not isinstance(lacks, list) or not set(map(str, missing)) <= set(files):
            raise channel.fail("an answer that makes no sense")
        if len(set(map(str, missing))) != len(missing):  # each file is sent once
            raise channel.fail("an answer that makes no sense")
        assert isinstance(hello, dict)
        if not lacks:
            for digest in missing:
                self._send(channel, files[digest], report)
            channel.read_result(START_S)
        return hello

    def _send(self, channel: Channel, path: Path, report: Report) -> None:
        channel.step = f"pushing {path.name}"
        report(f"pushing {path.name} to {self.spec.link.host}")
        with path.open("rb") as file:
            for block in iter(lambda: file.read(1 << 16), b""):
                channel.write(block, STALL_S)


def _explain_lack(name: Any) -> Condition:
    name = make_printable(str(name), 80)
    return Condition("missing", name, "the board's Python lacks it", INSTALL.get(name, ""))
