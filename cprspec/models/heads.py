"""The encoder: a backbone and the projection head that contrastive learning trains and downstream tasks drop; and the
head that recognition puts in its place.

Sub-modules are numbered as in the published checkpoints: 0 backbone, 1 pool, 2 and 4 the head's 1x1x1 convolutions.
Source: PROTOCOL 3 (MoCo's head: FC - ReLU - FC after global average pooling).

Shapes: N clips, F channels of the backbone's map, D size of the embedding, C classes.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool3d, normalize

from cprspec.errors import CprspecError, Problem


def conv5_features(map_NFTHW: Tensor) -> Tensor:
    """IIC's retrieval feature of a backbone's map: max pool (1,2,2), flattened; `[N, F * T * (H//2) * (W//2)]`.

    IIC calls it conv5, after the layer that makes the map (PROTOCOL 4.2; `return_conv` in its code). Raises CprspecError
    for a map of less than 2x2 pixels.
    """
    _, _, _, height, width = map_NFTHW.shape
    if min(height, width) < 2:
        hint = "larger clips: IIC's are 112 pixels"
        raise CprspecError(Problem(f"conv5 features need a map of 2x2 or more, found {height}x{width}", hint=hint))
    return max_pool3d(map_NFTHW, (1, 2, 2)).flatten(1)


class Encoder(nn.Sequential):
    """`[N,3,T,H,W] -> [N,D]`, not normalised. `features` stops at the pooled backbone.

    `embedding` 0 leaves the head out: the embedding is the pooled feature (IIC).
    """

    def __init__(self, backbone: nn.Module, feature_size: int, embedding: int) -> None:
        head: list[nn.Module] = []
        if embedding:
            head = [nn.Conv3d(feature_size, feature_size, 1), nn.ReLU(), nn.Conv3d(feature_size, embedding, 1)]
        super().__init__(backbone, nn.AdaptiveAvgPool3d(1), *head)
        self.feature_size = feature_size
        self.embedding = embedding or feature_size

    def features(self, clip_NCTHW: Tensor) -> Tensor:
        """The pooled feature of the backbone `[N,F]`: what retrieval and downstream tasks see."""
        pooled: Tensor = self[1](self[0](clip_NCTHW))
        return pooled.flatten(1)

    def forward(self, clip_NCTHW: Tensor) -> Tensor:
        """The embedding `[N,D]` before normalisation."""
        embedding: Tensor = super().forward(clip_NCTHW)  # type: ignore[no-untyped-call]
        return embedding.flatten(1)


class ClassHead(nn.Module):
    """Pooled features to class scores, `[N,F] -> [N,C]`: L2 normalisation, batch norm, dropout, linear; PROTOCOL 3.

    The first three where asked for. The same weights for the same seed, without touching global random state.
    """

    def __init__(
        self,
        feature_size: int,
        classes: int,
        *,
        l2: bool = False,
        batch_norm: bool = False,
        dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.l2 = l2
        self.norm = nn.BatchNorm1d(feature_size) if batch_norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.linear = nn.Linear(feature_size, classes)
            nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, feature_NF: Tensor) -> Tensor:
        """Class scores before the softmax."""
        if self.l2:
            feature_NF = normalize(feature_NF)
        scores_NC: Tensor = self.linear(self.dropout(self.norm(feature_NF)))
        return scores_NC


class Classifier(nn.Module):
    """Clips to class scores, `[N,3,T,H,W] -> [N,C]`: the backbone of `encoder`, pooled, and `head` on it.

    `frozen` leaves the backbone as it is: in evaluation mode and without gradients.
    """

    def __init__(self, encoder: Encoder, head: ClassHead, *, frozen: bool = False) -> None:
        super().__init__()
        self.backbone = encoder[0].requires_grad_(not frozen)
        self.pool = encoder[1]
        self.head = head
        self.frozen = frozen

    def train(self, mode: bool = True) -> Self:
        """Training mode, except for a frozen backbone."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, clip_NCTHW: Tensor) -> Tensor:
        """Class scores before the softmax."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            feature_NF = self.pool(self.backbone(clip_NCTHW)).flatten(1)
        scores_NC: Tensor = self.head(feature_NF)
        return scores_NC
