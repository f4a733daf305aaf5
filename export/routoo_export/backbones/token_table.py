"""What the static backbone computes from token ids.

Per distinct token of count c the token vector enters with weight log(1 + c), normalised to sum 1;
beside that mean stand the logarithms of length and of distinct tokens, and per token class (digits,
continuations, punctuation, single letters) share and log count. The exported graph builds the same
arithmetic in ONNX.
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
    """The projected token vectors as int8 with one scale per row.

    codes int8 [vocabulary, width]; scales float32 [vocabulary]; classes float32 [vocabulary, 4].
    Row 0 (padding) is zero throughout.
    """

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    classes: NDArray[np.float32]


def project_table(vectors: TokenVectors, ids: Sequence[Sequence[int]], width: int) -> TokenTable:
    """Rotate the table onto the first ``width`` principal directions of the pooled prompts ``ids``.

    Pooling weights sum to 1, so centring the table centres the pooled vectors, and the projection
    of the pooled vector is the pooled projection. Scales are per row (weights only): nothing
    depends on a batch.
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
    """The log(1 + count) weighted mean of the rows of ``table`` named by ``ids``, [n, width]."""
    pooled = np.zeros((len(ids), table.shape[1]), dtype=np.float32)
    for row, tokens in zip(pooled, ids, strict=True):
        distinct, counts = np.unique(np.asarray(tokens, dtype=np.int64), return_counts=True)
        weights = np.log1p(counts).astype(np.float32)
        row[:] = weights @ table[distinct] / weights.sum()
    return pooled


class PromptFeatures(nn.Module):
    """Token ids int64 [n, length] -> features float32 [n, width + SIDE_FEATURES]."""

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
