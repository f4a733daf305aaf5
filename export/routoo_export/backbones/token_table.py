"""The computation of the static backbone: from token ids to features.

The vector of each distinct token of count c has the weight log(1 + c) in the mean; the weights are
normalised to sum 1. Besides this mean, the features are the logarithms of the length and of the
number of distinct tokens, the share of distinct tokens, and the share and log count of each token
class (digits, continuations, punctuation, single letters). The exported graph computes the same in
ONNX.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from routoo_export.backbones.token_vectors import PAD_TOKEN_ID, TOKEN_CLASSES, TokenVectors

SIDE_FEATURES: Final = 3 + 2 * len(TOKEN_CLASSES)
INT8_LIMIT: Final = 127


@dataclass(frozen=True, slots=True)
class TokenTable:
    """The projected token vectors as int8 with one scale per row; row 0 (padding) is zero.

    Attributes:
        codes: The vectors, int8 [vocabulary, width].
        scales: Scale of each vector, float32 [vocabulary].
        classes: 1 for each class of a token, else 0; float32 [vocabulary, 4].
    """

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    classes: NDArray[np.float32]


def project_table(vectors: TokenVectors, ids: Sequence[Sequence[int]], width: int) -> TokenTable:
    """Project the table onto the ``width`` first principal directions of the pooled ``ids``.

    Pooling weights sum to 1, so centring the table centres the pooled vectors, and the projection
    of the pooled vector is the pooled projection. Scales are those of the table's rows, so features
    do not depend on a batch.
    """
    pooled = pooled_mean(vectors.table, ids)
    centre = pooled.mean(axis=0)
    _, _, directions = np.linalg.svd(pooled - centre, full_matrices=False)
    projected = (vectors.table - centre) @ directions[:width].T
    projected[PAD_TOKEN_ID] = 0.0
    largest = np.abs(projected).max(axis=1)
    scales = np.where(largest > 0, largest / INT8_LIMIT, 1.0).astype(np.float32)
    codes = np.rint(projected / scales[:, None]).astype(np.int8)
    scales[PAD_TOKEN_ID] = 0.0
    classes = vectors.token_classes.copy()
    classes[PAD_TOKEN_ID] = 0.0
    return TokenTable(codes=codes, scales=scales, classes=classes)


def pooled_mean(table: NDArray[np.float32], ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """Mean [n, width] of the rows ``ids`` of ``table``, weighted by log(1 + count)."""
    pooled = np.zeros((len(ids), table.shape[1]), dtype=np.float32)
    for row, tokens in zip(pooled, ids, strict=True):
        distinct, counts = np.unique(np.asarray(tokens, dtype=np.int64), return_counts=True)
        weights = np.log1p(counts).astype(np.float32)
        row[:] = weights @ table[distinct] / weights.sum()
    return pooled


class PromptFeatures(nn.Module):
    """Maps token ids int64 [n, length] to features float32 [n, width + SIDE_FEATURES]."""

    codes: Tensor
    scales: Tensor
    classes: Tensor

    def __init__(self, table: TokenTable) -> None:
        super().__init__()
        self.register_buffer("codes", torch.from_numpy(table.codes))
        self.register_buffer("scales", torch.from_numpy(table.scales))
        self.register_buffer("classes", torch.from_numpy(table.classes))

    def forward(self, input_ids: Tensor) -> Tensor:
        present = (input_ids != PAD_TOKEN_ID).float()
        counts = (input_ids.unsqueeze(2) == input_ids.unsqueeze(1)).float().sum(2)
        weights = present * torch.log1p(counts) / counts
        vectors = self.codes[input_ids].float()
        scaled = (weights * self.scales[input_ids]).unsqueeze(1)
        total = weights.sum(1, keepdim=True).clamp(min=1.0e-6)
        mean = torch.bmm(scaled, vectors).squeeze(1) / total
        length = present.sum(1, keepdim=True)
        distinct = (present / counts).sum(1, keepdim=True)
        classes = self.classes[input_ids].sum(1)
        counted = torch.cat([length, distinct, classes], dim=1)
        ratios = torch.cat([distinct, classes], dim=1) / length.clamp(min=1.0)
        return torch.cat([mean, torch.log1p(counted), ratios], dim=1)
