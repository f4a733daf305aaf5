"""Prompts to token ids: counted, cut from the middle when too long, gathered by length."""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from dataclasses import dataclass
from itertools import chain
from math import ceil
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import orjson
from tokenizers import Tokenizer

from routoo.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

Cut = TypeVar("Cut", str, list[int])
SHORTEST_BUCKET = 16
READ_CHARS_PER_TOKEN = 32
"""Characters read for each token that is kept: reading a megabyte to keep 256 tokens is waste."""
MOST_CHARS_PER_TOKEN = 8
"""A prompt of c characters counts at least c / 8 tokens: a word-piece tokenizer takes an endless
word for one unknown token, the LLM that bills for it does not."""

MOST_WORDS = 50_000
LONGEST_WORD_CHARS = 32
# ASCII as BERT splits it: runs of letters and digits, and every punctuation mark alone.
_WORDS = re.compile(r"[a-z0-9]+|[!-/:-@\[-`{-~]")
# Dropped or replaced by BERT's clean-up, in ways that join or split words.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f]")
_NORMALIZER = {
    "type": "BertNormalizer",
    "clean_text": True,
    "handle_chinese_chars": True,
    "strip_accents": None,
    "lowercase": True,
}
_PRE_TOKENIZER = {"type": "BertPreTokenizer"}


@dataclass(frozen=True, slots=True)
class EncodedPrompts:
    """Token ids of n prompts.

    Attributes:
        ids: n lists of at most ``max_tokens`` ids.
        input_tokens: float64 [n], lengths before the cut; estimated where not all was read.
        truncated: bool [n].
    """

    ids: list[list[int]]
    input_tokens: NDArray[np.float64]
    truncated: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Bucket:
    """Prompts of similar length, padded to one shape.

    Attributes:
        rows: positions of the prompts in the batch, [k].
        input_ids: int64 [k, length].
    """

    rows: NDArray[np.intp]
    input_ids: NDArray[np.int64]


class PromptEncoder:
    """Tokenises prompts as the predictor was trained to read them."""

    def __init__(
        self,
        tokenizer_path: Path,
        *,
        max_tokens: int,
        pad_token_id: int,
        add_special_tokens: bool,
        fine_buckets: bool = False,
    ) -> None:
        # One caller, one thread: the library's own thread pool would fight the inference for cores.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        try:
            self._tokenizer = Tokenizer.from_file(str(tokenizer_path))
        except Exception as error:  # noqa: BLE001 - the library raises bare Exception
            raise ArtifactError(f"{tokenizer_path}: not a tokenizer: {error}") from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._special = add_special_tokens
        self._pad = pad_token_id
        cached = not add_special_tokens and splits_words_alone(self._tokenizer)
        self._words = WordCache(self._tokenizer) if cached else None
        unknown = self._tokenizer.token_to_id("[UNK]")
        self._nothing = [pad_token_id if unknown is None else unknown]
        self.max_tokens = max_tokens
        self._bounds = list(bucket_lengths(max_tokens, fine=fine_buckets))
        self.bucket_lengths = np.array(self._bounds, dtype=np.int64)

    def encode(self, prompts: Sequence[str]) -> EncodedPrompts:
        """Tokenises; of a prompt that is too long the beginning and the end are kept."""
        most_chars = self.max_tokens * READ_CHARS_PER_TOKEN
        read = [
            text if len(text) <= most_chars else _cut_middle(text, most_chars) for text in prompts
        ]
        found = self._ids(read)
        # Numbers of Python: most batches are small, and an array costs more than a few of them.
        ids, input_tokens, truncated = [], [], []
        keep = self.max_tokens
        for text, part, tokens in zip(prompts, read, found, strict=True):
            counted, chars, read_chars = len(tokens) or 1, len(text), len(part) or 1
            ids.append((tokens or self._nothing) if counted <= keep else _cut_middle(tokens, keep))
            all_of_it = max(counted * (chars / read_chars), chars / MOST_CHARS_PER_TOKEN)
            input_tokens.append(ceil(all_of_it))
            truncated.append(counted > keep or read_chars < chars)
        return EncodedPrompts(
            ids, np.array(input_tokens, np.float64), np.array(truncated, np.bool_)
        )

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        if self._words is None:
            return self._library_ids(texts)
        looked_up = [self._words.ids(text) for text in texts]
        rest = [text for text, ids in zip(texts, looked_up, strict=True) if ids is None]
        others = iter(self._library_ids(rest) if rest else ())
        return [next(others) if ids is None else ids for ids in looked_up]

    def _library_ids(self, texts: Sequence[str]) -> list[list[int]]:
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=self._special)
        return [encoding.ids for encoding in encodings]

    def buckets(self, ids: Sequence[list[int]]) -> Iterator[Bucket]:
        """Gathers prompts by length, so that padding costs little and shapes stay few."""
        rows_of: dict[int, list[int]] = {}
        for row, one in enumerate(ids):
            length = self._bounds[bisect_left(self._bounds, len(one))]
            rows_of.setdefault(length, []).append(row)
        for length in sorted(rows_of):
            rows = rows_of[length]
            input_ids = np.full((len(rows), length), self._pad, dtype=np.int64)
            if len(rows) == 1:
                (row,) = rows
                input_ids[0, : len(ids[row])] = ids[row]
            else:
                kept = np.array([len(ids[row]) for row in rows])
                flat = chain.from_iterable(ids[row] for row in rows)
                filled = np.arange(length) < kept[:, None]
                input_ids[filled] = np.fromiter(flat, np.int64, kept.sum())
            yield Bucket(np.array(rows, np.intp), input_ids)


