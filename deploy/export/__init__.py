"""A trained detector as an ONNX graph, and the gate it passes before it ships. The only torch in `deploy`."""

from __future__ import annotations

from deploy.export.graph_ops import OnnxGraphOps
from deploy.export.matrix_nms import MatrixGraphOps, RawGraphOps
from deploy.export.onnx import NMS, GraphReport, check_graph, export_onnx
from deploy.export.parity import ParityReport, Tolerance, check_parity
from deploy.export.roi_align import ROI_ALIGN

__all__ = [
    "NMS",
    "ROI_ALIGN",
    "GraphReport",
    "MatrixGraphOps",
    "OnnxGraphOps",
    "ParityReport",
    "RawGraphOps",
    "Tolerance",
    "check_graph",
    "check_parity",
    "export_onnx",
]
