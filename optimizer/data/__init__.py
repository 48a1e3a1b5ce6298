"""Training data: generated shapes, the canvas, augmentation, the loader. Label readers are in `deploy.data`."""
