"""Who made a bundle: OpenSSH signs and checks `bundle.json`, which holds the hash of every file."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Sequence

from deploy.errors import DeployError, InputError
from deploy.files import write_file
from deploy.foreign import make_printable
from deploy.reading import read_plain

__all__ = ["SIGNATURE_FILE", "sign_manifest", "verify_signature"]

SIGNATURE_FILE = "bundle.json.sig"
SIGNATURE_LIMIT = 64 << 10  # bytes
NAMESPACE = "bundle@detopt"  # what the key signed for another purpose, such as a commit, is no signature of a bundle
PROGRAM = "ssh-keygen"
TYPING_S, CHECKING_S = 300.0, 30.0  # the first for whoever types a passphrase


def sign_manifest(folder: Path, manifest: bytes, key: Path) -> Path:
    """Put a signature of a bundle's `bundle.json` beside it; returns where it is. An older one is replaced.

    Args:
        key: a private key of OpenSSH, or a public one whose private key ssh-agent holds.

    Raises:
        InputError: there is no such key, or ssh-keygen is missing or does not sign with it.
        DeployError: the signature cannot be written.
    """
    if not key.is_file():
        raise InputError(f"there is no key {key}; ssh-keygen -t ed25519 -f KEY makes one")
    signed = _ask(["sign", "-n", NAMESPACE, "-f", str(key)], manifest, TYPING_S)
    if signed.returncode or not signed.stdout:
        raise InputError(f"{PROGRAM} does not sign with {key}: {_find_reason(signed)}")
    place = folder / SIGNATURE_FILE
    try:
        write_file(place, signed.stdout)
    except OSError as error:
        raise DeployError(f"the signature {place} could not be written: {error}") from error
    return place


def verify_signature(folder: Path, manifest: bytes, signers: Path) -> str:
    """The name, in the file of signers, of whoever signed the `bundle.json` with this text.

    Args:
        signers: lines of names and public keys, as `man ssh-keygen` says under "allowed signers".

    Raises:
        InputError: it is not signed, or by nobody in the file, or was altered since; or ssh-keygen is missing.
    """
    if not signers.is_file():
        raise InputError(f"there is no file of signers {signers}; a line of it is a name and a public key")
    place = folder / SIGNATURE_FILE
    if not place.exists() and not place.is_symlink():
        raise InputError(f"the bundle {folder} is not signed: it holds no {SIGNATURE_FILE}")
    signature = read_plain(place, SIGNATURE_LIMIT, follow_link=False)
    with tempfile.TemporaryDirectory(prefix="signature-") as aside:  # what is checked is what was read
        copy = Path(aside) / SIGNATURE_FILE
        copy.write_bytes(signature)
        found = _ask(["find-principals", "-s", str(copy), "-f", str(signers)], b"", CHECKING_S)
        names = found.stdout.decode(errors="replace").split("\n")[:-1]
        if found.returncode or not names:
            raise InputError(f"the bundle {folder} is not signed by anybody in {signers}: {_find_reason(found)}")
        for name in names:
            words = ["verify", "-n", NAMESPACE, "-I", name, "-f", str(signers), "-s", str(copy)]
            checked = _ask(words, manifest, CHECKING_S)
            if checked.returncode == 0:
                return name
    raise InputError(f"the signature of the bundle {folder} does not hold: {_find_reason(checked)}")


def _ask(words: Sequence[str], given: bytes, timeout_s: float) -> subprocess.CompletedProcess[bytes]:
    """What ``ssh-keygen -Y`` makes of these words, and of what it is given on stdin."""
    program = shutil.which(PROGRAM)
    if program is None:
        raise InputError(f"signatures need {PROGRAM}, which is not here: install OpenSSH's client (openssh-client)")
    try:
        return subprocess.run(
            [program, "-Y", *words], input=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout_s
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{PROGRAM} gave no answer in {timeout_s:g} s") from error
    except OSError as error:
        raise InputError(f"{PROGRAM} cannot be started: {error}") from error


def _find_reason(ended: subprocess.CompletedProcess[bytes]) -> str:
    """What ssh-keygen complained of last, as one line."""
    said = (ended.stderr.strip() or ended.stdout.strip()).decode(errors="replace")
    return make_printable(said.split("\n")[-1], 200) or f"exit status {ended.returncode}"