def _cut_middle(whole: Cut, keep: int) -> Cut:
    return whole[: keep - keep // 2] + whole[len(whole) - keep // 2 :]


def bucket_lengths(max_tokens: int, *, fine: bool) -> Iterator[int]:
    """The lengths to which prompts are padded, rising; the last is ``max_tokens``.

    Each is twice the one before. ``fine``: four to each doubling, and none less than
    ``SHORTEST_BUCKET`` apart, for graphs that spend their time on every token of the padding too.
    """
    length = SHORTEST_BUCKET
    while length < max_tokens:
        yield length
        doubling = 1 << (length.bit_length() - 1)
        length += max(doubling // 4, SHORTEST_BUCKET) if fine else length
    yield max_tokens


def splits_words_alone(tokenizer: Tokenizer) -> bool:
    """Whether the tokenizer follows the rules that the cache relies on."""
    spec: dict[str, Any] = orjson.loads(tokenizer.to_str())
    model = spec["model"]
    return bool(
        spec["normalizer"] == _NORMALIZER
        and spec["pre_tokenizer"] == _PRE_TOKENIZER
        and model["type"] == "WordPiece"
    )


class WordCache:
    """Token ids of ASCII text by looking its words up. For one thread."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._special = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
        self._pieces: dict[str, tuple[int, ...]] = {}

    def ids(self, text: str) -> list[int] | None:
        """The text's token ids, without special tokens; None: ask the library."""
        if not text.isascii() or _CONTROL.search(text) is not None:
            return None
        if any(special in text for special in self._special):
            return None
        words = _WORDS.findall(text.lower())
        known = self._pieces
        try:
            return list(chain.from_iterable([known[word] for word in words]))
        except KeyError:
            learnt = self._learn({word for word in words if word not in known})
            return list(chain.from_iterable([known.get(word) or learnt[word] for word in words]))

    def _learn(self, words: set[str]) -> dict[str, tuple[int, ...]]:
        ordered = list(words)
        encodings = self._tokenizer.encode_batch_fast(ordered, add_special_tokens=False)
        pieces = {
            word: tuple(encoding.ids) for word, encoding in zip(ordered, encodings, strict=True)
        }
        # Full is full: the words of ordinary prompts are in by then, and memory stays bounded.
        room = MOST_WORDS - len(self._pieces)
        short = [word for word in ordered if len(word) <= LONGEST_WORD_CHARS]
        self._pieces.update((word, pieces[word]) for word in short[: max(room, 0)])
        return pieces
