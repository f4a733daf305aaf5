"""A word cache before a BERT word-piece tokenizer.

Tokenising is the dearest part of a decision, and BERT's rules treat each word alone: lower-case,
split at white space and punctuation, then cut the word into pieces. So the pieces of a word that
was seen before are looked up, and a prompt of known words costs a fifth of the library's way. What
the lookup cannot do exactly (text beyond ASCII, control characters, special tokens spelt out) goes
to the library; the ids are the same either way.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from tokenizers import Tokenizer

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
