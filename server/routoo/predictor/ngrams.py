"""Reads prompts of any script as rows of a table: words, word pairs, pieces of words, and marks.

A word of the vocabulary is one row; any other word is the mean of the rows of its pieces, which are
the runs of 2 to 4 characters that its hash leads to (Bojanowski et al., "Enriching word vectors
with subword information", TACL 2017). So there is no unknown word in any script. Two neighbouring
words make a pair, whose row is found by a hash too. Marks tell of a prompt's shape: its length,
code, lists, digits, scripts, turns and tools.

The rows are pooled by region: the whole last turn, its beginning, its end, the system prompt, the
tools, the earlier turns, and the marks. Pooling is a product with ``weights``: each region's rows
are summed and divided by the square root of their number.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import orjson

from routoo.errors import ArtifactError
from routoo.predictor.conversation import read_turns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import TypeAlias

    from numpy.typing import NDArray

    from routoo.predictor.conversation import Turns

    Rows: TypeAlias = NDArray[np.int64]

KIND = "routoo-ngrams"
REGIONS = ("body", "head", "tail", "system", "tools", "earlier", "marks")
BODY, HEAD, TAIL, SYSTEM, TOOLS, EARLIER, MARKS = range(len(REGIONS))
EDGE_WORDS = 12
"""Words of the head and of the tail of the last turn, where instructions stand."""
MOST_CHARS = {BODY: 3000, SYSTEM: 1500, TOOLS: 1500, EARLIER: 1500}
"""Characters read of each part; of a longer one the beginning and the end."""
MOST_ROWS = 2048
MOST_WORDS = 50_000
"""Words outside the vocabulary whose pieces are kept."""
LONGEST_WORD_CHARS = 32
PIECE_CHARS = (2, 3, 4)

# Characters of scripts that are written without spaces and in which each one carries a meaning.
_IDEOGRAPHS = "\u2e80-\u312f\u3190-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_MARKS = "!-/:-@\\[-`{-~\u00a1\u00a7\u00ab\u00b6\u00b7\u00bb\u00bf\u2000-\u206f\u3000-\u303f"
_ASCII_WORDS = re.compile(r"[a-z0-9]+|[!-/:-@\[-`{-~]")
_WORDS = re.compile(f"[{_IDEOGRAPHS}]|[^\\s\x00-\x1f\x7f{_MARKS}{_IDEOGRAPHS}]+|[{_MARKS}]")
_PRIME = np.uint32(0x01000193)
_SEEDS = {size: np.uint32(size * 0x9E3779B1 & 0xFFFFFFFF) for size in PIECE_CHARS}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Rows of the table, in this order: padding, words, marks, pairs, pieces.

    Attributes:
        words: the words that have a row of their own.
        marks: names of the marks.
        pairs: the number of rows of pairs.
        pieces: the number of rows of pieces.
        punctuation: how many of the first words are no words but signs, which make no pairs.
    """

    words: tuple[str, ...]
    marks: tuple[str, ...]
    pairs: int
    pieces: int
    punctuation: int

    @property
    def first_mark(self) -> int:
        """The row of the first mark."""
        return 1 + len(self.words)

    @property
    def first_pair(self) -> int:
        """The first row of pairs."""
        return self.first_mark + len(self.marks)

    @property
    def first_piece(self) -> int:
        """The first row of pieces."""
        return self.first_pair + self.pairs

    @property
    def rows(self) -> int:
        """The number of rows of the table."""
        return self.first_piece + self.pieces

    def save(self, path: Path) -> None:
        """Writes the vocabulary as JSON."""
        path.write_bytes(
            orjson.dumps(
                {
                    "type": KIND,
                    "words": self.words,
                    "marks": self.marks,
                    "pairs": self.pairs,
                    "pieces": self.pieces,
                    "punctuation": self.punctuation,
                }
            )
        )

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Reads a vocabulary.

        Raises:
            ArtifactError: the file is none.
        """
        try:
            values = orjson.loads(path.read_bytes())
            kind = values.pop("type")
            found = cls(
                words=tuple(values.pop("words")), marks=tuple(values.pop("marks")), **values
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(f"{path}: not a vocabulary of n-grams: {error}") from None
        if kind != KIND:
            raise ArtifactError(f"{path}: is of type {kind!r}, not a vocabulary of n-grams")
        return found


def split_words(text: str) -> list[str]:
    """Returns the words and signs of a text, in lower case and in Unicode's form NFKC.

    Runs of digits become a word that tells their number alone.
    """
    if text.isascii():
        return _ASCII_WORDS.findall(text.lower())
    return _WORDS.findall(unicodedata.normalize("NFKC", text).lower())


def shape_of(word: str) -> str:
    """Returns a word with each run of digits replaced by a sign for its length."""
    return _DIGITS.sub(lambda run: f"#{min(len(run.group()), 5)}", word)


_DIGITS = re.compile(r"[0-9]+")


def marks_of(turns: Turns) -> list[str]:
    """Returns the names of the marks of a prompt's shape."""
    last = turns.last
    lines = last.count("\n")
    end = last.rstrip()[-1:]
    asked = last.count("?") + last.count("\uff1f") + last.count("\u061f")
    marks = [name for name, sign in _SIGNS if sign in last]
    marks.append(f"chars{min(len(last).bit_length(), 14)}")
    marks.append(f"lines{min(lines.bit_length(), 7)}")
    marks.append(f"asks{min(asked, 3)}")
    marks.append(f"end{end if end in _ENDS else 'word'}")
    marks.append(f"role:{turns.last_role}")
    if turns.system:
        marks.append(f"system{min(len(turns.system).bit_length(), 12)}")
    if turns.tools:
        marks.append(f"tools{min(turns.tools.count(chr(10)) + 1, 6)}")
    if turns.users != 1 or turns.earlier:
        marks.append(f"users{min(turns.users, 4)}")
    if not last.isascii():
        marks.extend(_scripts(last[:MOST_SCRIPT_CHARS]))
    return marks


