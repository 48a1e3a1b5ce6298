# syntax=docker/dockerfile:1
# CPU stage:  docker build --target cpu -t detopt:cpu .     docker run --rm detopt:cpu make test
# GPU stage:  docker build --target gpu -t detopt:gpu .     docker run --rm --gpus all detopt:gpu optimize --help
# Add --shm-size=2g to docker run for training with --workers: Docker gives /dev/shm 64 MB, which is too little.
# Neither image has been built by the project's own checks yet: see "what was run where" in README.md.

FROM python:3.11-slim-bookworm AS cpu
RUN apt-get update && apt-get install -y --no-install-recommends make git && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/detopt
COPY . .
RUN python -m venv .venv \
    && .venv/bin/pip install --no-cache-dir --upgrade pip setuptools \
    && .venv/bin/pip install --no-cache-dir --editable '.[dev]' \
    && touch .venv/.installed
ENV PATH=/opt/detopt/.venv/bin:$PATH
CMD ["optimize", "--help"]

FROM nvcr.io/nvidia/tensorrt:25.09-py3 AS gpu
WORKDIR /opt/detopt
COPY . .
# TensorRT comes with the image; torch, torchvision and ONNX Runtime come from the package index.
RUN python3 -m venv --system-site-packages .venv \
    && .venv/bin/pip install --no-cache-dir --upgrade pip setuptools \
    && .venv/bin/pip install --no-cache-dir --editable '.[dev]' \
    && touch .venv/.installed
ENV PATH=/opt/detopt/.venv/bin:$PATH
CMD ["optimize", "--help"]
