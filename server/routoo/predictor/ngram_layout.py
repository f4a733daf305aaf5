"""The padded inputs of a graph that pools rows of n-grams, laid out from the words of prompts.

A prompt's rows are its marks, then each part's words and pairs of words, then the pieces of words
outside the vocabulary. A single text takes fewer and plainer steps than several prompts, of which
all are laid out at once: the first call after some idleness pays for each kind of step.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from routoo.predictor.base import Bucket
from routoo.predictor.ngrams import BODY, HEAD, MARKS, REGIONS, TAIL, pair_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from routoo.predictor.ngrams import Vocabulary

    Whole = NDArray[np.int64]

LENGTHS = (32, 64, 96, 128, 160, 192, 256, 384, 512, 768, 1024, 1536, 2048)
"""Numbers of rows to which prompts are padded, rising."""
MOST_ROWS = LENGTHS[-1]
EDGE_WORDS = 12
"""Words of the head and of the tail of the last turn, where instructions stand."""
_LENGTHS = np.array(LENGTHS, np.int64)
_REGIONS = len(REGIONS)
# The weight of each row of a region that has so many; one table, so that it does not depend on the
# batch.
_SHARE = [0.0, *(rows**-0.5 for rows in range(1, MOST_ROWS + 1))]
_SHARES = np.array(_SHARE)
_WEIGHTS = _SHARES.astype(np.float32)


@dataclass(frozen=True, slots=True)
class NgramPrompts:
    """The words of n prompts.

    Attributes:
        codes: int64 [k], the rows of all words of all parts; 0: a word outside the vocabulary,
            -1: stands between two parts.
        prompt: the prompt of each of the p parts, rising.
        region: the region of each part.
        first: position in ``codes`` of each part's first word.
        end: position after its last word.
        pieces: rows of the pieces of each word outside the vocabulary, int64, in the parts' order.
        part_of_pieces: the part of each of these words.
        marks: the rows of all marks, by prompt.
        marked: how many marks each of the n prompts has.
        input_tokens: float64 [n], the prompts' lengths, estimated.
        truncated: bool [n], not all of the prompt was read.
    """

    codes: Whole
    prompt: list[int]
    region: list[int]
    first: list[int]
    end: list[int]
    pieces: list[Whole]
    part_of_pieces: list[int]
    marks: list[int]
    marked: list[int]
    input_tokens: NDArray[np.float64]
    truncated: NDArray[np.bool_]


def buckets_of(read: NgramPrompts, vocabulary: Vocabulary) -> Iterator[Bucket]:
    """Yields the inputs of prompts, grouped by length."""
    if len(read.marked) == 1 and read.region == [BODY]:
        yield _of_one_text(read, vocabulary)
    else:
        yield from _of_prompts(read, vocabulary)


def _pairs(read: NgramPrompts, vocabulary: Vocabulary) -> tuple[Whole, Whole]:
    """Returns the rows of all pairs, and the positions of their first words."""
    codes = read.codes
    # Row 0, less 1, is the greatest number without a sign.
    at = ((codes - 1).view(np.uint64) >= vocabulary.punctuation).nonzero()[0]
    words = codes[at]
    one, other, at = words[:-1], words[1:], at[:-1]
    if len(read.region) > 1:
        together = ((one >= 0) & (other >= 0)).nonzero()[0]
        one, other, at = one[together], other[together], at[together]
    return pair_rows(vocabulary, one, other), at


def _of_one_text(read: NgramPrompts, vocabulary: Vocabulary) -> Bucket:
    """Lays out a single prompt that is one part, its body."""
    pairs, at = _pairs(read, vocabulary)
    marks, words = len(read.marks), len(read.codes)
    edge = min(EDGE_WORDS, words)
    in_head, not_in_tail = at.searchsorted((edge, words - edge)).tolist()
    in_tail = len(pairs) - not_in_tail
    of_pairs = marks + words
    stop = of_pairs + len(pairs)
    pieces = read.pieces
    rows = min(stop + sum(map(len, pieces)), MOST_ROWS)
    length = LENGTHS[bisect_left(LENGTHS, rows)]
    ids = np.zeros((1, length), np.int64)
    weights = np.zeros((1, _REGIONS, length), np.float32)
    row, regions = ids[0], weights[0]
    row[:marks] = read.marks
    row[marks:of_pairs] = read.codes
    row[of_pairs:stop] = pairs
    regions[MARKS, :marks] = _SHARE[marks]
    share = _SHARE[words + len(pairs)]
    regions[BODY, marks:stop] = share
    head = _SHARE[edge + in_head]
    regions[HEAD, marks : marks + edge] = head
    regions[HEAD, of_pairs : of_pairs + in_head] = head
    tail = _SHARE[edge + in_tail]
    regions[TAIL, of_pairs - edge : of_pairs] = tail
    regions[TAIL, stop - in_tail : stop] = tail
    for of_word in pieces:
        start, stop = stop, min(stop + len(of_word), length)
        row[start:stop] = of_word[: stop - start]
        regions[BODY, start:stop] = share / len(of_word)
    return Bucket(np.zeros(1, np.intp), {"input_ids": ids, "weights": weights})


def _of_prompts(read: NgramPrompts, vocabulary: Vocabulary) -> Iterator[Bucket]:
    """Lays out n prompts of any parts at once; those of a length lie one after the other."""
    pairs, at = _pairs(read, vocabulary)
    prompt, region = np.array(read.prompt, np.int64), np.array(read.region, np.int64)
    first, end = np.array(read.first, np.int64), np.array(read.end, np.int64)
    marked, n = np.array(read.marked, np.int64), len(read.marked)
    words = end - first
    edge = np.minimum(words, EDGE_WORDS)
    bounds = at.searchsorted(np.concatenate((first, first + edge, end - edge, end)))
    pair, after_head, tail, last = bounds.reshape(4, -1)
    of_pairs, in_head, in_tail = last - pair, after_head - pair, last - tail
    size = words + of_pairs
    of_parts = np.bincount(prompt, size, n).astype(np.int64)
    before = of_parts.cumsum() - of_parts
    place = size.cumsum() - size + (marked - before)[prompt]
    rows = marked + of_parts
    pieces = _Pieces.of(read, prompt, rows) if read.pieces else None
    if pieces is not None:
        rows = rows + pieces.rows
    kind = _LENGTHS.searchsorted(np.minimum(rows, MOST_ROWS))
    length = _LENGTHS[kind]
    order = kind.argsort(kind="stable")
    base = np.empty(n, np.int64)
    base[order] = length[order].cumsum() - length[order]
    total = int(length.sum())
    ids, weights = np.zeros(total, np.int64), np.zeros(_REGIONS * total, np.float32)
    # Each prompt's place among the ids, and that of its lanes, one a region, among the weights.
    where = base[prompt] + place
    ids[_spans(base, marked)] = read.marks
    ids[_spans(where, words)] = read.codes[read.codes >= 0]
    ids[_spans(where + words, of_pairs)] = pairs
    lane = _REGIONS * base[prompt] + place
    of_head = lane + HEAD * length[prompt]
    of_tail = lane + TAIL * length[prompt] + words
    body = region == BODY
    edge, in_head, in_tail = edge * body, in_head * body, in_tail * body
    starts = (
        lane + region * length[prompt],
        _REGIONS * base + MARKS * length,
        of_head,
        of_head + words,
        of_tail - edge,
        of_tail + of_pairs - in_tail,
    )
    head, back = edge + in_head, edge + in_tail
    sizes = np.concatenate((size, marked, edge, in_head, edge, in_tail))
    shares = _WEIGHTS[np.concatenate((size, marked, head, head, back, back))]
    weights[_spans(np.concatenate(starts), sizes)] = shares.repeat(sizes)
    if pieces is not None:
        of_word, slots, found = pieces.within(length)
        part, of_prompt = pieces.part[of_word], pieces.prompt[of_word]
        ids[base[of_prompt] + slots] = found
        slots += _REGIONS * base[of_prompt] + region[part] * length[of_prompt]
        weights[slots] = (_SHARES[size[pieces.part]] / pieces.sizes)[of_word]
    yield from _split(order, np.bincount(kind, minlength=len(LENGTHS)).tolist(), ids, weights)


def _split(
    order: Whole, counts: list[int], ids: Whole, weights: NDArray[np.float32]
) -> Iterator[Bucket]:
    """Yields the inputs of each length, of which there are ``counts`` prompts, as a bucket."""
    stop = 0
    for length, count in zip(LENGTHS, counts, strict=True):
        if count:
            prompts, order = order[:count], order[count:]
            start, stop = stop, stop + count * length
            block = weights[_REGIONS * start : _REGIONS * stop]
            yield Bucket(
                prompts,
                {
                    "input_ids": ids[start:stop].reshape(count, length),
                    "weights": block.reshape(count, _REGIONS, length),
                },
            )


@dataclass(frozen=True, slots=True)
class _Pieces:
    """The w words outside the vocabulary of n prompts, by prompt.

    Attributes:
        ids: the rows of all pieces.
        sizes: the number of pieces of each word, [w].
        part: its part, [w].
        prompt: its prompt, [w].
        begin: where its pieces begin in the prompt, [w].
        rows: the number of pieces of each prompt, [n].
    """

    ids: Whole
    sizes: Whole
    part: Whole
    prompt: Whole
    begin: Whole
    rows: Whole

    @classmethod
    def of(cls, read: NgramPrompts, prompt_of_part: Whole, before: Whole) -> _Pieces:
        """Lays pieces behind each prompt's other rows, of which there are ``before`` [n]."""
        sizes = np.array(list(map(len, read.pieces)), np.int64)
        part = np.array(read.part_of_pieces, np.int64)
        prompt = prompt_of_part[part]
        rows = np.bincount(prompt, sizes, len(before)).astype(np.int64)
        first = before - (np.cumsum(rows) - rows)
        begin = np.cumsum(sizes) - sizes + first[prompt]
        return cls(np.concatenate(read.pieces), sizes, part, prompt, begin, rows)

    def within(self, length: Whole) -> tuple[Whole, Whole, Whole]:
        """Returns the word, the place in its prompt and the row of each piece that has room.

        Args:
            length: the number of rows to which each prompt is padded, [n].
        """
        of_word = np.arange(len(self.sizes)).repeat(self.sizes)
        places = _spans(self.begin, self.sizes)
        room = (places < length[self.prompt][of_word]).nonzero()[0]
        return of_word[room], places[room], self.ids[room]


def _spans(starts: Whole, sizes: Whole) -> Whole:
    """Returns the numbers of all ranges, one after the other."""
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - sizes), sizes) + np.arange(total)
