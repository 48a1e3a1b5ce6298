"""The board's side of a link: requests as JSON lines on stdin, answers as JSON lines on stdout.

Started as ``python3 -I detect.pyz agent CACHE``. It reads only files that were pushed into the cache folder, by their
SHA-256, runs no command that it is given, and ends with everything it started when its client goes or time is up.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO, Callable, Mapping

from deploy.builders.build import prepare_model
from deploy.child import Say, ask_child, take_stdout
from deploy.data.images import ImageFile
from deploy.engines import ENGINES
from deploy.errors import DeployError, EngineError, InputError
from deploy.files import hash_file
from deploy.measuring.clocks import LOCK_CLOCKS
from deploy.measuring.measure import Setup, measure_models
from deploy.measuring.protocols import EXTRAS, MODES, PROTOCOLS
from deploy.pipeline.detector import Detector
from deploy.pipeline.model import ModelSource
from deploy.reading import parse_json
from deploy.targets.examine import Condition, examine_machine

__all__ = ["AGENT_VERSION", "BOARD_LEASE", "REQUESTS", "detect_here", "parse_request", "serve"]

AGENT_VERSION = 3
BOARD_LEASE = "cpu"  # one lock a board, whatever its clients call it; the one of `--target cpu` on the board itself
LINE_LIMIT = 1 << 20
MODELS_LIMIT, IMAGES_LIMIT = 256, 4096
TIME_LIMIT_S = 24 * 3600.0
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
DIGEST = re.compile(r"[0-9a-f]{64}\Z")
DETECTING = "deploy.targets.agent:detect_here"


def serve(cache: Path) -> None:
    """Answer requests one by one until stdin ends."""
    if os.getpgid(0) != os.getpid():
        os.setpgid(0, 0)  # a group of its own: what it starts ends with it
    say = take_stdout()
    lines: queue.Queue[bytes] = queue.Queue(maxsize=4)
    threading.Thread(target=_read_lines, args=(sys.stdin.buffer, lines), daemon=True).start()
    while True:
        line = lines.get()
        timer: threading.Timer | None = None
        try:
            request = parse_request(line)
            limit_s = _take_number(request, "limit_s", TIME_LIMIT_S)
            timer = threading.Timer(limit_s, _give_up, (say, limit_s))
            timer.daemon = True
            timer.start()
            answer = {"ok": True, "result": REQUESTS[request["op"]](request, cache, say)}
        except DeployError as error:
            answer = {"ok": False, "error": str(error)[:2000], "of_model": isinstance(error, (EngineError, InputError))}
        except Exception as error:  # a defect, or a file that no check foresaw: the client has to hear of it
            answer = {"ok": False, "error": f"unexpected {type(error).__name__}: {error}"[:2000]}
        finally:
            if timer is not None:
                timer.cancel()
        say(answer)


def _hello(request: Mapping[str, Any], cache: Path, say: Say) -> int:
    return AGENT_VERSION


def _examine(request: Mapping[str, Any], cache: Path, say: Say) -> list[Condition]:
    return examine_machine(_take_choice(request, "engine", ENGINES), _take_threads(request), cache)


def _measure(request: Mapping[str, Any], cache: Path, say: Say) -> dict[str, Any]:
    stated = request.get("subjects")
    if not isinstance(stated, dict) or not 0 < len(stated) <= MODELS_LIMIT:
        raise InputError(f"subjects names 1 to {MODELS_LIMIT} models")
    subjects = {}
    for name, item in stated.items():
        if not NAME.match(name):
            raise InputError(f"{name!r} cannot be a model's name")
        subjects[name] = _find_source(cache, item)
    measured = measure_models(
        subjects,
        _find_images(request, cache),
        _take_choice(request, "protocol", PROTOCOLS),
        _take_setup(request),
        int(_take_number(request, "seed", 2.0**53, least=0)),
        lambda line: say({"note": line[:500]}),
    )
    return {name: item.to_json() for name, item in measured.items()}


def _detect(request: Mapping[str, Any], cache: Path, say: Say) -> Any:
    return ask_child(DETECTING, {"request": request, "cache": str(cache)}, say)  # a model may end the process it is in


def detect_here(asked: Mapping[str, Any], say: Say) -> list[dict[str, Any]]:
    """The answer to the request "detect", for a process of its own."""
    request, cache = asked["request"], Path(asked["cache"])
    engine = _take_choice(request, "engine", ENGINES)
    source = _find_source(cache, request.get("source"))
    source = ModelSource.of(source, prepare_model(source.model, engine))
    images = _find_images(request, cache)
    sizes = _take_sizes(request, len(images))
    files = [ImageFile(path, size) for path, size in zip(images, sizes)]
    found = []
    with Detector(source, _take_threads(request), engine) as detector:
        for position, detections, timings in detector.detect_files(files, lambda line: say({"note": line[:500]})):
            found.append(
                {
                    "image": position,
                    "boxes_xyxy": detections.boxes_xyxy.tolist(),
                    "scores": detections.scores.tolist(),
                    "labels": detections.labels.tolist(),
                    "pre_ms": timings.pre_ms,
                    "infer_ms": timings.infer_ms,
                }
            )
    return found


REQUESTS: dict[str, Callable[[Mapping[str, Any], Path, Say], Any]] = {
    "hello": _hello,
    "examine": _examine,
    "measure": _measure,
    "detect": _detect,
}


def parse_request(line: bytes) -> dict[str, Any]:
    """A request of a kind that there is; an `InputError` otherwise."""
    request = parse_json(line, "a request, which is one JSON object per line,")
    if not isinstance(request, dict) or request.get("op") not in tuple(REQUESTS):
        raise InputError(f"unknown request; there are: {', '.join(REQUESTS)}")
    return request


def _find_file(cache: Path, digest: Any) -> Path:
    """A pushed file, checked against the hash that names it."""
    if not isinstance(digest, str) or not DIGEST.match(digest):
        raise InputError(f"{digest!r} is not a SHA-256")
    path = cache / digest
    if path.is_symlink() or not path.is_file():
        raise InputError(f"the file {digest[:12]} was not pushed")
    if hash_file(path) != digest:
        path.unlink()
        raise InputError(f"the file {digest[:12]} was damaged on this machine; push it again")
    return path


def _find_source(cache: Path, value: Any) -> ModelSource:
    """A model that was pushed: its description has its SHA-256 in place of a path."""
    if not isinstance(value, dict):
        raise InputError(f"{value!r} does not describe a model")
    source = ModelSource.from_json(value)
    return ModelSource.of(source, _find_file(cache, str(source.model)))


def _find_images(request: Mapping[str, Any], cache: Path) -> list[Path]:
    images = request.get("images")
    if not isinstance(images, list) or len(images) > IMAGES_LIMIT:
        raise InputError(f"images is a list of at most {IMAGES_LIMIT}")
    return [_find_file(cache, digest) for digest in images]


def _take_sizes(request: Mapping[str, Any], images: int) -> list[tuple[int, int] | None]:
    """The size of each image, None where it is not stated."""
    sizes = request.get("sizes")
    if sizes is None:
        return [None] * images
    if not isinstance(sizes, list) or len(sizes) != images:
        raise InputError(f"sizes is a list of {images}, one for each image, not {sizes!r:.80}")
    return [_parse_size(value) for value in sizes]


def _parse_size(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2 or not all(type(side) is int and side > 0 for side in value):
        raise InputError(f"{value!r} is not a width and a height")
    return value[0], value[1]


def _take_choice(request: Mapping[str, Any], key: str, known: Mapping[str, Any]) -> str:
    value = request.get(key)
    if not isinstance(value, str) or value not in known:
        raise InputError(f"{key} is one of {', '.join(known)}, not {value!r}")
    return value


def _take_setup(request: Mapping[str, Any]) -> Setup:
    """How to measure; the lock is this machine's own, whatever its client calls the target."""
    setup = request.get("setup")
    if not isinstance(setup, dict):
        raise InputError(f"setup says how to measure, not {setup!r}")
    return Setup(
        engine=_take_choice(setup, "engine", ENGINES),
        threads=_take_threads(setup),
        mode=_take_choice(setup, "mode", MODES),
        lock_clocks=_take_choice(setup, "lock_clocks", dict.fromkeys(LOCK_CLOCKS)),
        target=BOARD_LEASE,
        lease_timeout_s=_take_number(setup, "lease_timeout_s", TIME_LIMIT_S, least=0),
        also=_take_extras(setup),
    )


