"""Token ids of ASCII text from a table of its words, for tokenizers that split as BERT's does."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from tokenizers import Tokenizer

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
        """Returns the text's token ids without special tokens; None: the table cannot be used."""
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