MOST_SCRIPT_CHARS = 400
_ENDS = "?.:!`}\"';)>]"
_SIGNS = (
    ("fence", "```"),
    ("tick", "`"),
    ("tag", "</"),
    ("object", '{"'),
    ("array", "["),
    ("option", "\nB"),
    ("option)", "b)"),
    ("OPTION)", "B)"),
    ("url", "http"),
    ("arrow", "->"),
    ("def", "def "),
    ("class", "class "),
    ("select", "SELECT"),
    ("dollar", "$"),
    ("latex", "\\"),
    ("equals", "="),
    ("quote", '"'),
    ("bullet", "\n- "),
    ("cell", "|"),
    ("mail", "@"),
    ("cited", "\n>"),
    ("statement", ";\n"),
    ("error", "rror"),
    ("traceback", "Traceback"),
    ("colon", ":\n"),
    ("paragraph", "\n\n"),
    ("percent", "%"),
    ("path", "./"),
)
_SCRIPT_RANGES = (
    ("greek", 0x370, 0x3FF),
    ("cyrillic", 0x400, 0x52F),
    ("hebrew", 0x590, 0x5FF),
    ("arabic", 0x600, 0x77F),
    ("devanagari", 0x900, 0x97F),
    ("bengali", 0x980, 0x9FF),
    ("tamil", 0xB80, 0xBFF),
    ("thai", 0xE00, 0xE7F),
    ("kana", 0x3040, 0x30FF),
    ("han", 0x4E00, 0x9FFF),
    ("hangul", 0xAC00, 0xD7AF),
    ("emoji", 0x1F300, 0x1FAFF),
)
_SCRIPT_STARTS = np.array([start for _, start, _ in _SCRIPT_RANGES], np.uint32)
_SCRIPT_ENDS = np.array([end for _, _, end in _SCRIPT_RANGES], np.uint32)


def _scripts(text: str) -> list[str]:
    points = _code_points(text)[:, None]
    seen = ((points >= _SCRIPT_STARTS) & (points <= _SCRIPT_ENDS)).any(axis=0)
    return [f"script:{_SCRIPT_RANGES[at][0]}" for at in np.flatnonzero(seen).tolist()]


