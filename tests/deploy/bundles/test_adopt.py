"""A model from elsewhere becomes a bundle only with trust, and only if it is what was said of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy import ModelStatement, Preprocess, adopt_model, open_bundle, open_detector
from deploy.bundles.adopt import COCO_CLASSES, read_class_names
from deploy.errors import InputError

SIDE, CELLS = 64, 84  # grids of 8x8, 4x4 and 2x2 cells
CLASSES = ("cat", "dog")
Command = Callable[..., tuple[int, str, str]]


def write_yolox(path: Path, shape: list[int | str] | None = None, score: float = 0.5) -> Path:
    """A dog of 16x16 around (24, 16) in every image, as a YOLOX head says it: row 19 is column 3, row 2 of 8x8."""
    rows = np.zeros((1, CELLS, 5 + len(CLASSES)), np.float32)
    rows[0, 19] = [0, 0, np.log(2), np.log(2), score, 0, 1]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, shape or [1, 3, SIDE, SIDE])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, rows.shape)
    constants = [numpy_helper.from_array(rows, "rows"), numpy_helper.from_array(np.array(0, np.float32), "zero")]
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["rows", "nothing"], ["output"]),
    ]
    graph = helper.make_graph(nodes, "tiny", [images], [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_yolox(tmp_path / "tiny_yolox.onnx")


@pytest.fixture
def names(tmp_path: Path) -> Path:
    path = tmp_path / "names.txt"
    path.write_text("cat\n\ndog\n", encoding="utf-8")
    return path


def test_an_adopted_model_is_a_bundle_that_detects(model: Path, tmp_path: Path) -> None:
    adopt_model(model, tmp_path / "out", ModelStatement(CLASSES, "yolox"), trust=True)
    bundle = open_bundle(tmp_path / "out")
    assert bundle.manifest.name == "tiny_yolox" and bundle.manifest.arch["adopted"] == "tiny_yolox.onnx"
    assert bundle.preprocess == Preprocess(SIDE, SIDE, "bgr") and bundle.model.read_bytes() == model.read_bytes()
    with open_detector(tmp_path / "out") as detector:
        found = detector(np.zeros((SIDE, 2 * SIDE, 3), np.uint8))
    np.testing.assert_allclose(found.boxes_xyxy, [[32, 16, 64, 48]], rtol=1e-5)
    assert found.labels.tolist() == [1] and found.scores.tolist() == [0.5]


def test_without_trust_nothing_is_loaded_nor_written(deploy: Command, tmp_path: Path, names: Path) -> None:
    (tmp_path / "odd.onnx").write_bytes(b"whatever a reader of models would trip over")
    code, out, err = deploy(
        "adopt", tmp_path / "odd.onnx", "--head", "yolox", "--classes", names, "--out", tmp_path / "out"
    )
    assert (code, out) == (2, "") and "odd.onnx" in err and "--trust" in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_command_adopts_and_the_other_commands_take_it(
    deploy: Command, model: Path, names: Path, tmp_path: Path, write_image: Callable[..., Path]
) -> None:
    out = tmp_path / "out"
    code, text, err = deploy(
        "adopt", model, "--head", "yolox", "--classes", names, "--out", out, "--order", "rgb", "--mean", 1, 2, 3,
        "--std", 4, 5, 6, "--pad", 7, 8, 9, "--antialias", "--trust",
    )  # fmt: skip
    assert (code, err) == (0, "") and "head yolox, 64x64 rgb, 2 classes" in text
    wanted = Preprocess(SIDE, SIDE, "rgb", (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), (7, 8, 9), True)
    assert open_bundle(out).preprocess == wanted
    code, text, _ = deploy("run", out, write_image("a.png", (SIDE, SIDE)))
    assert code == 0 and "dog 0.50 at [16, 8, 32, 24]" in text
    code, text, _ = deploy("measure", out, "--level", "quick", "--json")
    assert code == 0 and json.loads(text)["model"]["windows_ms"]


def test_labels_are_matched_by_name_whatever_ids_and_classes_a_data_set_has(
    deploy: Command, model: Path, tmp_path: Path, write_image: Callable[..., Path]
) -> None:
    adopt_model(model, tmp_path / "out", ModelStatement(CLASSES, "yolox"), trust=True)
    write_image("data/val2017/a.png", (SIDE, SIDE))
    (tmp_path / "data" / "annotations").mkdir()
    truth = {
        "images": [{"id": 1, "file_name": "a.png", "width": SIDE, "height": SIDE}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 90, "bbox": [16, 8, 16, 16], "area": 256}],
        "categories": [{"id": 90, "name": "dog"}],
    }
    (tmp_path / "data" / "annotations" / "instances_val2017.json").write_text(json.dumps(truth))
    code, text, err = deploy("evaluate", tmp_path / "out", "--data", tmp_path / "data", "--json")
    assert code == 0, err
    assert json.loads(text)["ap"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"head": "detections"}, "no output boxes"),
        ({"class_names": ("cat", "dog", "cow")}, "tells 2 classes apart, but 3 are named"),
        ({"head": "fly"}, "unknown head 'fly'"),
        ({"trust": False}, "--trust"),
        ({"prepare": lambda head, width, height: Preprocess(32, 32)}, r"shape \[1, 3, 32, 32\]"),
    ],
)
def test_what_does_not_fit_is_one_line_and_no_bundle(
    model: Path, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    arguments = {"head": "yolox", "class_names": CLASSES, "trust": True, **change}
    trust = bool(arguments.pop("trust"))
    with pytest.raises(InputError, match=words) as caught:
        adopt_model(model, tmp_path / "out", ModelStatement(**arguments), trust)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (["batch", 3, SIDE, SIDE], r"\[\?, 3, 64, 64\].*fixed shapes"),
        ([1, 3, "height", "width"], r"\[1, 3, \?, \?\].*fixed shapes"),
        ([1, 1, SIDE, SIDE], r"not one image \[1, 3, height, width\]"),
        ([1, 3, 48, SIDE], "multiples of 32; this is 64x48"),
        ([1, 3, 32, SIDE], r"\[1, 42, 5 \+ classes\].*\[1, 84, 7\]"),
    ],
)
def test_free_and_foreign_shapes_are_exit_2(
    deploy: Command, tmp_path: Path, names: Path, shape: list[int | str], words: str
) -> None:
    path = write_yolox(tmp_path / "shaped.onnx", shape)
    code, out, err = deploy("adopt", path, "--head", "yolox", "--classes", names, "--out", tmp_path / "out", "--trust")
    assert (code, out) == (2, "") and err.count("\n") == 1 and "shaped.onnx" in err
    with pytest.raises(InputError, match=words):
        adopt_model(path, tmp_path / "out", ModelStatement(CLASSES, "yolox"), trust=True)


def test_values_that_are_not_the_heads_show_before_the_bundle_is_written(tmp_path: Path) -> None:
    path = write_yolox(tmp_path / "logits.onnx", score=3.0)
    with pytest.raises(InputError, match=r"logits\.onnx cannot be run: .*sigmoids"):
        adopt_model(path, tmp_path / "out", ModelStatement(CLASSES, "yolox"), trust=True)
    assert not (tmp_path / "out").exists()


def test_labels_beyond_the_names_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="answers with class 1, but 1 are named"):
        adopt_model(tiny_model, tmp_path / "out", ModelStatement(("cat",), "detections"), trust=True)
    adopt_model(tiny_model, tmp_path / "out", ModelStatement(CLASSES, "detections"), trust=True)
    assert open_bundle(tmp_path / "out").head == "detections"


def test_weights_in_other_files_are_refused(model: Path, tmp_path: Path) -> None:
    apart = tmp_path / "apart.onnx"
    onnx.save(onnx.load(model), apart, save_as_external_data=True, location="apart.data", size_threshold=16)
    assert (tmp_path / "apart.data").is_file()
    with pytest.raises(InputError, match=r"apart\.onnx keeps weights in files beside it"):
        adopt_model(apart, tmp_path / "out", ModelStatement(CLASSES, "yolox"), trust=True)


@pytest.mark.parametrize("content", [b"", b"no model" * 30])
def test_a_file_that_is_no_model_is_named_where_it_lies(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd.onnx").write_bytes(content)
    with pytest.raises(InputError) as caught:
        adopt_model(tmp_path / "odd.onnx", tmp_path / "out", ModelStatement(CLASSES, "yolox"), trust=True)
    assert str(tmp_path / "odd.onnx") in str(caught.value) and "\n" not in str(caught.value)


def test_class_names_are_read_in_order_and_cocos_are_known(names: Path) -> None:
    assert read_class_names(str(names)) == CLASSES
    assert read_class_names("coco") is COCO_CLASSES and len(set(COCO_CLASSES)) == 80
    assert (COCO_CLASSES[0], COCO_CLASSES[11], COCO_CLASSES[79]) == ("person", "stop sign", "toothbrush")


@pytest.mark.parametrize(
    ("text", "words"), [(b"", "is empty"), (b"cat\ndog\ncat\n", "names twice: cat"), (b"\xff", "cannot be read")]
)
def test_class_names_that_are_none_are_refused(tmp_path: Path, text: bytes, words: str) -> None:
    (tmp_path / "names.txt").write_bytes(text)
    with pytest.raises(InputError, match=words):
        read_class_names(str(tmp_path / "names.txt"))
    with pytest.raises(InputError, match="absent"):
        read_class_names(str(tmp_path / "absent.txt"))


@pytest.mark.real
def test_yolox_nano_has_its_average_precision_on_the_excerpt_of_coco(
    deploy: Command, real_data: Path, tmp_path: Path
) -> None:
    path = real_data.parent / "weights" / "yolox_nano_416.onnx"
    if not path.is_file():
        pytest.skip(f"an outside model: there is no {path}")
    data = real_data / "coco_excerpt"
    found = {}
    for name, options in {"pillow": ["--antialias"], "opencv": []}.items():
        code, _, err = deploy(
            "adopt", path, "--head", "yolox", "--classes", "coco", "--out", tmp_path / name, "--trust", *options
        )
        assert code == 0, err
        code, out, err = deploy("evaluate", tmp_path / name, "--data", data, "--json")
        assert code == 0, err
        found[name] = json.loads(out)
    # Of 0.333 and 0.489, the known figures, Pillow's way of shrinking gives both; OpenCV's moves AP by 0.003.
    assert found["pillow"]["ap"] == pytest.approx(0.333, abs=0.002)
    assert found["pillow"]["ap50"] == pytest.approx(0.489, abs=0.002)
    assert found["opencv"]["ap"] == pytest.approx(0.336, abs=0.002)
