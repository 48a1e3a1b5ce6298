"""Detectors of detectron2 and mmdetection as plain functions of a state dict, after what their sources say."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import batched_nms, nms, roi_align

from optimizer.detectors import Prediction

SIDE, CLASSES, WIDTH, PROPOSALS = 128, 5, 16, 50
DEPTHS, WIDTHS = (1, 2, 1, 1), ((8, 8, 32), (8, 8, 40), (12, 12, 48), (12, 12, 56))
SIZES = (32, 64, 128, 256, 512)
RATIOS = (0.5, 1.0, 2.0)
State = dict[str, Tensor]


class Foreign:
    """A state dict under a project's names, with random weights, and what that project computes with it."""

    def __init__(self, origin: str, head: str, classes: int = CLASSES) -> None:
        self.detectron = origin.startswith("detectron2")
        self.caffe = origin in ("detectron2", "mmdet-caffe")
        self.head, self.classes = head, classes
        self.state: State = {}
        self.random = torch.Generator().manual_seed(7)
        self._draw_body()
        self._draw_neck()
        self._draw_head()

    # names and shapes

    def layer(self, name: str, *shape: int, bias: bool = True, gain: float = 1.0) -> None:
        fan = math.prod(shape[1:])
        self.state[f"{name}.weight"] = torch.randn(shape, generator=self.random) * gain * math.sqrt(2 / fan)
        if bias:
            self.state[f"{name}.bias"] = torch.randn(shape[0], generator=self.random) * 0.1

    def norm(self, name: str, width: int) -> None:
        for end, low, high in (("weight", 0.5, 1.5), ("bias", -0.3, 0.3)):
            self.state[f"{name}.{end}"] = torch.empty(width).uniform_(low, high, generator=self.random)
        self.state[f"{name}.running_mean"] = torch.zeros(width)
        self.state[f"{name}.running_var"] = torch.ones(width) - (1e-5 if self.detectron else 0)
        if not self.caffe:
            self.state[f"{name}.running_mean"].uniform_(-0.2, 0.2, generator=self.random)
            self.state[f"{name}.running_var"].uniform_(0.5, 1.5, generator=self.random)
        if not self.detectron:
            self.state[f"{name}.num_batches_tracked"] = torch.tensor(9)

    def name_conv(self, stage: int, block: int, conv: str) -> tuple[str, str]:
        """Of a convolution of a block and of its BatchNorm."""
        if self.detectron:
            name = f"backbone.bottom_up.res{stage + 2}.{block}.{conv}"
            return name, f"{name}.norm"
        name = f"backbone.layer{stage + 1}.{block}."
        if conv == "shortcut":
            return f"{name}downsample.0", f"{name}downsample.1"
        return name + conv, name + conv.replace("conv", "bn")

    def _draw_body(self) -> None:
        stem = "backbone.bottom_up.stem.conv1" if self.detectron else "backbone.conv1"
        self.stem = stem, f"{stem}.norm" if self.detectron else "backbone.bn1"
        self.layer(stem, 64, 3, 7, 7, bias=False, gain=1 / 57 if self.caffe else 1.0)
        self.norm(self.stem[1], 64)
        before = 64
        for stage, (depth, (first, second, out)) in enumerate(zip(DEPTHS, WIDTHS)):
            for block in range(depth):
                convs = {"conv1": (first, before, 1, 1), "conv2": (second, first, 3, 3), "conv3": (out, second, 1, 1)}
                if block == 0:
                    convs["shortcut"] = (out, before, 1, 1)
                for conv, shape in convs.items():
                    name, norm = self.name_conv(stage, block, conv)
                    self.layer(name, *shape, bias=False)
                    self.norm(norm, shape[0])
                before = out

    def _draw_neck(self) -> None:
        self.stages = (0, 1, 2, 3) if self.head == "faster_rcnn" else (1, 2, 3)
        for at, stage in enumerate(self.stages):
            for name, reads, kernel in zip(self.name_level(at, stage), (WIDTHS[stage][-1], WIDTH), (1, 3)):
                self.layer(name, WIDTH, reads, kernel, kernel, gain=0.3)
        self.extra = ("backbone.top_block.p6", "backbone.top_block.p7")
        if not self.detectron:
            self.extra = ("neck.fpn_convs.3.conv", "neck.fpn_convs.4.conv")
        if self.head == "retinanet":
            self.layer(self.extra[0], WIDTH, WIDTHS[-1][-1], 3, 3)
            self.layer(self.extra[1], WIDTH, WIDTH, 3, 3)

    def name_level(self, at: int, stage: int) -> tuple[str, str]:
        if self.detectron:
            return f"backbone.fpn_lateral{stage + 2}", f"backbone.fpn_output{stage + 2}"
        return f"neck.lateral_convs.{at}.conv", f"neck.fpn_convs.{at}.conv"

    def _draw_head(self) -> None:
        if self.head == "retinanet":
            names = "head.cls_subnet.{}", "head.bbox_subnet.{}", "head.cls_score", "head.bbox_pred"
            self.steps = (0, 2, 4, 6)
            if not self.detectron:
                names = (
                    "bbox_head.cls_convs.{}.conv",
                    "bbox_head.reg_convs.{}.conv",
                    *(f"bbox_head.retina_{end}" for end in ("cls", "reg")),
                )
                self.steps = (0, 1, 2, 3)
            self.towers = names
            for step in self.steps:
                for tower in names[:2]:
                    self.layer(tower.format(step), WIDTH, WIDTH, 3, 3)
            self.layer(names[2], 9 * self.classes, WIDTH, 3, 3, gain=0.1)
            self.layer(names[3], 36, WIDTH, 3, 3, gain=0.1)
            return
        rpn = "proposal_generator.rpn_head.{}" if self.detectron else "rpn_head.rpn_{}"
        ends = ("conv", "objectness_logits", "anchor_deltas") if self.detectron else ("conv", "cls", "reg")
        self.rpn = [rpn.format(end) for end in ends]
        for name, width, kernel, gain in zip(self.rpn, (WIDTH, 3, 12), (3, 1, 1), (1.0, 0.5, 0.1)):
            self.layer(name, width, WIDTH, kernel, kernel, gain=gain)
        self.box = ["roi_heads.box_head.fc1", "roi_heads.box_head.fc2"]
        self.box += ["roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred"]
        if not self.detectron:
            ends = ("shared_fcs.0", "shared_fcs.1", "fc_cls", "fc_reg")
            self.box = [f"roi_head.bbox_head.{end}" for end in ends]
        shapes = ((24, WIDTH * 49), (24, 24), (self.classes + 1, 24), (4 * self.classes, 24))
        for name, shape in zip(self.box, shapes):
            self.layer(name, *shape, gain=0.5)

    # what is computed

    def prepare(self, pixels: Tensor) -> Tensor:
        """Pixels (1, 3, H, W) red to blue, 0 to 255, as the project normalises them."""
        means, stds = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
        if self.caffe:
            return pixels.flip(1) - torch.tensor(means[::-1]).view(1, 3, 1, 1)
        return (pixels - torch.tensor(means).view(1, 3, 1, 1)) / torch.tensor(stds).view(1, 3, 1, 1)

    def conv(self, x: Tensor, name: str, stride: int = 1, norm: str = "") -> Tensor:
        weight = self.state[f"{name}.weight"]
        x = F.conv2d(x, weight, self.state.get(f"{name}.bias"), stride, weight.shape[-1] // 2)
        if not norm:
            return x
        mean, var, scale, shift = (
            self.state[f"{norm}.{end}"].view(1, -1, 1, 1) for end in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * scale + shift

    def see(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The body's maps and the pyramid's."""
        x = F.max_pool2d(F.relu(self.conv(x, self.stem[0], 2, self.stem[1])), 3, 2, 1)
        body = []
        for stage, depth in enumerate(DEPTHS):
            for block in range(depth):
                stride = 2 if stage and not block else 1
                strides = (stride, 1, 1) if self.caffe else (1, stride, 1)
                out = x
                for number, at in enumerate(strides):
                    name, norm = self.name_conv(stage, block, f"conv{number + 1}")
                    out = self.conv(out if number == 0 else F.relu(out), name, at, norm)
                name, norm = self.name_conv(stage, block, "shortcut")
                x = F.relu(out + (x if block else self.conv(x, name, stride, norm)))
            body.append(x)
        levels: list[Tensor] = []
        above = None
        for at, stage in reversed([*enumerate(self.stages)]):
            lateral, output = self.name_level(at, stage)
            inner = self.conv(body[stage], lateral)
            above = inner if above is None else inner + F.interpolate(above, scale_factor=2.0, mode="nearest")
            levels.insert(0, self.conv(above, output))
        if self.head == "faster_rcnn":
            return body, [*levels, F.max_pool2d(levels[-1], 1, 2)]
        p6 = self.conv(body[-1], self.extra[0], 2)
        return body, [*levels, p6, self.conv(F.relu(p6) if self.detectron else p6, self.extra[1], 2)]

    def lay_anchors(self, level: int, map_: Tensor) -> Tensor:
        """(h * w * A, 4), cell by cell, around the corners of cells."""
        stride = (4 if self.head == "faster_rcnn" else 8) * 2**level
        sides = [SIZES[level] * 2 ** (third / 3) for third in range(1 if self.head == "faster_rcnn" else 3)]
        pairs = [(side, ratio) for side in sides for ratio in RATIOS]
        if not self.detectron:
            pairs = [(side, ratio) for ratio in RATIOS for side in sides]
        anchors = []
        for row in range(map_.shape[2]):
            for column in range(map_.shape[3]):
                for side, ratio in pairs:
                    wide, high = side / math.sqrt(ratio), side * math.sqrt(ratio)
                    x, y = column * stride, row * stride
                    anchors.append([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2])
        return torch.tensor(anchors)

    def decode(self, deltas: Tensor, boxes: Tensor, weights: tuple[float, float] = (1.0, 1.0)) -> Tensor:
        size, centre = boxes[:, 2:] - boxes[:, :2], (boxes[:, 2:] + boxes[:, :2]) / 2
        middle = deltas[:, :2] / weights[0] * size + centre
        grown = (deltas[:, 2:] / weights[1]).clamp(max=math.log(1000 / 16)).exp() * size
        return torch.cat((middle - grown / 2, middle + grown / 2), 1).clamp(0, SIDE)

    def flatten(self, map_: Tensor, values: int) -> Tensor:
        """(1, A * values, h, w) to (h * w * A, values)."""
        return map_[0].view(-1, values, *map_.shape[2:]).permute(2, 3, 0, 1).reshape(-1, values)

    def ask_retinanet(self, maps: list[Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Logits, deltas and anchors of each level."""
        found = []
        for level, map_ in enumerate(maps):
            classes = boxes = map_
            for step in self.steps:
                classes = F.relu(self.conv(classes, self.towers[0].format(step)))
                boxes = F.relu(self.conv(boxes, self.towers[1].format(step)))
            logits = self.flatten(self.conv(classes, self.towers[2]), self.classes)
            found.append((logits, self.flatten(self.conv(boxes, self.towers[3]), 4), self.lay_anchors(level, map_)))
        return found

    def detect_retinanet(self, maps: list[Tensor]) -> Prediction:
        boxes, scores, labels = [], [], []
        for logits, deltas, anchors in self.ask_retinanet(maps):
            best, index = logits.sigmoid().flatten().sort(descending=True)
            index = index[:1000][best[:1000] > 0.05]
            boxes.append(self.decode(deltas[index // self.classes], anchors[index // self.classes]))
            scores.append(best[: len(index)])
            labels.append(index % self.classes)
        return self.select(torch.cat(boxes), torch.cat(scores), torch.cat(labels))

    def select(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> Prediction:
        kept = batched_nms(boxes, scores, labels, 0.5)[:100]
        return Prediction(boxes[kept], scores[kept], labels[kept])

    def ask_rpn(self, maps: list[Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
        found = []
        for level, map_ in enumerate(maps):
            hidden = F.relu(self.conv(map_, self.rpn[0]))
            logits, deltas = (
                self.flatten(self.conv(hidden, name), values) for name, values in zip(self.rpn[1:], (1, 4))
            )
            found.append((logits[:, 0], deltas, self.lay_anchors(level, map_)))
        return found

    def propose(self, maps: list[Tensor]) -> Tensor:
        boxes, scores = [], []
        for logits, deltas, anchors in self.ask_rpn(maps):
            best, index = logits.sort(descending=True)
            box = self.decode(deltas[index[:1000]], anchors[index[:1000]])
            good = (box[:, 2:] - box[:, :2]).amin(1) > 1e-3
            box, best = box[good], best[:1000][good]
            kept = nms(box, best, 0.7)
            boxes.append(box[kept])
            scores.append(best[kept])
        return torch.cat(boxes)[torch.cat(scores).argsort(descending=True)[:PROPOSALS]]

    def judge(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, the background last, and deltas of each class, of RoI features."""
        x = pooled.flatten(1)
        for name in self.box[:2]:
            x = F.relu(F.linear(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"]))
        logits, deltas = (
            F.linear(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"]) for name in self.box[2:]
        )
        return logits, deltas.view(len(x), self.classes, 4)

    def detect_faster_rcnn(self, maps: list[Tensor], *, theirs: bool) -> Prediction:
        """Regions are sampled as there, or as torchvision does."""
        regions = self.propose(maps)
        area = (regions[:, 2:] - regions[:, :2]).prod(1)
        level = (4 + (area.sqrt() / 224 + 1e-6).log2()).floor().clamp(2, 5) - 2
        pooled = torch.zeros(len(regions), WIDTH, 7, 7)
        for number, map_ in enumerate(maps[:4]):
            chosen = level == number
            scale = 1 / (4 * 2**number)
            pooled[chosen] = roi_align(map_, [regions[chosen]], 7, scale, -1 if theirs else 2, aligned=theirs)
        logits, deltas = self.judge(pooled)
        scores = logits.softmax(1)[:, :-1]
        row, label = (scores > 0.05).nonzero().T
        boxes = self.decode(deltas[row, label], regions[row], (10.0, 5.0))
        return self.select(boxes, scores[row, label], label)
