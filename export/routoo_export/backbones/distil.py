"""Distillation of a transformer into token vectors whose pooled mean approximates its states.

With B the pooling weights of the prompts, E the original token vectors and Y the teacher's states
on its principal directions, centred, the new table is

    T = E W + b + D

W and b are the ridge regression of Y on B E, which also covers tokens that no prompt contains; D is
a correction of each token,

    D = argmin |Y - B (E W + b) - B D|^2 + TOKEN_RIDGE |D|^2

after a few steps of conjugate gradients (Hestenes and Stiefel 1952) with the diagonal as
preconditioner, one system per direction, all at once. The ridge and the small number of steps
regularise tokens that occur in few prompts.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from routoo_export.backbones.token_vectors import TokenVectors

DIRECTIONS: Final = 256
MAP_RIDGE: Final = 1.0e-3
"""In units of the mean diagonal of the regression's Gram matrix."""
TOKEN_RIDGE: Final = 0.03
STEPS: Final = 10


def distil(
    vectors: TokenVectors, ids: Sequence[Sequence[int]], states: NDArray[np.float32]
) -> TokenVectors:
    """``vectors`` with a table, float32 [vocabulary, min(DIRECTIONS, n, d)], fitted to ``states``.

    Args:
        vectors: The token vectors to start from.
        ids: Static token ids of each of the n prompts.
        states: The teacher's states of the same prompts, float32 [n, d].
    """
    pooling = pooling_matrix(ids, len(vectors.table))
    wanted = _principal_parts(states)
    own = vectors.table / vectors.table.std()
    mapped = _mapped(own, pooling, wanted)
    added = _added(pooling, wanted - pooling @ mapped)
    return replace(vectors, table=mapped + added)


def pooling_matrix(ids: Sequence[Sequence[int]], vocabulary: int) -> csr_array:
    """Pooling weights float32 [n, vocabulary]: log(1 + count) of each token, rows of sum 1."""
    columns, weights, ends = [], [], [0]
    for tokens in ids:
        distinct, counts = np.unique(np.asarray(tokens, dtype=np.int64), return_counts=True)
        weight = np.log1p(counts)
        columns.append(distinct)
        weights.append((weight / weight.sum()).astype(np.float32))
        ends.append(ends[-1] + len(distinct))
    parts = (np.concatenate(weights), np.concatenate(columns), np.array(ends))
    return csr_array(parts, shape=(len(ids), vocabulary))


def _principal_parts(states: NDArray[np.float32]) -> NDArray[np.float32]:
    """The centred states on the directions of most variance, float32 [n, at most DIRECTIONS]."""
    centred = states - states.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
    most = min(DIRECTIONS, *states.shape)
    parts: NDArray[np.float32] = centred @ directions[:, ::-1][:, :most].astype(np.float32)
    return parts


def _mapped(
    own: NDArray[np.float32], pooling: csr_array, wanted: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Compute E W + b, float32 [vocabulary, p]."""
    pooled = pooling @ own
    centre = pooled.mean(axis=0)
    centred = (pooled - centre).astype(np.float64)
    gram = centred.T @ centred
    gram += MAP_RIDGE * np.diag(gram).mean() * np.eye(len(gram))
    weights = np.linalg.solve(gram, centred.T @ wanted).astype(np.float32)
    mapped: NDArray[np.float32] = (own - centre) @ weights
    return mapped


def _added(pooling: csr_array, missing: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute D, float32 [vocabulary, p]."""
    # A copy has contiguous rows: products with a transposed view are much slower.
    transposed = csr_array(pooling.T)
    diagonal = (pooling.multiply(pooling).sum(axis=0) + TOKEN_RIDGE).astype(np.float32)[:, None]
    residual = transposed @ missing
    found = np.zeros_like(residual)
    direction = residual / diagonal
    power = (residual * direction).sum(axis=0)
    for _ in range(STEPS):
        image = transposed @ (pooling @ direction) + TOKEN_RIDGE * direction
        length = power / np.maximum((direction * image).sum(axis=0), np.finfo(np.float32).tiny)
        found += length * direction
        residual -= length * image
        preconditioned = residual / diagonal
        last, power = power, (residual * preconditioned).sum(axis=0)
        direction = preconditioned + power / np.maximum(last, np.finfo(np.float32).tiny) * direction
    return found
