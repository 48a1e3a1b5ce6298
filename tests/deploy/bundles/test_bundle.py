"""A bundle is whole or refused: truncation, alteration, foreign schemas and escaping names are each one clear error."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from deploy import Bundle, BundleManifest, Selection, open_bundle, write_bundle
from deploy.errors import DeployError, InputError
from deploy.files import hash_file


def rewrite(bundle: Bundle, **changes: object) -> None:
    """Change the manifest on disk behind the bundle's back, without its hash."""
    path = bundle.folder / "bundle.json"
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps(content))


def test_a_written_bundle_opens_as_it_was(tiny_bundle: Bundle, tiny_model: Path, manifest: BundleManifest) -> None:
    opened = open_bundle(tiny_bundle.folder)
    assert opened == tiny_bundle
    assert replace(opened.manifest, files={}) == replace(manifest, files={})
    assert sorted(opened.manifest.files) == ["detect.pyz", "model.onnx"]
    assert opened.model.read_bytes() == tiny_model.read_bytes()


def test_a_selection_travels_with_the_bundle(tmp_path: Path, tiny_model: Path, manifest: BundleManifest) -> None:
    selection = Selection(0.1, 0.4, 20)
    write_bundle(tmp_path / "out", tiny_model, replace(manifest, selection=selection))
    opened = open_bundle(tmp_path / "out")
    assert opened.selection == opened.manifest.selection == selection and opened.selection == selection


@pytest.mark.parametrize(("key", "then"), [("selection", None), ("roi_align", "op")])
def test_a_bundle_from_before_there_was_a_choice_opens(manifest: BundleManifest, key: str, then: object) -> None:
    value = manifest.to_json()
    del value[key]
    assert BundleManifest.from_json(value) == manifest and getattr(manifest, key) == then


@pytest.mark.parametrize(
    "selection",
    [{}, 3, {"score_threshold": 0.1, "iou_threshold": 0, "max_detections": 9},
     {"score_threshold": 2, "iou_threshold": 0.5, "max_detections": 9},
     {"score_threshold": 0.1, "iou_threshold": 0.5, "max_detections": 0}],
)  # fmt: skip
def test_a_selection_that_selects_nothing_is_refused(manifest: BundleManifest, selection: object) -> None:
    with pytest.raises(InputError, match="not a bundle's description"):
        BundleManifest.from_json({**manifest.to_json(), "selection": selection})


def test_a_bundle_opens_by_its_manifest_too(tiny_bundle: Bundle) -> None:
    assert open_bundle(tiny_bundle.folder / "bundle.json") == tiny_bundle


def test_a_truncated_model_is_named_with_both_hashes(tiny_bundle: Bundle) -> None:
    stated = tiny_bundle.manifest.files["model.onnx"]
    tiny_bundle.model.write_bytes(tiny_bundle.model.read_bytes()[:-1])
    with pytest.raises(InputError) as caught:
        open_bundle(tiny_bundle.folder)
    message = str(caught.value)
    assert "model.onnx" in message and stated[:12] in message and hash_file(tiny_bundle.model)[:12] in message
    assert "\n" not in message


def test_a_missing_file_is_named(tiny_bundle: Bundle) -> None:
    (tiny_bundle.folder / "detect.pyz").unlink()
    with pytest.raises(InputError, match=r"incomplete: detect\.pyz is missing"):
        open_bundle(tiny_bundle.folder)


def test_an_altered_manifest_is_noticed(tiny_bundle: Bundle) -> None:
    rewrite(tiny_bundle, class_names=["dog", "cat"])
    with pytest.raises(InputError, match=r"altered.*bundle\.json"):
        open_bundle(tiny_bundle.folder)


def test_another_schema_version_is_named_before_anything_else(tiny_bundle: Bundle) -> None:
    rewrite(tiny_bundle, schema_version=99, head="unheard of")
    with pytest.raises(InputError, match="schema version 99; this release reads 1"):
        open_bundle(tiny_bundle.folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 1}', '{"schema_version": 1, "files": 3}'])
def test_a_damaged_manifest_is_an_input_error(tiny_bundle: Bundle, text: str) -> None:
    (tiny_bundle.folder / "bundle.json").write_text(text)
    with pytest.raises(InputError, match=r"bundle\.json"):
        open_bundle(tiny_bundle.folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "..", "a/../../b", "a\\..\\b", ""])
def test_a_file_name_that_leaves_the_bundle_is_refused(
    tiny_model: Path, manifest: BundleManifest, tmp_path: Path, name: str
) -> None:
    with pytest.raises(InputError, match="name of an extra file"):
        write_bundle(tmp_path / "out", tiny_model, manifest, {name: tiny_model})
    assert not (tmp_path / "out").exists()


def test_an_escaping_name_is_refused_on_opening_even_if_its_hash_is_right(tmp_path: Path, tiny_bundle: Bundle) -> None:
    secret = tmp_path / "secret"
    secret.write_text("mine")
    content = replace(
        tiny_bundle.manifest, files={**tiny_bundle.manifest.files, "../secret": hash_file(secret)}
    ).to_json()
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    (tiny_bundle.folder / "bundle.json").write_text(json.dumps({**content, "sha256": digest}))
    with pytest.raises(InputError, match=r"'\.\./secret' leaves the bundle"):
        open_bundle(tiny_bundle.folder)


def test_extra_files_travel_and_are_hashed(tmp_path: Path, tiny_model: Path, manifest: BundleManifest) -> None:
    notes = tmp_path / "notes"
    notes.write_text("hello")
    bundle = write_bundle(tmp_path / "out", tiny_model, manifest, {"docs/notes.txt": notes})
    assert (bundle.folder / "docs" / "notes.txt").read_text() == "hello"
    assert bundle.manifest.files["docs/notes.txt"] == hash_file(notes)


def test_a_folder_of_someone_elses_is_left_alone(tmp_path: Path, tiny_model: Path, manifest: BundleManifest) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious.txt").write_text("mine")
    with pytest.raises(InputError, match="no bundle"):
        write_bundle(tmp_path / "out", tiny_model, manifest)
    assert (tmp_path / "out" / "precious.txt").read_text() == "mine"


def test_a_bundle_replaces_its_namesake_and_leaves_nothing_beside_it(
    tiny_bundle: Bundle, tiny_model: Path, manifest: BundleManifest
) -> None:
    write_bundle(tiny_bundle.folder, tiny_model, replace(manifest, name="second"))
    assert open_bundle(tiny_bundle.folder).manifest.name == "second"
    assert not list(tiny_bundle.folder.parent.glob(".*"))


def test_a_write_that_fails_leaves_the_old_bundle_whole(
    tiny_bundle: Bundle, tmp_path: Path, manifest: BundleManifest
) -> None:
    with pytest.raises(DeployError, match="could not be written"):
        write_bundle(tiny_bundle.folder, tmp_path / "absent.onnx", replace(manifest, name="second"))
    assert open_bundle(tiny_bundle.folder).manifest.name == "tiny"
    assert not list(tiny_bundle.folder.parent.glob(".*"))


@pytest.mark.parametrize("name", ["absent", "tiny.onnx", "."])
def test_what_is_no_bundle_is_said_to_be_none(tmp_path: Path, tiny_model: Path, name: str) -> None:
    with pytest.raises(InputError, match="no bundle"):
        open_bundle(tmp_path / name)
