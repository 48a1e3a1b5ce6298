"""What `deploy COMMAND --help` says below the options: what words mean, and examples."""

from __future__ import annotations

import textwrap

from deploy.builders.compatibility import SEVERITIES
from deploy.builders.releases import RELEASES
from deploy.error_analysis.curves import CURVES, LOSSES
from deploy.packs import PACKS
from deploy.packs.nvinfer_graph import HEADS as NVINFER_HEADS
from deploy.pipeline.decode import HEADS

__all__ = ["ADOPT_HELP", "CHECK_HELP", "CONVERT_HELP", "ERRORS_HELP", "EXAMPLES", "PACK_HELP", "SIGN_HELP"]

EXAMPLES = """examples:
  deploy run runs/demo/bundles/base street.jpg photos/ --out drawn
  deploy run runs/demo/bundles/base photos/ --json > found.jsonl
  deploy run runs/demo/bundles/base street.mp4 --every 5 --out drawn
  deploy run runs/demo/bundles/base /dev/video0 --json
  deploy evaluate runs/demo/bundles/base --data path/to/labelled/images
  deploy errors runs/demo/bundles/base --data path/to/labelled/images --out errors.html
  deploy measure runs/demo/bundles/student-003 --base runs/demo/bundles/base --images photos/
  deploy measure any_model.onnx --trust --level final --json
  deploy adopt any_model.onnx --head yolox --classes coco --out adopted --trust
  deploy compare runs/demo/bundles/student-003 runs/demo/bundles/base
  deploy check any_model.onnx --tensorrt 10.3
  deploy build runs/demo/bundles/student-003 --engine trt --level final
  deploy convert runs/demo/bundles/student-003 --precision int8 --data my_images
  deploy pack runs/demo/bundles/student-003 --for triton --out served
  deploy sign runs/demo/bundles/student-003 --key ~/.ssh/id_ed25519

exit codes: 0 done, 1 failed, 2 the input is wrong, 130 interrupted"""

CHECK_HELP = """which release a board has:
{}

what is found, by severity:
{}

Operators, types, opset, TopK sizes, sizes that depend on the data, zero points
of INT8: each is compared with what is documented of the release. Nothing is
built and no TensorRT is needed (but the onnx package is), so this is the check
before a board is contacted, not a promise that an engine is built there.

examples:
  deploy check any_model.onnx
  deploy check runs/demo/bundles/student-003 --tensorrt 10.3
  deploy check any_model.onnx --json > findings.json
  deploy check runs/demo/bundles/student-003 --build --for sm86,sm120

exit codes: 0 nothing is in the way, 1 something is refused or dynamic,
2 the input is wrong""".format(
    "\n".join(f"  {version:<7} {release.runs_on}" for version, release in RELEASES.items()),
    "\n".join(f"  {severity:<8} {meaning}" for severity, meaning in SEVERITIES.items()),
)

ADOPT_HELP = """An ONNX file says neither how an image is prepared for it nor what its outputs
mean. Said once, it is a bundle that run, evaluate, measure and compare take like
any other. The size of the canvas is that of the model's input.

heads:
{}

An image is scaled into the canvas's top-left corner; without options, its levels
stay 0 to 255 (0 to 1 for all heads but the first three), the padding is 114, and
the channels are in the head's order.
Labelled data is matched to the class names by name, so the ids that a data set
gives its categories do not matter.

examples:
  deploy adopt yolox_nano.onnx --head yolox --classes coco --out adopted --trust
  deploy adopt other.onnx --head detections --classes names.txt --out other \\
      --mean 123.675 116.28 103.53 --std 58.395 57.12 57.375 --trust

exit codes: 0 done, 2 the model is not trusted or is not what was said of it""".format(
    "\n".join("  {:<11} {}".format(name, "\n".ljust(15).join(textwrap.wrap(head.summary, 65)))
              for name, head in HEADS.items())
)  # fmt: skip

ERRORS_HELP = """Average precision says how much is wrong, this says what: COCO's error analysis.
Each curve of precision over recall forgives one more mistake than the one before,
and what lies between the two is what that mistake costs:
{}

C50 and what each mistake costs ({}) add up to 1. Means are
over classes that have an object. Similar classes have one super-category: the
data's own where its COCO JSON names them, COCO's where all classes are COCO's.
A bare model is made a bundle first, by deploy adopt.

examples:
  deploy errors runs/demo/bundles/base --data my_images --out errors.html
  deploy errors adopted --data coco --split test --json > errors.json

exit codes: 0 done, 1 failed, 2 the input is wrong""".format(
    "\n".join(f"  {name:<3}  {meaning}" for name, meaning in CURVES.items()), ", ".join(LOSSES)
)

CONVERT_HELP = """precisions:
  fp16  casts: convolutions, linears and what lies between them in float16;
        layers whose values exceed 10000 stay in fp32
  int8  pairs of QuantizeLinear and DequantizeLinear, symmetrical, one scale
        per channel for weights; the heads' last layers stay in fp32. For
        TensorRT what is not int8 is as in fp16
Box decoding, softmax, TopK, NMS, inputs and outputs are fp32 in both.

AP is that of the converted file, run by the engine that will run it. Where more
than --max-ap-drop is lost, the layers that cost most go back to fp16 (when
TensorRT is to run int8) or to fp32; where that does not help, nothing is written.
Whether it is faster, only the device says: deploy compare BUNDLE-int8 BUNDLE.

examples:
  deploy convert runs/demo/bundles/student-003 --precision int8 --data my_images
  deploy convert student --precision fp16 --data my_images --out student-fp16

exit codes: 0 done, 1 the loss stays above the bound, 2 the input is wrong"""


PACK_HELP = """what is written:
{}

For Triton the model is as it is, and client.py prepares images and reads answers
as the bundle does. For DeepStream nvinfer prepares frames, as far as it can, and
the graph's ends are changed so that a parser which comes with DeepStream reads
them; that takes the heads {},
and the onnx package here. README.txt says what is not as in the bundle.
Neither server was ever run by us.

examples:
  deploy pack runs/demo/bundles/student-003 --for triton --out served
  deploy pack runs/demo/bundles/student-003 --for deepstream --out camera

exit codes: 0 done, 1 failed, 2 the bundle cannot be packed for that server""".format(
    "\n".join("  {:<11} {}".format(name, "\n".ljust(15).join(textwrap.wrap(pack.summary, 65)))
              for name, pack in PACKS.items()), ", ".join(NVINFER_HEADS)
)  # fmt: skip

SIGN_HELP = """ssh-keygen signs bundle.json, which holds the hash of every file; the signature is
written beside it, as bundle.json.sig. Whoever uses the bundle names a file of the
signers that are believed, a name and a public key per line:

  echo "me@lab $(cat ~/.ssh/id_ed25519.pub)" > signers
  deploy run BUNDLE photos/ --require-signature signers

Hashes alone show that a bundle is as it was written; a signature shows by whom."""
