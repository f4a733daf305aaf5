"""The word cache gives the same ids as the library, or none."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer, Lowercase
from tokenizers.pre_tokenizers import BertPreTokenizer, Whitespace

from routoo.predictor import word_cache
from routoo.predictor.word_cache import WordCache, splits_words_alone

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """A tokenizer with BERT's rules, whose pieces are some words, and letters, digits and signs."""
    signs = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    pieces = [*SPECIAL, "one", "two", "seven", "snake", "##case", *signs]
    pieces += [f"##{sign}" for sign in signs]
    made = Tokenizer(
        WordPiece({piece: row for row, piece in enumerate(pieces)}, unk_token=SPECIAL[1])
    )
    made.normalizer = BertNormalizer(lowercase=True)
    made.pre_tokenizer = BertPreTokenizer()
    made.add_special_tokens(list(SPECIAL))
    return made


@pytest.fixture(scope="module")
def cache(tokenizer: Tokenizer) -> WordCache:
    return WordCache(tokenizer)


def library_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def test_a_tokenizer_with_bert_s_rules_splits_words_alone(tokenizer: Tokenizer) -> None:
    assert splits_words_alone(tokenizer)


@given(
    text=st.text(
        st.sampled_from(string.printable + "\x00\x1f\x7f") | st.characters(max_codepoint=0x2FF)
    )
)
def test_ids_are_the_library_s_or_none(tokenizer: Tokenizer, cache: WordCache, text: str) -> None:
    ids = cache.ids(text)
    assert ids is None or ids == library_ids(tokenizer, text)


@given(text=st.text(string.ascii_letters + string.digits + string.punctuation + " \t\r\n"))
def test_plain_ascii_is_looked_up(tokenizer: Tokenizer, cache: WordCache, text: str) -> None:
    special = any(token in text for token in SPECIAL)
    assert cache.ids(text) == (None if special else library_ids(tokenizer, text))


@pytest.mark.parametrize(
    "text",
    ["naïve", "a\x00b", "page\x0cbreak", "say [MASK] here", "“quoted”", "\x7f"],
)
def test_what_cannot_be_looked_up_is_left_to_the_library(cache: WordCache, text: str) -> None:
    assert cache.ids(text) is None


@pytest.mark.parametrize("text", ["", "   ", "x" * 5000, "Snake_Case-123.5e10%", "a\r\n\tb"])
def test_edges_are_the_library_s(tokenizer: Tokenizer, cache: WordCache, text: str) -> None:
    assert cache.ids(text) == library_ids(tokenizer, text)


def test_a_full_cache_learns_no_more_and_stays_right(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(word_cache, "MOST_WORDS", 3)
    small = WordCache(tokenizer)
    for text in ("one two three four five", "six seven", "one seven " + "long" * 20):
        assert small.ids(text) == library_ids(tokenizer, text)
        assert small.ids(text) == library_ids(tokenizer, text)
    assert len(small._pieces) == 3


@pytest.mark.parametrize(
    ("normalizer", "pre_tokenizer"),
    [(Lowercase(), BertPreTokenizer()), (BertNormalizer(lowercase=True), Whitespace())],
)
def test_other_rules_are_not_looked_up(normalizer: object, pre_tokenizer: object) -> None:
    other = Tokenizer(WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))  # noqa: S106
    other.normalizer = normalizer
    other.pre_tokenizer = pre_tokenizer
    assert not splits_words_alone(other)
