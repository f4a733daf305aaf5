"""Computing the features of many prompts, in batches of similar length."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from routoo_export.backbones.base import BackboneSpec
from routoo_export.backbones.compute import Compute
from routoo_export.backbones.tokens import pad_ids


def batched_features(
    module: nn.Module,
    spec: BackboneSpec,
    ids: Sequence[Sequence[int]],
    *,
    batches: Sequence[NDArray[np.int64]],
    compute: Compute,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Features float32 [n, spec.width] of ``ids``; ``progress`` gets the rows of each batch."""
    features = torch.empty(len(ids), spec.width)
    module = module.to(compute.device)
    with torch.inference_mode(), compute.precision():
        for index in batches:
            batch = torch.from_numpy(pad_ids([ids[i] for i in index], spec.pad_token_id))
            found = module(batch.to(compute.device))
            features[torch.from_numpy(index)] = found.float().cpu()
            if progress is not None:
                progress(len(index))
    module.to("cpu")
    return features


def token_batches(ids: Sequence[Sequence[int]], tokens: int) -> list[NDArray[np.int64]]:
    """Batches of row indices, longest prompts first, of at most ``tokens`` padded tokens each."""
    return list(_token_batches(np.array([len(row) for row in ids], dtype=np.int64), tokens))


def _token_batches(lengths: NDArray[np.int64], tokens: int) -> Iterator[NDArray[np.int64]]:
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        rows = max(1, tokens // int(lengths[order[start]]))
        yield order[start : start + rows]
        start += rows
