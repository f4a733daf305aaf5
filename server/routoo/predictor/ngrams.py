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
from string import ascii_uppercase, punctuation
from typing import TYPE_CHECKING

import numpy as np
import orjson

from routoo.errors import ArtifactError
from routoo.predictor.conversation import MOST_USERS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from routoo.predictor.conversation import Turns

KIND = "routoo-ngrams"
REGIONS = ("body", "head", "tail", "system", "tools", "earlier", "marks")
BODY, HEAD, TAIL, SYSTEM, TOOLS, EARLIER, MARKS = range(len(REGIONS))
MOST_CHARS = {BODY: 3000, SYSTEM: 1500, TOOLS: 1500, EARLIER: 1500}
"""Characters read of each part; of a longer one the beginning and the end."""
PIECE_CHARS = (2, 3, 4)

# Characters of scripts that are written without spaces and in which each one carries a meaning.
_IDEOGRAPHS = "\u2e80-\u312f\u3190-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_MARKS = "!-/:-@\\[-`{-~\u00a1\u00a7\u00ab\u00b6\u00b7\u00bb\u00bf\u2000-\u206f\u3000-\u303f"
# Lower case, and a space for each control character, which belongs to no word.
_LOWERED = bytes(
    32 if byte < 32 or byte == 127 else byte + 32 if chr(byte) in ascii_uppercase else byte
    for byte in range(256)
)
_APART = tuple((sign, f" {sign} ") for sign in punctuation)
_WORDS = re.compile(f"[{_IDEOGRAPHS}]|[^\\s\x00-\x1f\x7f{_MARKS}{_IDEOGRAPHS}]+|[{_MARKS}]")
_PRIME = np.uint32(0x01000193)
_FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_SEEDS = {size: np.uint32(size * 0x9E3779B1 & 0xFFFFFFFF) for size in PIECE_CHARS}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Rows of the table, in this order: padding, words, marks, pairs, pieces.

    Attributes:
        words: the words that have a row of their own.
        marks: names of the marks.
        pairs: the number of rows of pairs, a power of two above 1.
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
        if found.pairs < 2 or found.pairs & (found.pairs - 1):
            raise ArtifactError(f"{path}: pairs is {found.pairs}, not a power of two above 1")
        if kind != KIND:
            raise ArtifactError(f"{path}: is of type {kind!r}, not a vocabulary of n-grams")
        return found


def split_words(text: str) -> list[str]:
    """Returns the words and signs of a text, in lower case and in Unicode's form NFKC.

    Runs of digits become a word that tells their number alone.
    """
    if text.isascii():
        return _split_ascii(text)
    return _WORDS.findall(unicodedata.normalize("NFKC", text).lower())


def _split_ascii(text: str) -> list[str]:
    """Takes less than half the time of an expression: most signs do not occur in a text."""
    read = text.encode("ascii").translate(_LOWERED).decode("ascii")
    for sign, apart in _APART:
        if sign in read:
            read = read.replace(sign, apart)
    return read.split()


def shape_of(word: str) -> str:
    """Returns a word with each run of digits replaced by a sign for its length."""
    return _DIGITS.sub(lambda run: f"#{min(len(run.group()), 5)}", word)


_DIGITS = re.compile(r"[0-9]+")


def marks_of(turns: Turns) -> list[str]:
    """Returns the names of the marks of a prompt's shape."""
    last = turns.last
    end = last.rstrip()[-1:]
    asked = last.count("?") + last.count("\uff1f") + last.count("\u061f")
    marks = [name for name, rare, sign in _SIGNS if rare in last and sign in last]
    marks += (
        _CHARS[min(len(last).bit_length(), 14)],
        _LINES[min(last.count("\n").bit_length(), 7)],
        _ASKED[min(asked, 3)],
        _ENDS.get(end, "endword"),
        f"role:{turns.last_role}",
    )
    if turns.system:
        marks.append(f"system{min(len(turns.system).bit_length(), 12)}")
    if turns.tools:
        marks.append(f"tools{min(turns.tools.count(chr(10)) + 1, 6)}")
    if turns.users != 1 or turns.earlier:
        marks.append(f"users{min(turns.users, MOST_USERS)}")
    if not last.isascii():
        marks += _scripts(last[:MOST_SCRIPT_CHARS])
    return marks


MOST_SCRIPT_CHARS = 400
_ENDS = {end: f"end{end}" for end in "?.:!`}\"';)>]"}
_CHARS = tuple(f"chars{bits}" for bits in range(15))
_LINES = tuple(f"lines{bits}" for bits in range(8))
_ASKED = tuple(f"asks{asked}" for asked in range(4))
# A character of each sign, which is looked for first as that takes a tenth of the time. Single
# signs have rows of their own.
_SIGNS = (
    ("fence", "`", "```"),
    ("tag", "<", "</"),
    ("object", "{", '{"'),
    ("option", "\n", "\nB"),
    ("option)", ")", "b)"),
    ("OPTION)", ")", "B)"),
    ("url", "p", "http"),
    ("arrow", ">", "->"),
    ("def", "f", "def "),
    ("select", "S", "SELECT"),
    ("latex", "\\", "\\"),
    ("bullet", "\n", "\n- "),
    ("cited", ">", "\n>"),
    ("statement", ";", ";\n"),
    ("error", "r", "rror"),
    ("colon", ":", ":\n"),
    ("paragraph", "\n", "\n\n"),
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
    hashes = first.view(np.uint64) * _FIRST + second.view(np.uint64) * _SECOND
    # The highest bits of a product depend on all of its factors' bits.
    found = hashes >> np.uint64(65 - vocabulary.pairs.bit_length())
    return found.view(np.int64) + vocabulary.first_pair


def cut_middle(text: str, most_chars: int) -> str:
    """Returns a text of at most ``most_chars``: two thirds from its beginning, one from its end."""
    if len(text) <= most_chars:
        return text
    tail = most_chars // 3
    return f"{text[: most_chars - tail - 1]}\n{text[-tail:]}"
