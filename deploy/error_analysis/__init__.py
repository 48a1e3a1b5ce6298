"""COCO's error analysis: which kind of mistake costs how much precision.

| file | holds |
|---|---|
| `curves` | the seven curves of a class, their means and what lies between them; means over classes |
| `analyse` | the curves of every class, by pycocotools |
| `supercategories` | which classes are similar |
| `page` | one HTML page of it, with charts drawn by `page.js` |

The definition is that of `analyze` in COCO's MATLAB API, with two differences. Means are over the classes that have an
object, as those of average precision are; there a class without one counts as 0. And sizes are those of boxes, as
everywhere here.
"""

from __future__ import annotations

from deploy.error_analysis.analyse import analyse_errors
from deploy.error_analysis.curves import AREAS, CURVES, LOSSES, ErrorAnalysis, ErrorCurves
from deploy.error_analysis.page import write_page

__all__ = ["AREAS", "CURVES", "LOSSES", "ErrorAnalysis", "ErrorCurves", "analyse_errors", "write_page"]