def _take_extras(setup: Mapping[str, Any]) -> tuple[str, ...]:
    asked = setup.get("also", [])
    if not isinstance(asked, list) or not all(isinstance(item, str) and item in EXTRAS for item in asked):
        raise InputError(f"also is a list of some of {', '.join(EXTRAS)}, not {asked!r:.80}")
    return tuple(dict.fromkeys(asked))


def _take_number(request: Mapping[str, Any], key: str, most: float, least: float = 0.01) -> float:
    value = request.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise InputError(f"{key} is a number from {least:g} to {most:g}, not {value!r}")
    return float(value)


def _take_threads(request: Mapping[str, Any]) -> int | None:
    return None if request.get("threads") is None else int(_take_number(request, "threads", 1024, least=1))


def _read_lines(stream: BinaryIO, lines: queue.Queue[bytes]) -> None:
    """Hand lines on; at the end of the stream, or of our patience, everything ends."""
    while True:
        line = stream.readline(LINE_LIMIT)
        if not line.endswith(b"\n"):
            os.killpg(0, signal.SIGKILL)
        lines.put(line)


def _give_up(say: Say, limit_s: float) -> None:
    try:
        say({"ok": False, "error": f"the request took longer than its limit of {limit_s:g} s"})
    finally:
        os.killpg(0, signal.SIGKILL)
