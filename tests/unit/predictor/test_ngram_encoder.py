"""Prompts as padded rows of n-grams with a weight for each region, alone and in any batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routoo.predictor.conversation import conversation
from routoo.predictor.ngram_encoder import LONGEST_WORD_CHARS, MOST_WORDS, NgramEncoder
from routoo.predictor.ngram_layout import EDGE_WORDS, LENGTHS
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
    Vocabulary,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

VOCABULARY = Vocabulary(
    words=("?", ",", "what", "is", "the", "sum", "of", "and", "#1", "#3", "write", "code"),
    marks=("asks0", "asks1", "chars5", "end?", "endword", "lines0", "role:user", "script:han"),
    pairs=64,
    pieces=128,
    punctuation=2,
)
WORD = {word: row for row, word in enumerate(VOCABULARY.words, 1)}
KNOWN = st.sampled_from(["what", "is", "the", "sum", "of", "and", "7", "123", "?", ","])
TEXTS = st.lists(KNOWN | st.text(max_size=12), max_size=60).map(" ".join)
PROMPTS = TEXTS | st.lists(
    st.tuples(st.sampled_from(["user", "system", "assistant", "tools", "tool"]), TEXTS),
    min_size=1,
    max_size=5,
).map(conversation)
PARTS = (BODY, SYSTEM, TOOLS, EARLIER)


def encoded(*prompts: str) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """The rows [length] and weights [regions, length] of each prompt, in their order."""
    encoder = NgramEncoder(VOCABULARY)
    found: dict[int, tuple[NDArray[np.int64], NDArray[np.float32]]] = {}
    for bucket in encoder.buckets(encoder.encode(prompts)):
        ids, weights = bucket.feed["input_ids"], bucket.feed["weights"]
        assert ids.dtype == np.int64
        assert weights.dtype == np.float32
        assert ids.shape[1] in LENGTHS
        assert weights.shape == (len(ids), len(REGIONS), ids.shape[1])
        for at, row in enumerate(bucket.rows.tolist()):
            assert row not in found
            found[row] = ids[at], weights[at]
    return [found[row] for row in range(len(prompts))]


def rows_of(prompt: str, region: int) -> list[int]:
    """The rows that count in a region."""
    ((ids, weights),) = encoded(prompt)
    return ids[weights[region] > 0.0].tolist()  # type: ignore[no-any-return]


@settings(max_examples=40)
@given(prompts=st.lists(PROMPTS, min_size=1, max_size=9))
def test_a_prompt_is_read_alike_alone_and_in_any_batch(prompts: list[str]) -> None:
    for alone, together in zip(map(encoded, prompts), encoded(*prompts), strict=True):
        np.testing.assert_array_equal(together[0], alone[0][0])
        np.testing.assert_array_equal(together[1], alone[0][1])


@given(prompt=PROMPTS)
def test_rows_are_those_of_the_table_and_each_region_has_length_one(prompt: str) -> None:
    ((ids, weights),) = encoded(prompt)
    assert ((ids >= 0) & (ids < VOCABULARY.rows)).all()
    assert (weights >= 0.0).all()
    marks = (ids >= VOCABULARY.first_mark) & (ids < VOCABULARY.first_pair)
    pieces = ids >= VOCABULARY.first_piece
    # Marks count in their own region only, and in no other; pieces in none of the edges.
    assert not weights[:MARKS, marks].any()
    assert not weights[MARKS, ~marks].any()
    assert not weights[HEAD : TAIL + 1, pieces].any()
    lengths = (weights**2 * ~pieces).sum(axis=1)
    assert lengths == pytest.approx((lengths > 0).astype(float), abs=1e-5)
    # The pieces of a word count together what a word of the vocabulary counts.
    for region in PARTS:
        of_words = weights[region, ~pieces]
        total = weights[region, pieces].sum()
        if total:
            outside = ((ids == 0) & (weights[region] > 0)).sum()
            assert total == pytest.approx(outside * of_words.max(), rel=1e-4)


def test_words_numbers_and_pairs_of_the_vocabulary_are_rows() -> None:
    rows = rows_of("What is the sum of 7, 123?", BODY)
    words = [row for row in rows if row < VOCABULARY.first_mark]
    assert words == [
        WORD[word] for word in ("what", "is", "the", "sum", "of", "#1", ",", "#3", "?")
    ]
    pairs = [row for row in rows if row >= VOCABULARY.first_pair]
    # Signs make no pairs: the numbers are neighbours.
    assert len(pairs) == 6
    assert max(pairs) < VOCABULARY.first_piece


def test_a_word_outside_the_vocabulary_is_its_pieces_and_no_other_word_s() -> None:
    of_one, of_other = rows_of("zebra", BODY), rows_of("quagga", BODY)
    assert of_one[0] == of_other[0] == 0
    assert min(of_one[1:] + of_other[1:]) >= VOCABULARY.first_piece
    assert set(of_one[1:]) != set(of_other[1:])
    # Other numbers of as many digits, and upper case, make no other word.
    assert rows_of("b21x", BODY) == rows_of("B47X", BODY)


@pytest.mark.parametrize("text", ["x" * 5000, "\u0e01" * 5000, "a b" * 400, "\u4e16\u754c" * 900])
def test_any_text_is_read_however_long_its_words_are(text: str) -> None:
    rows = rows_of(text, BODY)
    assert rows
    assert len(rows) <= LENGTHS[-1]


def test_a_long_word_is_not_kept_and_read_alike() -> None:
    encoder = NgramEncoder(VOCABULARY)
    word = "y" * (LONGEST_WORD_CHARS + 1)
    first, again = (list(encoder.buckets(encoder.encode([f"{word} z"]))) for _ in range(2))
    for name in ("input_ids", "weights"):
        np.testing.assert_array_equal(first[0].feed[name], again[0].feed[name])


def test_the_edges_are_the_first_and_the_last_words_of_the_last_turn() -> None:
    prompt = conversation(
        [("system", "code code code"), ("user", " ".join(["what", *["is"] * 40, "sum"]))]
    )
    head, tail = rows_of(prompt, HEAD), rows_of(prompt, TAIL)
    words = [[row for row in edge if row < VOCABULARY.first_mark] for edge in (head, tail)]
    assert words[0] == [WORD["what"], *[WORD["is"]] * (EDGE_WORDS - 1)]
    assert words[1] == [*[WORD["is"]] * (EDGE_WORDS - 1), WORD["sum"]]
    # A pair belongs to the edge in which its first word stands.
    assert [len(edge) - EDGE_WORDS for edge in (head, tail)] == [EDGE_WORDS, EDGE_WORDS - 1]


def test_parts_have_regions_of_their_own_and_no_pair_joins_them() -> None:
    prompt = conversation(
        [
            ("tools", "code"),
            ("system", "write"),
            ("user", "sum"),
            ("assistant", "and"),
            ("user", "what"),
        ]
    )
    words = {BODY: "what", SYSTEM: "write", TOOLS: "code"}
    for region, word in words.items():
        assert rows_of(prompt, region) == [WORD[word]]
    earlier = rows_of(prompt, EARLIER)
    assert earlier[:2] == [WORD["sum"], WORD["and"]]
    assert len(earlier) == 3


def test_of_a_long_part_the_beginning_and_the_end_are_read() -> None:
    encoder = NgramEncoder(VOCABULARY)
    long = " ".join(["what", *["is"] * 2000, "sum"])
    short = " ".join(["what", *["is"] * 20, "sum"])
    several = conversation([("system", long), ("user", short)])
    found = encoder.encode([short, long, several])
    assert found.truncated.tolist() == [False, True, True]
    words = [row for row in rows_of(long, BODY) if row < VOCABULARY.first_mark]
    assert len(words) == MOST_WORDS[BODY]
    assert (words[0], words[-1]) == (WORD["what"], WORD["sum"])
    of_system = [row for row in rows_of(several, SYSTEM) if row < VOCABULARY.first_mark]
    assert len(of_system) == MOST_WORDS[SYSTEM]
    # The length is that of the whole prompt all the same.
    assert found.input_tokens[1] > len(long) / 8
    assert found.input_tokens[1] > MOST_CHARS[BODY] / 4


def test_marks_of_the_vocabulary_are_rows_and_others_are_left_out() -> None:
    first = VOCABULARY.first_mark
    names = [VOCABULARY.marks[row - first] for row in rows_of("what is the sum ?", MARKS)]
    assert sorted(names) == ["asks1", "chars5", "end?", "lines0", "role:user"]
    names = [VOCABULARY.marks[row - first] for row in rows_of("\u4f60", MARKS)]
    assert sorted(names) == ["asks0", "endword", "lines0", "role:user", "script:han"]


@given(rows=st.integers(1, 5), length=st.sampled_from(LENGTHS))
def test_a_blank_has_the_shape_of_a_bucket(rows: int, length: int) -> None:
    blank = NgramEncoder(VOCABULARY).blank(rows, length)
    assert blank["input_ids"].shape == (rows, length)
    assert blank["weights"].shape == (rows, len(REGIONS), length)


def test_an_empty_prompt_has_marks_only_and_one_token() -> None:
    found = NgramEncoder(VOCABULARY).encode([""])
    assert found.input_tokens.tolist() == [1.0]
    ((ids, weights),) = encoded("")
    assert not weights[:MARKS].any()
    assert weights[MARKS].any()
    assert len(ids) == LENGTHS[0]
