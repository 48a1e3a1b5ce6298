from deploy.detections import Detections
from deploy.pipeline.preprocess import Placement, Preprocess