def _code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _mixed(hashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Spreads hashes over all 32 bits (the finaliser of MurmurHash3)."""
    hashes = (hashes ^ (hashes >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    hashes = (hashes ^ (hashes >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return hashes ^ (hashes >> np.uint32(16))


def piece_hashes(word: str) -> NDArray[np.uint32]:
    """Returns a hash of each run of 2 to 4 characters of a word, its two ends marked."""
    points = _code_points(f" {word} ")
    hashes, found = points, []
    for size in PIECE_CHARS:
        left = len(points) - size + 1
        if left < 1:
            break
        hashes = (hashes[:left] * _PRIME) ^ points[size - 1 :]
        found.append(hashes ^ _SEEDS[size])
    return _mixed(np.concatenate(found))


def pair_rows(
    vocabulary: Vocabulary, first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Returns the rows of pairs of words, given by their rows; 0 is a word without one."""
    hashes = _mixed((first.astype(np.uint32) * _PRIME) ^ second.astype(np.uint32))
    return (hashes % np.uint32(vocabulary.pairs)).astype(np.int64) + vocabulary.first_pair


def cut_middle(text: str, most_chars: int) -> str:
    """Returns a text of at most ``most_chars``: two thirds from its beginning, one from its end."""
    if len(text) <= most_chars:
        return text
    tail = most_chars // 3
    return f"{text[: most_chars - tail - 1]}\n{text[-tail:]}"


@dataclass(frozen=True, slots=True)
class ReadPrompts:
    """The rows of n prompts, those of each prompt side by side.

    Attributes:
        rows: int64 [k], the row of each item.
        prompts: [k], the prompt that it belongs to, rising.
        weights: float32 [k], the item's own weight: 1, and for a piece one over the pieces of its
            word.
        regions: int8 [k], the item's region.
        head: bool [k], whether it stands at the beginning of the last turn as well.
        tail: bool [k], whether it stands at its end as well.
        scales: float32 [n, regions], one over the square root of each region's words and pairs.
        counts: [n], items of each prompt.
        truncated: bool [n], whether not all of it was read.
    """

    rows: Rows
    prompts: NDArray[np.intp]
    weights: NDArray[np.float32]
    regions: NDArray[np.int8]
    head: NDArray[np.bool_]
    tail: NDArray[np.bool_]
    scales: NDArray[np.float32]
    counts: NDArray[np.intp]
    truncated: NDArray[np.bool_]

    def members(self) -> Iterator[tuple[int, NDArray[np.intp]]]:
        """Yields each region, and its items in their order."""
        for region in range(len(REGIONS)):
            if region == HEAD:
                flags = self.head
            elif region == TAIL:
                flags = self.tail
            else:
                flags = self.regions == region
            yield region, np.flatnonzero(flags)


@dataclass(frozen=True, slots=True)
class _Items:
    """Words' rows, pairs and marks of n prompts, in this order; attributes as in ReadPrompts."""

    rows: NDArray[np.int64]
    prompts: NDArray[np.intp]
    weights: NDArray[np.float32]
    regions: NDArray[np.int8]
    head: NDArray[np.bool_]
    tail: NDArray[np.bool_]
    scales: NDArray[np.float32]
    n: int

    @classmethod
    def of(
        cls,
        vocabulary: Vocabulary,
        rows: list[int],
        pieces: list[int],
        segments: list[tuple[int, int, int]],
        marks: list[int],
        marked: list[int],
    ) -> _Items:
        """Makes the items.

        Args:
            vocabulary: which rows there are.
            rows: of the words, one after the other.
            pieces: how many rows each word has.
            segments: prompt, region and number of words of each part of a prompt, in order.
            marks: rows of the marks.
            marked: how many marks each prompt has.
        """
        n = len(marked)
        parts = np.array(segments, np.intp).reshape(-1, 3)
        lengths = parts[:, 2]
        part = np.repeat(np.arange(len(parts)), lengths)
        ends = np.cumsum(lengths)
        at = np.arange(len(part)) - (ends - lengths)[part]
        left = (lengths[part] - 1) - at
        prompt, region = parts[part, 0], parts[part, 1]
        in_body = region == BODY
        head, tail = in_body & (at < EDGE_WORDS), in_body & (left < EDGE_WORDS)
        word_rows = np.array(rows, np.int64)
        if len(rows) == len(part):
            codes = word_rows
            of_row = None
            weights = np.ones(len(rows), np.float32)
        else:
            count = np.array(pieces, np.intp)
            of_row = np.repeat(np.arange(len(part)), count)
            first = np.cumsum(count) - count
            codes = np.where(count == 1, word_rows[first], 0)
            weights = (1.0 / count).astype(np.float32)[of_row]
        is_word = np.flatnonzero((codes > vocabulary.punctuation) | (codes == 0))
        one, next_one = is_word[:-1], is_word[1:]
        together = part[one] == part[next_one]
        one, next_one = one[together], next_one[together]
        pairs = pair_rows(vocabulary, codes[one], codes[next_one])
        key = prompt * len(REGIONS) + region
        counts = np.bincount(key, minlength=n * len(REGIONS))
        counts += np.bincount(key[one], minlength=len(counts))
        counts = counts.reshape(n, len(REGIONS))
        for edge, flags in ((HEAD, head), (TAIL, tail)):
            counts[:, edge] = np.bincount(prompt[flags], minlength=n)
            counts[:, edge] += np.bincount(prompt[one[flags[one]]], minlength=n)
        counts[:, MARKS] = marked
        words = slice(None) if of_row is None else of_row
        none = np.zeros(len(marks), np.bool_)
        return cls(
            rows=np.concatenate([word_rows, pairs, np.array(marks, np.int64)]),
            prompts=np.concatenate([prompt[words], prompt[one], np.repeat(np.arange(n), marked)]),
            weights=np.concatenate([weights, np.ones(len(one) + len(marks), np.float32)]),
            regions=np.concatenate([region[words], region[one], np.full(len(marks), MARKS)]).astype(
                np.int8
            ),
            head=np.concatenate([head[words], head[one], none]),
            tail=np.concatenate([tail[words], tail[one], none]),
            scales=(1.0 / np.sqrt(np.maximum(counts, 1))).astype(np.float32),
            n=n,
        )

    def by_prompt(self, truncated: NDArray[np.bool_]) -> ReadPrompts:
        """Returns the items of each prompt side by side, at most MOST_ROWS of each."""
        order = np.arange(len(self.prompts))
        if self.n > 1:
            order = np.argsort(self.prompts, kind="stable")
        prompts = self.prompts[order]
        counts = np.bincount(prompts, minlength=self.n)
        if counts.max(initial=0) > MOST_ROWS:
            at = np.arange(len(prompts)) - (np.cumsum(counts) - counts)[prompts]
            kept = at < MOST_ROWS
            order = order[kept]
            truncated = truncated | (counts > MOST_ROWS)
            prompts, counts = prompts[kept], np.minimum(counts, MOST_ROWS)
        return ReadPrompts(
            rows=self.rows[order],
            prompts=prompts,
            weights=self.weights[order],
            regions=self.regions[order],
            head=self.head[order],
            tail=self.tail[order],
            scales=self.scales,
            counts=counts,
            truncated=truncated,
        )


class NgramReader:
    """Turns prompts into rows of the table and their weights. Not thread-safe.

    Args:
        vocabulary: which rows there are.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._rows = {word: (row,) for row, word in enumerate(vocabulary.words, 1)}
        first = vocabulary.first_mark
        self._marks = {name: row for row, name in enumerate(vocabulary.marks, first)}
        self._learnt = 0

    def read(self, prompts: Sequence[str]) -> ReadPrompts:
        """Reads n >= 1 prompts."""
        rows: list[int] = []  # of words, or of their pieces
        pieces: list[int] = []  # how many rows each word has
        segments: list[tuple[int, int, int]] = []  # prompt, region, number of words
        marks: list[int] = []
        marked: list[int] = []
        truncated: list[bool] = []
        known_marks = self._marks
        for at, prompt in enumerate(prompts):
            turns = read_turns(prompt)
            cut = False
            for region, text in (
                (BODY, turns.last),
                (SYSTEM, turns.system),
                (TOOLS, turns.tools),
                (EARLIER, turns.earlier),
            ):
                if not text:
                    continue
                read = cut_middle(text, MOST_CHARS[region])
                cut |= len(read) < len(text)
                found = self._found(split_words(read))
                segments.append((at, region, len(found)))
                pieces.extend(map(len, found))
                rows.extend(chain.from_iterable(found))
            own = [known_marks[name] for name in marks_of(turns) if name in known_marks]
            marks.extend(own)
            marked.append(len(own))
            truncated.append(cut)
        items = _Items.of(self.vocabulary, rows, pieces, segments, marks, marked)
        return items.by_prompt(np.array(truncated, np.bool_))

    def _found(self, words: list[str]) -> list[tuple[int, ...]]:
        known = self._rows
        try:
            return [known[word] for word in words]
        except KeyError:
            return [known.get(word) or self._learn(word) for word in words]

    def _learn(self, word: str) -> tuple[int, ...]:
        shape = shape_of(word) if any(map(str.isdigit, word)) else word
        rows = self._rows.get(shape)
        if rows is None:
            vocabulary = self.vocabulary
            hashes = piece_hashes(shape) % np.uint32(vocabulary.pieces)
            rows = tuple((hashes + np.uint32(vocabulary.first_piece)).tolist())
        # A full cache takes no more words, which bounds its memory.
        if self._learnt < MOST_WORDS and len(word) <= LONGEST_WORD_CHARS:
            self._learnt += 1
            self._rows[word] = rows
        return rows
