"""The path filter: a Transformer encoder from the layers of a path and its bucket to a score (FACTS 4.7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import embedding

from optimizer.path_filter.buckets import BUCKETS, Buckets
from optimizer.path_filter.encodings import Encoding, encode_places
from optimizer.path_filter.space import Floats, Genes, PathSpace, count_tokens, identify

__all__ = ["FilterConfig", "PathFilter", "Scorer"]

SCORED_AT_ONCE = 256  # paths, whose features just fit a core's cache


@dataclass(frozen=True)
class FilterConfig:
    """How a filter is built; the defaults are the paper's, read as FACTS 4.8 suggests.

    Attributes:
        bucket_as: part of each layer's features, projected back to the width; one more token; or not told at all.
        block_encoding: whether the stage that a layer is in is encoded besides the layer. The paper calls it a block.
        dropout: of the encoder; the paper names none.
    """

    width: int = 128
    heads: int = 4
    layers: int = 3
    buckets: int = BUCKETS
    bucket_as: Literal["features", "token", "none"] = "features"
    encoding: Encoding = "literal"
    block_encoding: bool = True
    dropout: float = 0.0


class PathFilter(nn.Module):
    """Scores from 0 to 1 that order the paths of one bucket; higher is better.

    Attributes:
        space_id: the space whose paths it reads.
    """

    places: Tensor

    def __init__(self, space: PathSpace, config: FilterConfig = FilterConfig(), seed: int = 0) -> None:
        super().__init__()
        self.config, self.space_id = config, identify(space)
        width = config.width
        layers, stages = range(len(space.layers)), [stage for stage, _ in space.layers]
        places = encode_places(layers, width, config.encoding)
        if config.block_encoding:
            places = places + encode_places(stages, width, config.encoding)
        self.register_buffer("places", places, persistent=False)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            self.token = nn.Embedding(count_tokens(space), width)
            if config.bucket_as != "none":
                self.bucket = nn.Embedding(config.buckets, width)
            if config.bucket_as == "features":
                self.project = nn.Linear(2 * width, width)
            layer = nn.TransformerEncoderLayer(width, config.heads, width, config.dropout, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
            for parameter in self.encoder.parameters():  # its layers are copies of one
                if parameter.dim() > 1:
                    nn.init.xavier_uniform_(parameter)
            self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1), nn.Sigmoid())

    def forward(self, tokens: Tensor, buckets: Tensor) -> Tensor:
        """Scores (paths,) of tokens (paths, layers) and numbers of buckets (paths,), both int64."""
        if self.config.bucket_as == "features":  # each token's and each bucket's features are projected once
            of_token, of_bucket = self.project.weight.split(self.config.width, dim=1)
            features = embedding(tokens, self.token.weight @ of_token.T)
            features = features + embedding(buckets, self.bucket.weight @ of_bucket.T + self.project.bias)[:, None]
        else:
            features = self.token(tokens)
        features = features + self.places
        if self.config.bucket_as == "token":
            features = torch.cat([features, self.bucket(buckets)[:, None]], dim=1)
        scores: Tensor = self.head(self.encoder(features).mean(dim=1))
        return scores.squeeze(-1)

    @torch.inference_mode()
    def score(self, tokens: NDArray[np.int64], buckets: NDArray[np.int64]) -> Floats:
        """Scores of paths, in batches, without training anything; the same within a training in bf16."""
        was_training = self.training
        self.eval()
        pairs = zip(
            torch.from_numpy(tokens).split(SCORED_AT_ONCE),
            torch.from_numpy(buckets).split(SCORED_AT_ONCE),
            strict=True,
        )
        device = self.places.device
        with torch.autocast(device.type, enabled=False):  # bf16 cannot tell scores near 1 from each other
            scores = [self(token.to(device), bucket.to(device)).cpu() for token, bucket in pairs] or [torch.empty(0)]
        self.train(was_training)
        return torch.cat(scores).double().numpy()


@dataclass(frozen=True)
class Scorer:
    """A filter as a function of genes."""

    filter: PathFilter
    buckets: Buckets

    def __post_init__(self) -> None:
        assert self.filter.space_id == identify(self.buckets.space), "the filter of another space"
        assert self.filter.config.buckets == self.buckets.count

    def __call__(self, genes: Genes) -> Floats:
        return self.filter.score(self.buckets.space.tokens(genes), self.buckets.find(genes))
