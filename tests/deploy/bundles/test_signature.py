"""A signature says who made a bundle; without one that holds, nothing is used that was to be signed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy import Bundle, BundleManifest, open_bundle, write_bundle
from deploy.errors import InputError

pytestmark = [
    pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs OpenSSH's ssh-keygen"),
    pytest.mark.timeout(60),
]

Command = Callable[..., tuple[int, str, str]]


def make_key(path: Path) -> Path:
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "made by a test", "-f", str(path)]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
    return path


def list_signer(path: Path, key: Path, options: str = "", name: str = "me@lab") -> Path:
    """Add a line to a file of signers."""
    with path.open("a") as file:
        file.write(f"{name} {options} {key.with_suffix('.pub').read_text()}")
    return path


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("keys") / "mine")


@pytest.fixture(scope="module")
def strange_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("keys") / "theirs")


@pytest.fixture
def signers(tmp_path: Path, key: Path) -> Path:
    return list_signer(tmp_path / "signers", key)


@pytest.fixture
def signed(deploy: Command, tiny_bundle: Bundle, key: Path) -> Path:
    code, out, err = deploy("sign", tiny_bundle.folder, "--key", key)
    assert code == 0, err
    assert out == f"{tiny_bundle.folder / 'bundle.json.sig'}: signed with {key}\n"
    return tiny_bundle.folder


def test_what_the_signer_made_is_run(
    deploy: Command, signed: Path, signers: Path, write_image: Callable[..., Path]
) -> None:
    code, out, err = deploy("run", signed, write_image(), "--require-signature", signers)
    assert (code, err) == (0, "") and "2 objects" in out
    assert open_bundle(signed) == open_bundle(signed, signers)


def test_any_of_several_signers_will_do(tmp_path: Path, signed: Path, key: Path, strange_key: Path) -> None:
    several = list_signer(tmp_path / "several", strange_key, name="other@lab")
    list_signer(several, key, name="me@lab")
    open_bundle(signed, several)


def test_it_can_be_signed_again(deploy: Command, signed: Path, signers: Path, strange_key: Path) -> None:
    assert deploy("sign", signed, "--key", strange_key)[0] == 0
    with pytest.raises(InputError, match="is not signed by anybody in"):
        open_bundle(signed, signers)


def test_a_bundle_that_is_written_again_is_not_signed(
    signed: Path, signers: Path, tiny_model: Path, manifest: BundleManifest
) -> None:
    write_bundle(signed, tiny_model, manifest)
    with pytest.raises(InputError, match="is not signed: it holds no"):
        open_bundle(signed, signers)


def sign_for_git(folder: Path, key: Path) -> None:
    place = folder / "bundle.json.sig"
    content = (folder / "bundle.json").read_bytes()
    made = subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-n", "git", "-f", str(key)], input=content, capture_output=True, check=True
    )
    place.write_bytes(made.stdout)


def leave_unsigned(folder: Path, key: Path) -> None:
    (folder / "bundle.json.sig").unlink()


def alter_model(folder: Path, key: Path) -> None:
    (folder / "model.onnx").write_bytes(b"other")


def alter_manifest(folder: Path, key: Path) -> None:
    """As somebody would who knows the format: the manifest's own hash is over its values, not over its text."""
    path = folder / "bundle.json"
    path.write_text(path.read_text() + "\n")
    open_bundle(folder)


def take_signature_of_another(folder: Path, key: Path) -> None:
    other = folder.parent / "other"
    shutil.copytree(folder, other)
    (other / "bundle.json").write_text("{}")
    words = ["ssh-keygen", "-Y", "sign", "-n", "bundle@detopt", "-f", str(key)]
    made = subprocess.run(words, input=b"{}", capture_output=True, check=True)
    (folder / "bundle.json.sig").write_bytes(made.stdout)


def write_rubbish(folder: Path, key: Path) -> None:
    (folder / "bundle.json.sig").write_bytes(b"-----BEGIN SSH SIGNATURE-----\nrubbish\n")


def write_too_much(folder: Path, key: Path) -> None:
    os.truncate(folder / "bundle.json.sig", 1 << 30)


def link_signature(folder: Path, key: Path) -> None:
    (folder / "bundle.json.sig").rename(folder.parent / "elsewhere.sig")
    (folder / "bundle.json.sig").symlink_to(folder.parent / "elsewhere.sig")


