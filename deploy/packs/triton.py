"""A model repository for NVIDIA's Triton Inference Server, and a client that prepares images and reads the answers."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Sequence

from deploy.bundles.archive import write_archive
from deploy.bundles.bundle import Bundle
from deploy.engines.base import TensorSpec
from deploy.packs.base import Pack, Packed, describe_preprocess, write_labels, write_readme
from deploy.pipeline.decode import get_head
from deploy.pipeline.detector import Detector
from deploy.pipeline.model import ModelSource

__all__ = ["PACK"]

TYPES = {
    "float16": "TYPE_FP16", "float32": "TYPE_FP32", "float64": "TYPE_FP64", "bool": "TYPE_BOOL",
    **{f"{sign}int{bits}": f"TYPE_{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip

CALL = "python3 client.py localhost:8000 street.jpg"
CLIENT = '''#!/usr/bin/env python3
"""Objects in images, by the model on a Triton server: python3 client.py localhost:8000 IMAGE ...

Needs numpy, Pillow and tritonclient[http]. How an image is prepared and the answer is read comes from detect.pyz.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "detect.pyz"))

import numpy as np
import tritonclient.http as http
from deploy import Detector, Engine, ModelSource, TensorSpec
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype


class Served(Engine):
    """The model on the server, used as one that runs here."""

    def __init__(self, address, name):
        super().__init__(Path(name))
        self.server = http.InferenceServerClient(address)
        about = self.server.get_model_metadata(name)
        self.inputs, self.outputs = (
            tuple(TensorSpec(one["name"], tuple(one["shape"]), np.dtype(triton_to_np_dtype(one["datatype"])).name)
                  for one in about[end])
            for end in ("inputs", "outputs")
        )

    def _run(self, feeds):
        asked = []
        for name, array in feeds.items():
            asked.append(http.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
            asked[-1].set_data_from_numpy(array)
        answer = self.server.infer(self.name, asked)
        return {spec.name: answer.as_numpy(spec.name) for spec in self.outputs}

    def _release(self):
        self.server.close()


about = json.loads((HERE / "model.json").read_text(encoding="utf-8"))
with Detector(ModelSource.from_json(about["source"]), engine=Served(sys.argv[1], about["name"])) as detector:
    for image in sys.argv[2:]:
        print(json.dumps({"source": image, "objects": detector(image).to_json(about["class_names"])}))
'''


def _write(bundle: Bundle, folder: Path) -> Packed:
    with Detector(bundle, 1, spins=False) as detector:
        inputs, outputs = detector.engine.inputs, detector.engine.outputs
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", bundle.manifest.name).strip(".") or "detector"
    model = folder / "model_repository" / name
    (model / "1").mkdir(parents=True)
    shutil.copyfile(str(bundle.model), str(model / "1" / "model.onnx"))
    (model / "config.pbtxt").write_text(_write_config(name, inputs, outputs), encoding="utf-8")
    write_labels(model, bundle.class_names)
    write_archive(folder / "detect.pyz")
    source = ModelSource.of(bundle, Path("model_repository", name, "1", "model.onnx"))
    about = {"name": name, "class_names": list(bundle.class_names), "source": source.to_json()}
    (folder / "model.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    (folder / "client.py").write_text(CLIENT, encoding="utf-8")
    notes = (
        "Triton runs the network alone: client.py prepares images and reads answers as the bundle itself does, and "
        "needs numpy, Pillow, tritonclient[http] and detect.pyz.",
    )
    start = f'tritonserver --model-repository="$PWD/model_repository"   # in this folder; then {CALL}'
    write_readme(folder, _explain(bundle, start, notes, inputs, outputs))
    return Packed(start, notes)


def _write_config(name: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> str:
    """The text of `config.pbtxt`, a message ModelConfig."""
    lines = [
        f"name: {_quote(name)}",
        'backend: "onnxruntime"',
        "max_batch_size: 0  # the graph's shapes are fixed, the number of images too: dims are whole shapes",
    ]
    for end, specs in (("input", inputs), ("output", outputs)):
        for spec in specs:
            dims = ", ".join("-1" if side is None else str(side) for side in spec.shape)
            lines.append(f"{end} {{ name: {_quote(spec.name)} data_type: {TYPES[spec.dtype]} dims: [ {dims} ] }}")
    lines.append("instance_group { count: 1 kind: KIND_AUTO }  # on a GPU, if Triton has one")
    return "\n".join(lines) + "\n"


def _quote(text: str) -> str:
    """A string of protobuf's text format; what is not plain ASCII goes as the octal numbers of its bytes."""
    plain = (chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\' else f"\\{byte:03o}" for byte in text.encode())
    return f'"{"".join(plain)}"'


def _explain(
    bundle: Bundle, start: str, notes: Sequence[str], inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> list[str]:
    taken, answered = (", ".join(map(str, specs)) for specs in (inputs, outputs))
    return [
        f"{bundle.manifest.name} for NVIDIA's Triton Inference Server. Written from its documentation; Triton never "
        "loaded it where it was written.",
        f"    {start}",
        *notes,
        f"A client of your own has to prepare images. {describe_preprocess(bundle.preprocess)} The network takes "
        f"{taken}.",
        f"It answers {answered}, boxes in pixels of the canvas: divide them by the factor the image was scaled by. "
        f"Head {bundle.head}: {get_head(bundle.head).summary}.",
        "labels.txt, a class name per line from class 0 on, is not named in config.pbtxt: Triton would take it for the "
        "names of an output's positions, and no output here has one position per class.",
        "By TensorRT instead of ONNX Runtime: build a plan with the TensorRT of the server, on its GPU (deploy build, "
        'or trtexec), put it into the folder 1 as model.plan, and write backend: "tensorrt" into config.pbtxt.',
    ]


PACK = Pack("a model repository, to be run by ONNX Runtime, and a client in Python", _write)
