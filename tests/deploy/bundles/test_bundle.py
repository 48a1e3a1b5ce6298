"""A bundle is whole or refused: truncation, alteration, foreign schemas and escaping names are each one clear error."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from deploy import Bundle, BundleManifest, Selection, open_bundle, write_bundle
from deploy.bundles.external_data import has_external_data
from deploy.errors import DeployError, InputError
from deploy.files import hash_file


def rewrite(bundle: Bundle, **changes: object) -> None:
    """Change the manifest on disk behind the bundle's back, without its hash."""
    path = bundle.folder / "bundle.json"
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps(content))


def sign(folder: Path, manifest: BundleManifest) -> None:
    """Write a manifest with its right hash."""
    content = manifest.to_json()
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    (folder / "bundle.json").write_text(json.dumps({**content, "sha256": digest}))


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
    files = {**tiny_bundle.manifest.files, "../secret": hash_file(secret)}
    sign(tiny_bundle.folder, replace(tiny_bundle.manifest, files=files))
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
    with pytest.raises(InputError, match="not a bundle"):
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


PLACES = ("initializer", "constant", "inner graph", "function", "sparse")


def make_external(place: str) -> onnx.ModelProto:
    """A model one of whose tensors is in the file `weights`."""
    tensor = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [1], bytes(4), raw=True)
    onnx.external_data_helper.set_external_data(tensor, "weights")
    constant = onnx.helper.make_node("Constant", [], ["c"], value=tensor)
    graph = onnx.helper.make_graph([], "g", [], [])
    model = onnx.helper.make_model(graph)
    if place == "initializer":
        model.graph.initializer.append(tensor)
    elif place == "constant":
        model.graph.node.append(constant)
    elif place == "inner graph":
        inner = onnx.helper.make_graph([constant], "inner", [], [])
        model.graph.node.append(onnx.helper.make_node("If", ["x"], ["y"], then_branch=inner))
    elif place == "function":
        model.functions.append(onnx.helper.make_function("d", "f", [], ["c"], [constant], []))
    else:
        model.graph.sparse_initializer.add().values.CopyFrom(tensor)
    return model


@pytest.mark.parametrize("place", PLACES)
def test_a_model_that_keeps_tensors_in_other_files_is_refused(
    tmp_path: Path, tiny_bundle: Bundle, manifest: BundleManifest, place: str
) -> None:
    """No hash covers such a file: it could be altered, and the bundle would still pass."""
    path = tmp_path / "external.onnx"
    path.write_bytes(make_external(place).SerializeToString())
    with pytest.raises(InputError, match="keeps tensors in other files"):
        write_bundle(tmp_path / "out", path, manifest)
    assert not (tmp_path / "out").exists()
    shutil.copy(path, tiny_bundle.model)
    files = {**tiny_bundle.manifest.files, "model.onnx": hash_file(path)}
    sign(tiny_bundle.folder, replace(tiny_bundle.manifest, files=files))
    with pytest.raises(InputError, match="keeps tensors in other files"):
        open_bundle(tiny_bundle.folder)


@pytest.mark.parametrize("size", range(0, 400, 7))
def test_a_model_that_is_cut_short_is_looked_at_to_its_end(tmp_path: Path, tiny_model: Path, size: int) -> None:
    (tmp_path / "cut.onnx").write_bytes(tiny_model.read_bytes()[:size])
    assert not has_external_data(tmp_path / "cut.onnx") and not has_external_data(tiny_model)


def test_a_file_that_is_a_link_is_refused(tmp_path: Path, tiny_bundle: Bundle) -> None:
    tiny_bundle.model.rename(tmp_path / "elsewhere")
    tiny_bundle.model.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"model\.onnx is, or is reached by, a link"):
        open_bundle(tiny_bundle.folder)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "\ud800", '{"schema_version": 1e999}'])
def test_a_manifest_that_no_reader_can_follow_is_one_line(tiny_bundle: Bundle, text: str) -> None:
    (tiny_bundle.folder / "bundle.json").write_text(text, errors="surrogatepass")
    with pytest.raises(InputError, match=r"bundle\.json"):
        open_bundle(tiny_bundle.folder)


@pytest.mark.parametrize(("key", "value"), [("max_detections", float("inf")), ("max_detections", float("nan"))])
def test_a_number_that_is_none_is_one_line(manifest: BundleManifest, key: str, value: float) -> None:
    with pytest.raises(InputError, match="not a bundle's description"):
        BundleManifest.from_json({**manifest.to_json(), key: value})