def make_pipe(folder: Path, key: Path) -> None:
    (folder / "bundle.json.sig").unlink()
    os.mkfifo(folder / "bundle.json.sig")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (leave_unsigned, "is not signed: it holds no bundle.json.sig"),
        (alter_model, "was altered or cut short"),
        (alter_manifest, "does not hold"),
        (take_signature_of_another, "does not hold"),
        (sign_for_git, "does not hold"),
        (write_rubbish, "is not signed by anybody in"),
        (write_too_much, "too large"),
        (link_signature, "is a link"),
        (make_pipe, "is not a plain file"),
    ],
)
def test_what_nobody_signed_is_not_run(
    deploy: Command, signed: Path, signers: Path, key: Path, write_image: Callable[..., Path],
    damage: Callable[[Path, Path], None], words: str,
) -> None:  # fmt: skip
    damage(signed, key)
    code, out, err = deploy("run", signed, write_image(), "--require-signature", signers)
    assert (code, out) == (2, "") and words in err and err.count("\n") == 1, err


def test_a_signer_who_may_not_sign_bundles_is_nobody(tmp_path: Path, signed: Path, key: Path) -> None:
    with pytest.raises(InputError, match="does not hold"):
        open_bundle(signed, list_signer(tmp_path / "git", key, 'namespaces="git"'))
    with pytest.raises(InputError, match=r"does not hold|not signed by anybody"):
        open_bundle(signed, list_signer(tmp_path / "expired", key, 'valid-before="20200101"'))


@pytest.mark.parametrize("content", [None, "", "rubbish\n"])
def test_a_file_of_no_signers_lets_nobody_pass(tmp_path: Path, signed: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "nobody").write_text(content)
    with pytest.raises(InputError, match=r"no file of signers|not signed by anybody"):
        open_bundle(signed, tmp_path / "nobody")


def test_every_command_that_uses_a_bundle_asks(
    deploy: Command, tiny_bundle: Bundle, signers: Path, write_image: Callable[..., Path]
) -> None:
    folder, image = tiny_bundle.folder, write_image("data/a.png")
    for words in (
        ("run", folder, image),
        ("evaluate", folder, "--data", image.parent),
        ("errors", folder, "--data", image.parent),
        ("convert", folder, "--precision", "fp16", "--data", image.parent),
        ("measure", folder),
        ("compare", folder, folder),
        ("check", folder),
        ("check", folder, "--build"),
    ):
        code, out, err = deploy(*words, "--require-signature", signers)
        assert (code, out) == (2, "") and "is not signed" in err and err.count("\n") == 1, (words, err)


@pytest.mark.parametrize("words", [("measure", "--trust"), ("check",)])
def test_a_bare_model_cannot_be_signed(
    deploy: Command, tiny_model: Path, signers: Path, words: tuple[str, ...]
) -> None:
    code, _, err = deploy(words[0], tiny_model, *words[1:], "--require-signature", signers)
    assert code == 2 and "only a bundle can be signed" in err and err.count("\n") == 1


def test_without_ssh_keygen_it_is_said_what_is_missing(
    deploy: Command, signed: Path, signers: Path, key: Path, write_image: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("PATH", str(tmp_path))
    for words in (("sign", signed, "--key", key), ("run", signed, write_image(), "--require-signature", signers)):
        code, _, err = deploy(*words)
        assert code == 2 and "need ssh-keygen, which is not here: install" in err and err.count("\n") == 1


def test_what_is_no_key_signs_nothing(deploy: Command, tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "rubbish").write_text("no key")
    for name, words in (("absent", "there is no key"), ("rubbish", "does not sign with")):
        code, out, err = deploy("sign", tiny_bundle.folder, "--key", tmp_path / name)
        assert (code, out) == (2, "") and words in err and err.count("\n") == 1, err
    assert not (tiny_bundle.folder / "bundle.json.sig").exists()


def test_what_is_altered_is_not_signed(deploy: Command, tiny_bundle: Bundle, key: Path) -> None:
    tiny_bundle.model.write_bytes(b"other")
    code, _, err = deploy("sign", tiny_bundle.folder, "--key", key)
    assert code == 2 and "was altered" in err and not (tiny_bundle.folder / "bundle.json.sig").exists()
