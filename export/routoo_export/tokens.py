"""Prompts to token ids as the server does it: cut from the middle, padded right, nothing added."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from routoo_export.backbone import PAD_TOKEN_ID


def cut_middle(ids: Sequence[int], max_tokens: int) -> list[int]:
    """`ids` if they fit, else the first max_tokens // 2 and the last rest of them."""
    if len(ids) <= max_tokens:
        return list(ids)
    head = max_tokens // 2
    return [*ids[:head], *ids[len(ids) - (max_tokens - head) :]]


def encode_prompts(
    tokenizer: Tokenizer, prompts: Sequence[str], max_tokens: int
) -> list[list[int]]:
    """Token ids of each prompt, at most `max_tokens`."""
    encodings = tokenizer.encode_batch(list(prompts), add_special_tokens=False)
    return [cut_middle(encoding.ids, max_tokens) for encoding in encodings]


def pad_ids(ids: Sequence[Sequence[int]], width: int | None = None) -> NDArray[np.int64]:
    """int64 [n, width], filled up with the padding id; width None = the longest."""
    longest = max(len(row) for row in ids)
    padded = np.full((len(ids), width or longest), PAD_TOKEN_ID, dtype=np.int64)
    for row, values in zip(padded, ids, strict=True):
        row[: len(values)] = values
    return padded


def length_batches(ids: Sequence[Sequence[int]], rows: int) -> list[NDArray[np.int64]]:
    """Row indices in batches of at most `rows` prompts of like length: little padding."""
    order = np.argsort([len(row) for row in ids], kind="stable")
    return [order[start : start + rows] for start in range(0, len(order), rows)]
