"""Turns prompts into the padded inputs of a graph that pools the rows of n-grams."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

from routoo.predictor.base import Bucket
from routoo.predictor.conversation import contents, read_turns
from routoo.predictor.ngrams import (
    BODY,
    EARLIER,
    HEAD,
    MARKS,
    MOST_CHARS,
    REGIONS,
    SYSTEM,
    TAIL,
    TOOLS,
    cut_middle,
    marks_of,
    pair_rows,
    piece_hashes,
    shape_of,
    split_words,
)
from routoo.predictor.token_count import count_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from routoo.predictor.base import Feed
    from routoo.predictor.ngrams import Vocabulary

LENGTHS = (32, 64, 96, 128, 160, 192, 256, 384, 512, 768, 1024, 1536, 2048)
"""Numbers of rows to which prompts are padded, rising."""
MOST_ROWS = LENGTHS[-1]
MOST_WORDS = {BODY: 600, SYSTEM: 130, TOOLS: 130, EARLIER: 130}
"""Words read of each part; of a longer one the beginning and the end. With their pairs and the
marks they stay below ``MOST_ROWS``, and leave room for pieces."""
EDGE_WORDS = 12
"""Words of the head and of the tail of the last turn, where instructions stand."""
LONGEST_WORD_CHARS = 32
"""Pieces of longer words are not kept."""
LONGEST_PIECED_CHARS = 256
"""Characters of a word whose pieces are read; scripts without spaces have very long words."""
MOST_KEPT_WORDS = 50_000
"""Words outside the vocabulary whose pieces are kept."""
_BREAK = -1
"""Stands between two parts, so that no pair reaches from one into the other."""


@dataclass(frozen=True, slots=True)
class Part:
    """The words of one part of a prompt.

    Attributes:
        region: the region of the part.
        first: position of its first word among the words of all prompts.
        end: position after its last word.
        pieces: the rows of the pieces of each word outside the vocabulary.
    """

    region: int
    first: int
    end: int
    pieces: list[NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class NgramPrompts:
    """The words of n prompts.

    Attributes:
        codes: int64 [k], the rows of all words of all parts; 0: a word outside the vocabulary,
            -1: the end of a part.
        parts: the parts of each prompt.
        marks: the rows of the marks of each prompt.
        input_tokens: float64 [n], the prompts' lengths, estimated.
        truncated: bool [n], not all of the prompt was read.
    """

    codes: NDArray[np.int64]
    parts: list[list[Part]]
    marks: list[list[int]]
    input_tokens: NDArray[np.float64]
    truncated: NDArray[np.bool_]


class NgramEncoder:
    """Reads prompts as rows of n-grams. Not thread-safe.

    The inputs are ``input_ids`` int64 [k, length] and ``weights`` float32 [k, regions, length].

    Attributes:
        bucket_lengths: numbers of rows to which prompts are padded, rising.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._rows = {word: row for row, word in enumerate(vocabulary.words, 1)}
        first = vocabulary.first_mark
        self._marks = {name: row for row, name in enumerate(vocabulary.marks, first)}
        self._pieces: dict[str, NDArray[np.int64]] = {}
        self.bucket_lengths = np.array(LENGTHS, np.int64)

    def encode(self, prompts: Sequence[str]) -> NgramPrompts:
        """Reads prompts; of a part that is too long, the beginning and the end."""
        codes: list[int] = []
        parts: list[list[Part]] = []
        marks: list[list[int]] = []
        truncated: list[bool] = []
        known_marks = self._marks
        for prompt in prompts:
            turns = read_turns(prompt)
            found: list[Part] = []
            cut = False
            for region, text in (
                (BODY, turns.last),
                (SYSTEM, turns.system),
                (TOOLS, turns.tools),
                (EARLIER, turns.earlier),
            ):
                if text:
                    part, shortened = self._read(region, text, codes)
                    found.append(part)
                    cut |= shortened
            parts.append(found)
            marks.append([known_marks[name] for name in marks_of(turns) if name in known_marks])
            truncated.append(cut)
        tokens = count_tokens([contents(text) for text in prompts])
        return NgramPrompts(
            np.array(codes, np.int64),
            parts,
            marks,
            np.maximum(tokens, 1.0),
            np.array(truncated, np.bool_),
        )

    def _read(self, region: int, text: str, codes: list[int]) -> tuple[Part, bool]:
        """Appends the rows of a part's words, and returns the part and whether it was cut."""
        words = split_words(cut_middle(text, MOST_CHARS[region]))
        cut = len(text) > MOST_CHARS[region]
        most = MOST_WORDS[region]
        if len(words) > most:
            words, cut = words[: most - most // 3] + words[-(most // 3) :], True
        rows = list(map(self._rows.get, words, repeat(-1)))
        pieces: list[NDArray[np.int64]] = []
        if -1 in rows:
            for at, row in enumerate(rows):
                if row < 0:
                    rows[at], found = self._outside(words[at])
                    if found is not None:
                        pieces.append(found)
        first = len(codes)
        codes.extend(rows)
        codes.append(_BREAK)
        return Part(region, first, first + len(rows), pieces), cut

    def _outside(self, word: str) -> tuple[int, NDArray[np.int64] | None]:
        """Returns the row of the shape of a word outside the vocabulary, else its pieces."""
        kept = self._pieces.get(word)
        if kept is not None:
            return 0, kept
        shape = shape_of(word)
        if shape != word:
            row = self._rows.get(shape)
            if row is not None:
                return row, None
        vocabulary = self._vocabulary
        hashes = piece_hashes(shape[:LONGEST_PIECED_CHARS]) % np.uint32(vocabulary.pieces)
        pieces = hashes.astype(np.int64) + vocabulary.first_piece
        # A full cache takes no more words, which bounds its memory.
        if len(self._pieces) < MOST_KEPT_WORDS and len(word) <= LONGEST_WORD_CHARS:
            self._pieces[word] = pieces
        return 0, pieces

    def buckets(self, encoded: NgramPrompts) -> Iterator[Bucket]:
        """Groups prompts by length, so that there are few shapes and little padding."""
        pairs, edges = self._pairs(encoded)
        plans, taken = [], 0
        for prompt, parts in enumerate(encoded.parts):
            plan = _Plan(prompt, parts, edges[taken : taken + len(parts)], encoded.marks[prompt])
            taken += len(parts)
            plans.append(plan)
        by_length: dict[int, list[_Plan]] = {}
        for plan in plans:
            length = LENGTHS[bisect_left(LENGTHS, min(plan.rows, MOST_ROWS))]
            by_length.setdefault(length, []).append(plan)
        for length in sorted(by_length):
            here = by_length[length]
            ids = np.zeros((len(here), length), np.int64)
            weights = np.zeros((len(here), len(REGIONS), length), np.float32)
            for row, plan in enumerate(here):
                plan.fill(ids[row], weights[row], encoded.codes, pairs)
            rows = np.array([plan.prompt for plan in here], np.intp)
            yield Bucket(rows, {"input_ids": ids, "weights": weights})

    def _pairs(self, encoded: NgramPrompts) -> tuple[NDArray[np.int64], list[list[int]]]:
        """Returns the rows of all pairs, and of each part where its pairs lie among them.

        These are the first, the first after the head, the first of the tail, and the end.
        """
        codes, vocabulary = encoded.codes, self._vocabulary
        kept = np.flatnonzero((codes > vocabulary.punctuation) | (codes <= 0))
        of_kept = codes[kept]
        one, other = of_kept[:-1], of_kept[1:]
        together = np.flatnonzero((one >= 0) & (other >= 0))
        rows = pair_rows(vocabulary, one[together], other[together])
        bounds = [
            bound
            for parts in encoded.parts
            for part in parts
            for bound in (
                part.first,
                min(part.first + EDGE_WORDS, part.end),
                max(part.end - EDGE_WORDS, part.first),
                part.end,
            )
        ]
        edges = np.searchsorted(kept[together], np.array(bounds, np.int64))
        return rows, edges.reshape(-1, 4).tolist()

    def blank(self, rows: int, length: int) -> Feed:
        """Returns inputs of a shape, for warming up."""
        return {
            "input_ids": np.ones((rows, length), np.int64),
            "weights": np.full((rows, len(REGIONS), length), 1e-2, np.float32),
        }


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where the rows of one prompt go.

    Attributes:
        prompt: position of the prompt in the batch.
        parts: its parts.
        edges: of each part, where its pairs lie, see ``NgramEncoder._pairs``.
        marks: rows of its marks.
    """

    prompt: int
    parts: list[Part]
    edges: list[list[int]]
    marks: list[int]

    @property
    def rows(self) -> int:
        """The number of rows."""
        rows = len(self.marks)
        for part, edges in zip(self.parts, self.edges, strict=True):
            rows += part.end - part.first + edges[3] - edges[0]
            if part.pieces:
                rows += sum(map(len, part.pieces))
        return rows

    def fill(
        self,
        ids: NDArray[np.int64],
        weights: NDArray[np.float32],
        codes: NDArray[np.int64],
        pairs: NDArray[np.int64],
    ) -> None:
        """Writes the rows into ``ids`` [length], and their weights into ``weights`` [7, length].

        The rows of a region are divided by the square root of the number of its words and pairs.
        """
        marks = len(self.marks)
        ids[:marks] = self.marks
        if marks:
            weights[MARKS, :marks] = marks**-0.5
        at = marks
        for part, (first, after_head, tail, end) in zip(self.parts, self.edges, strict=True):
            words = part.end - part.first
            of_pairs = at + words
            stop = of_pairs + end - first
            ids[at:of_pairs] = codes[part.first : part.end]
            ids[of_pairs:stop] = pairs[first:end]
            if stop > at:
                weights[part.region, at:stop] = (stop - at) ** -0.5
            if part.region == BODY and words:
                edge = min(EDGE_WORDS, words)
                head = (edge + after_head - first) ** -0.5
                weights[HEAD, at : at + edge] = head
                weights[HEAD, of_pairs : of_pairs + after_head - first] = head
                back = (edge + end - tail) ** -0.5
                weights[TAIL, of_pairs - edge : of_pairs] = back
                weights[TAIL, stop - (end - tail) : stop] = back
            at = stop
        for part, edges in zip(self.parts, self.edges, strict=True):
            total = part.end - part.first + edges[3] - edges[0]
            for pieces in part.pieces:
                stop = min(at + len(pieces), len(ids))
                ids[at:stop] = pieces[: stop - at]
                weights[part.region, at:stop] = total**-0.5 / len(pieces)
                at = stop
