"""Other projects whose detectors' weights can be taken over. One file per project, one line per convention here.

No torch here: a file says how names and the meaning of numbers differ; `optimizer.detectors.converted` turns tensors.
"""

from collections.abc import Mapping

from optimizer.origins.base import Origin
from optimizer.origins.detectron2 import DETECTRON2, DETECTRON2_TORCHVISION
from optimizer.origins.mmdet import MMDET, MMDET_CAFFE

__all__ = ["ORIGINS", "Origin"]

ORIGINS: Mapping[str, Origin] = {
    origin.name: origin for origin in (DETECTRON2, DETECTRON2_TORCHVISION, MMDET, MMDET_CAFFE)
}
