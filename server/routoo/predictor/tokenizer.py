"""Tokenising of prompts: token ids, counted, cut in the middle when too long, sorted by length."""

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
"""Characters read for each token that is kept, so that a prompt of a megabyte is not tokenised
whole in order to keep 256 tokens."""
MOST_CHARS_PER_TOKEN = 8
"""A prompt of c characters counts at least c / 8 tokens: a word-piece tokenizer takes a very long
word for one unknown token, and the LLM that bills for it does not."""

MOST_WORDS = 50_000
"""Words kept in the cache."""
LONGEST_WORD_CHARS = 32
"""Longer words are not kept in the cache."""
# ASCII as BERT splits it: runs of letters and digits, and every punctuation mark alone.
_WORDS = re.compile(r"[a-z0-9]+|[!-/:-@\[-`{-~]")
# Characters that BERT's clean-up drops or replaces, which joins or splits words.
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
        truncated: bool [n], the middle of the prompt was cut out.
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
    """Tokenises prompts in the way that the predictor was trained with. Not thread-safe.

    Args:
        tokenizer_path: file in Hugging Face's ``tokenizers`` format.
        max_tokens: most ids kept of a prompt.
        pad_token_id: fills the rows of a bucket.
        add_special_tokens: whether the tokenizer adds them.
        fine_buckets: see ``bucket_lengths``.

    Raises:
        ArtifactError: the file is no tokenizer.
    """

    def __init__(
        self,
        tokenizer_path: Path,
        *,
        max_tokens: int,
        pad_token_id: int,
        add_special_tokens: bool,
        fine_buckets: bool = False,
    ) -> None:
        # There is one caller; the library's own threads would take CPU time from the inference.
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
        """Tokenises prompts; of one that is too long, the beginning and the end are kept."""
        most_chars = self.max_tokens * READ_CHARS_PER_TOKEN
        read = [
            text if len(text) <= most_chars else _cut_middle(text, most_chars) for text in prompts
        ]
        found = self._ids(read)
        # Python's numbers: most batches are small, and a few numbers take less time than an array.
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
        """Groups prompts by length, so that there are few shapes and little padding."""
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
    """Yields the lengths to which prompts are padded, rising; the last is ``max_tokens``.

    Args:
        max_tokens: longest length.
        fine: four lengths to each doubling, at least ``SHORTEST_BUCKET`` apart, for graphs that
            spend time on every token of the padding; else each length is twice the one before.
    """
    length = SHORTEST_BUCKET
    while length < max_tokens:
        yield length
        doubling = 1 << (length.bit_length() - 1)
        length += max(doubling // 4, SHORTEST_BUCKET) if fine else length
    yield max_tokens


def splits_words_alone(tokenizer: Tokenizer) -> bool:
    """Returns whether the tokenizer splits text by the rules that ``WordCache`` relies on."""
    spec: dict[str, Any] = orjson.loads(tokenizer.to_str())
    model = spec["model"]
    return bool(
        spec["normalizer"] == _NORMALIZER
        and spec["pre_tokenizer"] == _PRE_TOKENIZER
        and model["type"] == "WordPiece"
    )


class WordCache:
    """Token ids of ASCII text, by a table of its words. Not thread-safe."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._special = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
        self._pieces: dict[str, tuple[int, ...]] = {}

    def ids(self, text: str) -> list[int] | None:
        """Returns the text's token ids, without special tokens; None: only the library can tell."""
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
        # A full cache takes no more words, which bounds its memory; by then it holds the words of
        # ordinary prompts.
        room = MOST_WORDS - len(self._pieces)
        short = [word for word in ordered if len(word) <= LONGEST_WORD_CHARS]
        self._pieces.update((word, pieces[word]) for word in short[: max(room, 0)])
        return pieces
