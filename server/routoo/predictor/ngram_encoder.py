"""Turns prompts into the padded inputs of a graph that pools the rows of n-grams."""

from __future__ import annotations

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
SHORT_NUMBER_CHARS = 3
"""Numbers up to this length are kept with the row of their shape; there are not many."""
MOST_KEPT_WORDS = 50_000
"""Words outside the vocabulary whose pieces are kept."""
FEW = 4
"""So many prompts are laid out one by one, more of them together."""
_LENGTHS = np.array(LENGTHS, np.int64)
_BREAK = -1
"""Stands between two parts, so that no pair reaches from one into the other."""
_OUTSIDE = -2


def _words(region: int, text: str) -> tuple[list[str], bool]:
    """Returns the words that are read of a part, and whether there are more."""
    most_chars, most = MOST_CHARS[region], MOST_WORDS[region]
    words = split_words(cut_middle(text, most_chars) if len(text) > most_chars else text)
    if len(words) > most:
        return words[: most - most // 3] + words[-(most // 3) :], True
    return words, len(text) > most_chars


@dataclass(frozen=True, slots=True)
class NgramPrompts:
    """The words of n prompts.

    Attributes:
        codes: int64 [k], the rows of all words of all parts; 0: a word outside the vocabulary,
            -1: the end of a part.
        parts: int64 [4, p], prompt, region, position of the first word and after the last word of
            each part, by prompt.
        pieces: a part, and the rows of the pieces of a word of it that is outside the vocabulary.
        marks: int64, the rows of all marks, by prompt.
        marked: int64 [n], how many marks each prompt has.
        input_tokens: float64 [n], the prompts' lengths, estimated.
        truncated: bool [n], not all of the prompt was read.
    """

    codes: NDArray[np.int64]
    parts: NDArray[np.int64]
    pieces: list[tuple[int, NDArray[np.int64]]]
    marks: NDArray[np.int64]
    marked: NDArray[np.int64]
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
        parts: list[tuple[int, int, int, int]] = []
        pieces: list[tuple[int, NDArray[np.int64]]] = []
        marks: list[int] = []
        marked: list[int] = []
        truncated: list[bool] = []
        row_of_mark = self._marks.get
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
                    first = len(codes)
                    self._read(words, codes, pieces, len(parts))
                    parts.append((prompt, region, first, len(codes)))
                    codes.append(_BREAK)
            before = len(marks)
            marks += [row for row in map(row_of_mark, marks_of(turns)) if row]
            marked.append(len(marks) - before)
            truncated.append(cut)
        tokens = count_tokens([contents(text) for text in prompts])
        return NgramPrompts(
            np.array(codes, np.int64),
            np.array(parts, np.int64).reshape(-1, 4).T,
            pieces,
            np.array(marks, np.int64),
            np.array(marked, np.int64),
            np.maximum(tokens, 1.0),
            np.array(truncated, np.bool_),
        )

    def _read(
        self,
        words: list[str],
        codes: list[int],
        pieces: list[tuple[int, NDArray[np.int64]]],
        part: int,
    ) -> None:
        """Appends the rows of a part's words, and the pieces of those outside the vocabulary."""
        rows = list(map(self._rows.get, words, repeat(_OUTSIDE)))
        if _OUTSIDE in rows:
            for at, row in enumerate(rows):
                if row == _OUTSIDE:
                    rows[at], found = self._outside(words[at])
                    if found is not None:
                        pieces.append((part, found))
        codes += rows

    def _outside(self, word: str) -> tuple[int, NDArray[np.int64] | None]:
        """Returns the row of the shape of a word outside the vocabulary, else its pieces."""
        kept = self._pieces.get(word)
        if kept is not None:
            return 0, kept
        shape = shape_of(word)
        if shape != word:
            row = self._rows.get(shape)
            if row is not None:
                if len(word) <= SHORT_NUMBER_CHARS:
                    self._rows[word] = row
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
        layout = _Layout.of(encoded, self._vocabulary)
        rows = np.minimum(layout.rows, MOST_ROWS)
        at = np.searchsorted(_LENGTHS, rows)
        kinds = np.unique(at).tolist() if len(at) > 1 else at.tolist()
        for kind in kinds:
            prompts = np.flatnonzero(at == kind)
            yield Bucket(prompts, layout.feed(prompts, LENGTHS[kind]))

    def blank(self, rows: int, length: int) -> Feed:
        """Returns inputs of a shape, for warming up."""
        return {
            "input_ids": np.ones((rows, length), np.int64),
            "weights": np.full((rows, len(REGIONS), length), 1e-2, np.float32),
        }


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the rows of n prompts go: marks, then each part's words and pairs, then pieces.

    Attributes:
        encoded: the prompts.
        pairs: rows of all pairs of words.
        prompt: [p], the prompt of each part.
        region: [p].
        first: [p], position of the part's first word in the codes.
        words: [p], number of words.
        edges: [4, p], where the part's pairs lie: the first, the first after the head, the first of
            the tail, the end.
        start: [p], where the part's rows begin in its prompt.
        rows: [n], rows of each prompt.
    """

    encoded: NgramPrompts
    pairs: NDArray[np.int64]
    prompt: NDArray[np.int64]
    region: NDArray[np.int64]
    first: NDArray[np.int64]
    words: NDArray[np.int64]
    edges: NDArray[np.int64]
    start: NDArray[np.int64]
    rows: NDArray[np.int64]

    @classmethod
    def of(cls, encoded: NgramPrompts, vocabulary: Vocabulary) -> _Layout:
        """Finds the pairs, and lays everything out."""
        codes, parts = encoded.codes, encoded.parts
        prompt, region, first, end = parts
        kept = np.flatnonzero((codes > vocabulary.punctuation) | (codes <= 0))
        of_kept = codes[kept]
        one, other = of_kept[:-1], of_kept[1:]
        together = np.flatnonzero((one >= 0) & (other >= 0))
        pairs = pair_rows(vocabulary, one[together], other[together])
        bounds = np.array(
            [
                first,
                np.minimum(first + EDGE_WORDS, end),
                np.maximum(end - EDGE_WORDS, first),
                end,
            ]
        )
        edges = np.searchsorted(kept[together], bounds)
        words = end - first
        rows = words + edges[3] - edges[0]
        marks = encoded.marked
        if len(marks) == 1:
            start = np.cumsum(rows) - rows + marks[0]
            total = marks + rows.sum()
        else:
            before = np.cumsum(rows) - rows
            first_part = np.searchsorted(prompt, np.arange(len(marks)))
            start = before - np.append(before, rows.sum())[first_part][prompt] + marks[prompt]
            total = marks + np.bincount(prompt, rows, len(marks)).astype(np.int64)
        for part, pieces in encoded.pieces:
            total[prompt[part]] += len(pieces)
        return cls(encoded, pairs, prompt, region, first, words, edges, start, total)

    def feed(self, prompts: NDArray[np.intp], length: int) -> Feed:
        """Returns the padded inputs of some prompts."""
        n = len(prompts)
        ids = np.zeros((n, length), np.int64)
        weights = np.zeros((n, len(REGIONS), length), np.float32)
        if n <= FEW:
            for row, prompt in enumerate(prompts.tolist()):
                self._fill(prompt, ids[row], weights[row])
        else:
            self._fill_many(prompts, ids, weights)
        if self.encoded.pieces:
            self._fill_pieces(prompts, ids, weights)
        return {"input_ids": ids, "weights": weights}

    def _fill(self, prompt: int, ids: NDArray[np.int64], weights: NDArray[np.float32]) -> None:
        """Writes one prompt's rows into ``ids`` [length], their weights into ``weights``."""
        encoded = self.encoded
        after = int(encoded.marked[: prompt + 1].sum())
        marks = int(encoded.marked[prompt])
        ids[:marks] = encoded.marks[after - marks : after]
        if marks:
            weights[MARKS, :marks] = marks**-0.5
        parts = (
            range(len(self.prompt))
            if len(encoded.marked) == 1
            else np.flatnonzero(self.prompt == prompt).tolist()
        )
        for part in parts:
            region, at = int(self.region[part]), int(self.start[part])
            first, words = int(self.first[part]), int(self.words[part])
            pair, after_head, tail, end = self.edges[:, part].tolist()
            of_pairs, stop = at + words, at + words + end - pair
            ids[at:of_pairs] = encoded.codes[first : first + words]
            ids[of_pairs:stop] = self.pairs[pair:end]
            if stop > at:
                weights[region, at:stop] = (stop - at) ** -0.5
            if region == BODY and words:
                edge = min(EDGE_WORDS, words)
                head = (edge + after_head - pair) ** -0.5
                weights[HEAD, at : at + edge] = head
                weights[HEAD, of_pairs : of_pairs + after_head - pair] = head
                back = (edge + end - tail) ** -0.5
                weights[TAIL, of_pairs - edge : of_pairs] = back
                weights[TAIL, stop - (end - tail) : stop] = back

    def _fill_many(
        self,
        prompts: NDArray[np.intp],
        ids: NDArray[np.int64],
        weights: NDArray[np.float32],
    ) -> None:
        """Does for many prompts, without a loop, what ``_fill`` does for one."""
        encoded, length = self.encoded, ids.shape[1]
        row_of = np.full(len(encoded.marked), -1)
        row_of[prompts] = np.arange(len(prompts))
        here = np.flatnonzero(row_of[self.prompt] >= 0)
        row, region, at = row_of[self.prompt[here]], self.region[here], self.start[here]
        words, edges = self.words[here], self.edges[:, here]
        pair, after_head, tail, end = edges
        counts = encoded.marked[prompts]
        ends_of_marks = np.cumsum(encoded.marked)
        flat, mine = ids.reshape(-1), np.arange(len(prompts))
        flat[_spans(mine * length, counts)] = encoded.marks[
            _spans((ends_of_marks - encoded.marked)[prompts], counts)
        ]
        flat[_spans(row * length + at, words)] = encoded.codes[_spans(self.first[here], words)]
        pairs = end - pair
        flat[_spans(row * length + at + words, pairs)] = self.pairs[_spans(pair, pairs)]
        lanes = len(REGIONS) * length
        body = np.flatnonzero((region == BODY) & (words > 0))
        base = row[body] * lanes + at[body]
        of_words, of_pairs = words[body], (end - pair)[body]
        edge = np.minimum(of_words, EDGE_WORDS)
        head, back = (after_head - pair)[body], (end - tail)[body]
        starts = (
            row * lanes + region * length + at,
            mine * lanes + MARKS * length,
            base + HEAD * length,
            base + HEAD * length + of_words,
            base + TAIL * length + of_words - edge,
            base + TAIL * length + of_words + of_pairs - back,
        )
        sizes = (words + pairs, counts, edge, head, edge, back)
        shares = (words + pairs, counts, edge + head, edge + head, edge + back, edge + back)
        size = np.concatenate(sizes)
        value = np.maximum(np.concatenate(shares), 1) ** -0.5
        weights.reshape(-1)[_spans(np.concatenate(starts), size)] = np.repeat(value, size)

    def _fill_pieces(
        self,
        prompts: NDArray[np.intp],
        ids: NDArray[np.int64],
        weights: NDArray[np.float32],
    ) -> None:
        """Adds the pieces of words outside the vocabulary; each word counts as one."""
        row_of = dict(zip(prompts.tolist(), range(len(prompts)), strict=True))
        rows = self.words + self.edges[3] - self.edges[0]
        at = self.encoded.marked + np.bincount(self.prompt, rows, len(self.rows)).astype(np.int64)
        for part, pieces in self.encoded.pieces:
            prompt = int(self.prompt[part])
            row = row_of.get(prompt)
            if row is None:
                continue
            start = int(at[prompt])
            stop = min(start + len(pieces), ids.shape[1])
            if stop > start:
                ids[row, start:stop] = pieces[: stop - start]
                share = float(rows[part]) ** -0.5 / len(pieces)
                weights[row, self.region[part], start:stop] = share
                at[prompt] = stop


def _spans(starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the numbers of all ranges, one after the other."""
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - sizes), sizes) + np.arange(total)
