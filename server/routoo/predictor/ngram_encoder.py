"""Reads prompts for a graph that pools the rows of n-grams."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

from routoo.predictor.conversation import contents, offered_tools, read_turns
from routoo.predictor.ngram_layout import LENGTHS, NgramPrompts, buckets_of
from routoo.predictor.ngrams import (
    BODY,
    EARLIER,
    MOST_CHARS,
    REGIONS,
    SYSTEM,
    TOOLS,
    cut_middle,
    marks_of,
    piece_hashes,
    shape_of,
    split_words,
)
from routoo.predictor.token_count import count_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from routoo.predictor.base import Bucket, Feed
    from routoo.predictor.ngrams import Vocabulary

MOST_WORDS = {BODY: 600, SYSTEM: 130, TOOLS: 130, EARLIER: 130}
"""Words read of each part; of a longer one the beginning and the end. With their pairs and the
marks they stay below ``ngram_layout.MOST_ROWS``, and leave room for pieces."""
LONGEST_WORD_CHARS = 32
"""Pieces of longer words are not kept."""
LONGEST_PIECED_CHARS = 256
"""Characters of a word whose pieces are read; scripts without spaces have very long words."""
SHORT_NUMBER_CHARS = 3
"""Numbers up to this length are kept with the row of their shape; there are not many."""
MOST_KEPT_WORDS = 50_000
"""Words outside the vocabulary whose pieces are kept."""


def _words(region: int, text: str) -> tuple[list[str], bool]:
    """Returns the words that are read of a part, and whether there are more."""
    most_chars, most = MOST_CHARS[region], MOST_WORDS[region]
    words = split_words(cut_middle(text, most_chars) if len(text) > most_chars else text)
    if len(words) > most:
        return words[: most - most // 3] + words[-(most // 3) :], True
    return words, len(text) > most_chars


class _Words(dict[str, bytes]):
    """The row of each word, the eight bytes of an int64, as these are joined without a loop.

    Attributes:
        pieces: the pieces of words outside the vocabulary that have been looked up.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__((word, _code(row)) for row, word in enumerate(vocabulary.words, 1))
        self.pieces: list[NDArray[np.int64]] = []
        self._vocabulary = vocabulary
        self._kept: dict[str, NDArray[np.int64]] = {}

    def __missing__(self, word: str) -> bytes:
        """Returns the row of the shape of a word outside the vocabulary, else finds its pieces."""
        kept = self._kept.get(word)
        if kept is None:
            shape = shape_of(word)
            if shape != word:
                row = self.get(shape)
                if row is not None:
                    if len(word) <= SHORT_NUMBER_CHARS:
                        self[word] = row
                    return row
            vocabulary = self._vocabulary
            hashes = piece_hashes(shape[:LONGEST_PIECED_CHARS]) % np.uint32(vocabulary.pieces)
            kept = hashes.astype(np.int64) + vocabulary.first_piece
            # A full cache takes no more words, which bounds its memory.
            if len(self._kept) < MOST_KEPT_WORDS and len(word) <= LONGEST_WORD_CHARS:
                self._kept[word] = kept
        self.pieces.append(kept)
        return _OUTSIDE


class NgramEncoder:
    """Reads prompts as rows of n-grams. Not thread-safe.

    The inputs are ``input_ids`` int64 [k, length] and ``weights`` float32 [k, regions, length].

    Attributes:
        bucket_lengths: numbers of rows to which prompts are padded, rising.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._words = _Words(vocabulary)
        first = vocabulary.first_mark
        self._marks = {name: row for row, name in enumerate(vocabulary.marks, first)}
        self.bucket_lengths = np.array(LENGTHS, np.int64)

    def encode(self, prompts: Sequence[str]) -> NgramPrompts:
        """Reads prompts; of a part that is too long, the beginning and the end."""
        codes: list[bytes] = []
        prompt_of: list[int] = []
        region_of: list[int] = []
        first: list[int] = []
        end: list[int] = []
        part_of_pieces: list[int] = []
        marks: list[int] = []
        marked: list[int] = []
        truncated: list[bool] = []
        row_of, row_of_mark = self._words.__getitem__, self._marks.get
        pieces: list[NDArray[np.int64]] = []
        self._words.pieces = pieces
        at = 0
        for prompt, content in enumerate(prompts):
            turns = read_turns(content)
            cut = False
            for region, text in (
                (BODY, turns.last),
                (SYSTEM, turns.system),
                (TOOLS, turns.tools),
                (EARLIER, turns.earlier),
            ):
                if text:
                    words, shortened = _words(region, text)
                    cut |= shortened
                    codes.append(b"".join(map(row_of, words)))
                    outside = len(pieces) - len(part_of_pieces)
                    if outside:
                        part_of_pieces += [len(first)] * outside
                    prompt_of.append(prompt)
                    region_of.append(region)
                    first.append(at)
                    at += len(words)
                    end.append(at)
                    at += 1
            before = len(marks)
            marks += filter(None, map(row_of_mark, marks_of(turns)))
            marked.append(len(marks) - before)
            truncated.append(cut)
        tokens = count_tokens([contents(text) for text in prompts])
        tools = [offered_tools(text) for text in prompts]
        if any(tools):  # hardly any prompt offers some
            tokens += count_tokens(tools)
        return NgramPrompts(
            codes=np.frombuffer(_BREAK.join(codes), np.int64),
            prompt=prompt_of,
            region=region_of,
            first=first,
            end=end,
            pieces=pieces,
            part_of_pieces=part_of_pieces,
            marks=marks,
            marked=marked,
            input_tokens=np.maximum(tokens, 1.0),
            truncated=np.array(truncated, np.bool_),
        )

    def buckets(self, encoded: NgramPrompts) -> Iterator[Bucket]:
        """Groups prompts by length, so that there are few shapes and little padding."""
        return buckets_of(encoded, self._vocabulary)

    def blank(self, rows: int, length: int) -> Feed:
        """Returns inputs of a shape, for warming up."""
        return {
            "input_ids": np.ones((rows, length), np.int64),
            "weights": np.full((rows, len(REGIONS), length), 1e-2, np.float32),
        }


def _code(row: int) -> bytes:
    return row.to_bytes(8, sys.byteorder, signed=True)


_OUTSIDE = _code(0)
_BREAK = _code(-1)
"""Stands between two parts, so that no pair reaches from one into the other."""
