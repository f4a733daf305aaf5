"""Token ids of prompts, exactly as the server makes them: cut from the middle, padded right."""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

READ_CHARS_PER_TOKEN: Final = 32
"""Characters that the server reads for each token that it keeps."""


def bare_tokenizer(tokenizer_json: str) -> str:
    """The tokenizer without truncation and padding."""
    settings = json.loads(tokenizer_json)
    settings["truncation"] = None
    settings["padding"] = None
    return json.dumps(settings, ensure_ascii=False, separators=(",", ":"))


@lru_cache(maxsize=8)
def parse_tokenizer(tokenizer_json: str) -> Tokenizer:
    """Parse a tokenizer; a large vocabulary takes a second, so the last few are cached."""
    return Tokenizer.from_str(tokenizer_json)


def cut_middle(ids: Sequence[int], max_tokens: int) -> list[int]:
    """Cut ``ids`` to max_tokens, half from the beginning (or one more) and half from the end."""
    if len(ids) <= max_tokens:
        return list(ids)
    tail = max_tokens // 2
    return [*ids[: max_tokens - tail], *ids[len(ids) - tail :]]


def encode_prompts(
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    *,
    max_tokens: int,
    pad_token_id: int,
    add_special_tokens: bool = False,
) -> list[list[int]]:
    """Token ids of each prompt, at least one and at most ``max_tokens``.

    A prompt without any token is encoded as one unknown token, or as one padding token if the
    tokenizer has no unknown token.
    """
    most_chars = max_tokens * READ_CHARS_PER_TOKEN
    unknown = tokenizer.token_to_id("[UNK]")
    nothing = [pad_token_id if unknown is None else unknown]
    encodings = tokenizer.encode_batch(
        [_read(prompt, most_chars) for prompt in prompts], add_special_tokens=add_special_tokens
    )
    return [cut_middle(encoding.ids or nothing, max_tokens) for encoding in encodings]


def pad_ids(
    ids: Sequence[Sequence[int]], pad_token_id: int, width: int | None = None
) -> NDArray[np.int64]:
    """Pad ``ids`` with ``pad_token_id`` to int64 [n, width]; width None = the longest."""
    longest = max(len(row) for row in ids)
    padded = np.full((len(ids), width or longest), pad_token_id, dtype=np.int64)
    for row, values in zip(padded, ids, strict=True):
        row[: len(values)] = values
    return padded


def length_batches(ids: Sequence[Sequence[int]], rows: int) -> list[NDArray[np.int64]]:
    """Batches of row indices, at most ``rows`` prompts of similar length, for little padding."""
    order = np.argsort([len(row) for row in ids], kind="stable")
    return [order[start : start + rows] for start in range(0, len(order), rows)]


def _read(prompt: str, most_chars: int) -> str:
    if len(prompt) <= most_chars:
        return prompt
    tail = most_chars // 2
    return prompt[: most_chars - tail] + prompt[len(prompt) - tail :]
