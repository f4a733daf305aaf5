"""Prompts as bags of rows: what the recogniser is trained on.

A word of the vocabulary is trained as the sum of a row of its own, of the mean of its pieces' rows,
and of the row of its concept, where the lexicon knows the word. ``merged`` adds these up to the one
row that is looked up when the recogniser serves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from routoo.predictor.ngram_encoder import NgramEncoder
from routoo.predictor.ngrams import (
    REGIONS,
    Vocabulary,
    pair_rows,
    piece_hashes,
    split_words,
)
from routoo_export.recogniser.lexicon import Lexicon

REGION_COUNT: Final = len(REGIONS)
CHUNK: Final = 256


@dataclass(frozen=True, slots=True)
class Parts:
    """The rows that a row of the vocabulary is the sum of, besides its own.

    Attributes:
        rows: Trained rows: those of the vocabulary and, after them, one a concept.
        starts: Position in ``parts`` of each row's first part, [rows of the vocabulary + 1].
        parts: The parts' rows.
        weights: Their weights, float32.
    """

    rows: int
    starts: NDArray[np.int64]
    parts: NDArray[np.int64]
    weights: NDArray[np.float32]

    @classmethod
    def of(cls, vocabulary: Vocabulary, lexicon: Lexicon) -> "Parts":
        """The parts of every row of the vocabulary."""
        parts: dict[int, list[tuple[int, float]]] = {}
        for row, word in enumerate(vocabulary.words, 1):
            if len(word) > 1 and "#" not in word:
                hashes = piece_hashes(word) % np.uint32(vocabulary.pieces)
                found = (hashes.astype(np.int64) + vocabulary.first_piece).tolist()
                parts[row] = [(piece, 1.0 / len(found)) for piece in found]
        at = {word: row for row, word in enumerate(vocabulary.words, 1)}
        for concept, form in lexicon.forms:
            words = split_words(form)
            row_of = at.get(words[0]) if len(words) == 1 else None
            if len(words) == 2 and all(word in at for word in words):
                both = np.array([[at[word]] for word in words])
                row_of = int(pair_rows(vocabulary, *both)[0])
            if row_of is not None:
                parts.setdefault(row_of, []).append((vocabulary.rows + concept, 1.0))
        counts = np.zeros(vocabulary.rows + 1, np.int64)
        for row, found_parts in parts.items():
            counts[row + 1] = len(found_parts)
        ordered = [part for row in sorted(parts) for part in parts[row]]
        return cls(
            rows=vocabulary.rows + len(lexicon.concepts),
            starts=np.cumsum(counts),
            parts=np.array([row for row, _ in ordered], np.int64),
            weights=np.array([weight for _, weight in ordered], np.float32),
        )

    def merged(self, table: NDArray[np.float32]) -> NDArray[np.float32]:
        """The rows that serve, [rows of the vocabulary, h], of trained rows [rows, h]."""
        own = table[: len(self.starts) - 1].copy()
        of = np.repeat(np.arange(len(own)), np.diff(self.starts))
        np.add.at(own, of, table[self.parts] * self.weights[:, None])
        return own


@dataclass(frozen=True, slots=True)
class Batch:
    """Bags of the regions of some prompts, for ``torch.nn.EmbeddingBag``.

    Attributes:
        rows: int64 [k].
        offsets: The first row of each bag, int64 [prompts * regions].
        weights: float32 [k].
    """

    rows: Tensor
    offsets: Tensor
    weights: Tensor


class Bags:
    """The bags of n prompts, one for each region.

    Args:
        texts: The n prompts.
        vocabulary: The rows.
        parts: What they are the sums of.
    """

    def __init__(self, texts: Sequence[str], vocabulary: Vocabulary, parts: Parts) -> None:
        prompt, region, rows, weight = _items(texts, vocabulary)
        counts = np.diff(parts.starts)[rows]
        of = np.repeat(np.arange(len(rows)), counts)
        within = np.arange(len(of)) - (np.cumsum(counts) - counts)[of]
        part = parts.starts[rows][of] + within
        bag = prompt * REGION_COUNT + region
        is_word = (rows > 0) & (rows < vocabulary.first_mark)
        self.is_word = np.concatenate([is_word, np.zeros(len(of), np.bool_)])
        self.rows = np.concatenate([rows, parts.parts[part]])
        self.weights = np.concatenate([weight, weight[of] * parts.weights[part]])
        self.bags = np.concatenate([bag, bag[of]])
        order = np.argsort(self.bags, kind="stable")
        self.rows, self.weights, self.bags, self.is_word = (
            values[order] for values in (self.rows, self.weights, self.bags, self.is_word)
        )
        self.n = len(texts)
        self._starts = np.searchsorted(self.bags, np.arange(self.n * REGION_COUNT + 1))

    def batch(
        self,
        prompts: NDArray[np.int64],
        random: np.random.Generator | None = None,
        *,
        dropped: float = 0.0,
        words_dropped: float = 0.0,
    ) -> Batch:
        """The bags of some prompts.

        Args:
            prompts: Which.
            random: Drops rows; None = none is dropped.
            dropped: Share of the rows that is dropped.
            words_dropped: Share of the words' own rows that is dropped, so that the pieces learn to
                stand for words outside the vocabulary.
        """
        first = self._starts[prompts * REGION_COUNT]
        counts = self._starts[(prompts + 1) * REGION_COUNT] - first
        of = np.repeat(np.arange(len(prompts)), counts)
        at = np.arange(len(of)) - (np.cumsum(counts) - counts)[of] + first[of]
        weights = self.weights[at]
        if random is not None:
            kept = random.random(len(at)) >= dropped
            kept &= ~self.is_word[at] | (random.random(len(at)) >= words_dropped)
            weights = weights * kept
        bags = self.bags[at] + ((np.arange(len(prompts)) - prompts) * REGION_COUNT)[of]
        offsets = np.searchsorted(bags, np.arange(len(prompts) * REGION_COUNT))
        return Batch(
            torch.from_numpy(self.rows[at]),
            torch.from_numpy(offsets),
            torch.from_numpy(weights.astype(np.float32)),
        )


def _items(
    texts: Sequence[str], vocabulary: Vocabulary
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Prompt, region, row and weight of everything that the encoder reads in the texts."""
    encoder = NgramEncoder(vocabulary)
    found = []
    for start in range(0, len(texts), CHUNK):
        for bucket in encoder.buckets(encoder.encode(texts[start : start + CHUNK])):
            ids, weights = bucket.feed["input_ids"], bucket.feed["weights"]
            prompt, region, at = np.nonzero(weights)
            found.append(
                (
                    bucket.rows[prompt] + start,
                    region,
                    ids[prompt, at],
                    weights[prompt, region, at],
                )
            )
    prompts, regions, rows, of_weights = (np.concatenate(one) for one in zip(*found, strict=True))
    return prompts, regions, rows, of_weights
