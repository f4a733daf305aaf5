"""Turns prompts into the padded inputs of a graph that pools the rows of n-grams."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from routoo.predictor.base import Bucket
from routoo.predictor.conversation import contents
from routoo.predictor.ngrams import HEAD, MOST_ROWS, REGIONS, TAIL, NgramReader
from routoo.predictor.token_count import count_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from routoo.predictor.base import Feed
    from routoo.predictor.ngrams import ReadPrompts, Vocabulary

LENGTHS = (32, 64, 96, 128, 160, 192, 256, 384, 512, 768, 1024, 1536, MOST_ROWS)
"""Numbers of rows to which prompts are padded, rising."""


@dataclass(frozen=True, slots=True)
class NgramPrompts:
    """The rows of n prompts.

    Attributes:
        read: the rows.
        input_tokens: float64 [n], the prompts' lengths, estimated.
        truncated: bool [n], not all of the prompt was read.
    """

    read: ReadPrompts
    input_tokens: NDArray[np.float64]
    truncated: NDArray[np.bool_]


class NgramEncoder:
    """Reads prompts as rows of n-grams. Not thread-safe.

    The inputs are ``input_ids`` int64 [k, length] and ``weights`` float32 [k, regions, length].

    Attributes:
        bucket_lengths: numbers of rows to which prompts are padded, rising.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._reader = NgramReader(vocabulary)
        self.bucket_lengths = np.array(LENGTHS, np.int64)

    def encode(self, prompts: Sequence[str]) -> NgramPrompts:
        """Reads prompts; of a part that is too long, the beginning and the end."""
        read = self._reader.read(prompts)
        tokens = count_tokens([contents(text) for text in prompts])
        return NgramPrompts(read, np.maximum(np.ceil(tokens), 1.0), read.truncated)

    def buckets(self, encoded: NgramPrompts) -> Iterator[Bucket]:
        """Groups prompts by length, so that there are few shapes and little padding."""
        read = encoded.read
        counts = read.counts.tolist()
        lengths = [LENGTHS[bisect_left(LENGTHS, count)] for count in counts]
        if len(set(lengths)) == 1:
            yield _padded(read, np.arange(len(counts)), slice(None), lengths[0])
            return
        of_prompt = np.array(lengths)
        for length in sorted(set(lengths)):
            here = of_prompt == length
            yield _padded(read, np.flatnonzero(here), here[read.prompts], length)

    def blank(self, rows: int, length: int) -> Feed:
        """Returns inputs of a shape, for warming up."""
        return {
            "input_ids": np.ones((rows, length), np.int64),
            "weights": np.full((rows, len(REGIONS), length), 1e-2, np.float32),
        }


def _padded(
    read: ReadPrompts,
    rows: NDArray[np.intp],
    items: NDArray[np.bool_] | slice,
    length: int,
) -> Bucket:
    k = len(rows)
    counts = read.counts[rows]
    prompt = np.repeat(np.arange(k), counts)
    at = np.arange(len(prompt)) - (np.cumsum(counts) - counts)[prompt]
    ids = np.zeros((k, length), np.int64)
    ids[prompt, at] = read.rows[items]
    weights = np.zeros((k, len(REGIONS), length), np.float32)
    own, regions, scales = read.weights[items], read.regions[items], read.scales[rows]
    weights[prompt, regions, at] = own * scales[prompt, regions]
    for region, flags in ((HEAD, read.head[items]), (TAIL, read.tail[items])):
        edge = np.flatnonzero(flags)
        weights[prompt[edge], region, at[edge]] = own[edge] * scales[prompt[edge], region]
    return Bucket(rows, {"input_ids": ids, "weights": weights})
