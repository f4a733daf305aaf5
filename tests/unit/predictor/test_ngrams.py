"""Words, pieces, pairs and marks of texts in any script, and the rows that they lead to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.errors import ArtifactError
from routoo.predictor.conversation import Turns
from routoo.predictor.ngrams import (
    PIECE_CHARS,
    Vocabulary,
    cut_middle,
    marks_of,
    pair_rows,
    piece_hashes,
    shape_of,
    split_words,
)

if TYPE_CHECKING:
    from pathlib import Path

VOCABULARY = Vocabulary(
    words=("?", ",", "what", "is"), marks=("role:user",), pairs=64, pieces=32, punctuation=2
)


def test_rows_are_padding_words_marks_pairs_and_pieces() -> None:
    assert VOCABULARY.first_mark == 5
    assert VOCABULARY.first_pair == 6
    assert VOCABULARY.first_piece == 70
    assert VOCABULARY.rows == 102


def test_a_vocabulary_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    VOCABULARY.save(path)
    assert Vocabulary.load(path) == VOCABULARY


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("{", "not a vocabulary of n-grams"),
        ("[]", "not a vocabulary of n-grams"),
        ('{"type": "routoo-ngrams", "words": []}', "not a vocabulary of n-grams"),
        (
            '{"type": "BPE", "words": [], "marks": [], "pairs": 2, "pieces": 1, "punctuation": 0}',
            "is of type 'BPE'",
        ),
    ],
)
def test_a_file_that_is_none_is_refused_in_one_line(tmp_path: Path, text: str, piece: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(text)
    with pytest.raises(ArtifactError) as caught:
        Vocabulary.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert piece in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pairs", [0, 1, 6])
def test_a_number_of_pairs_that_is_no_power_of_two_is_refused(tmp_path: Path, pairs: int) -> None:
    path = tmp_path / "tokenizer.json"
    replace(VOCABULARY, pairs=pairs).save(path)
    with pytest.raises(ArtifactError, match=f"pairs is {pairs}, not a power of two"):
        Vocabulary.load(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("What's 12+3?", ["what", "'", "s", "12", "+", "3", "?"]),
        ("Stra\u00dfe, \u00dcBER", ["stra\u00dfe", ",", "\u00fcber"]),
        ("\u4f60\u597d\u3002", ["\u4f60", "\u597d", "\u3002"]),
        # Full-width letters and ligatures are those that they stand for.
        ("\uff21\uff22 \ufb01n", ["ab", "fin"]),
        ("\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", ["\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35"]),
        (" \t\n", []),
    ],
)
def test_words_of_any_script(text: str, words: list[str]) -> None:
    assert split_words(text) == words


@given(text=st.text(st.characters(codec="ascii")))
def test_ascii_is_split_alike_beside_other_scripts(text: str) -> None:
    """One expression is for ASCII alone, where it is faster."""
    assert split_words(f"{text} \u00e9") == [*split_words(text), "\u00e9"]


@given(text=st.text(min_size=1))
def test_every_character_that_is_seen_is_in_a_word(text: str) -> None:
    seen = [char for char in text if char.isalnum()]
    assert bool(split_words(text)) >= bool(seen)


def test_the_shape_tells_how_many_digits() -> None:
    assert [shape_of(word) for word in ("7", "1887", "b2b", "123456789", "two")] == [
        "#1",
        "#4",
        "b#1b",
        "#5",
        "two",
    ]


@given(word=st.text(min_size=1, max_size=40))
def test_pieces_are_the_runs_of_two_to_four_characters(word: str) -> None:
    hashes = piece_hashes(word)
    marked = f" {word} "
    runs = [marked[at : at + n] for n in PIECE_CHARS for at in range(len(marked) - n + 1)]
    assert hashes.dtype == np.uint32
    assert len(hashes) == len(runs)
    # Equal runs have equal hashes, wherever they stand.
    of_run: dict[str, int] = {}
    for run, found in zip(runs, hashes.tolist(), strict=True):
        assert of_run.setdefault(run, found) == found


def test_hashes_of_other_pieces_differ() -> None:
    words = [f"{a}{b}" for a in "abcdefgh\u4e16\u754c" for b in "ijklmnop\u0436"]
    assert len({int(piece_hashes(word)[-1]) for word in words}) == len(words)


@given(
    rows=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1),
    pairs=st.sampled_from([2, 64, 1 << 16]),
)
def test_pairs_lead_to_rows_of_pairs(rows: list[tuple[int, int]], pairs: int) -> None:
    vocabulary = Vocabulary(("a",), (), pairs, 1, 0)
    one, other = np.array(rows, np.int64).T.copy()
    found = pair_rows(vocabulary, one, other)
    assert ((found >= vocabulary.first_pair) & (found < vocabulary.first_piece)).all()
    alone = [
        pair_rows(vocabulary, one[at : at + 1], other[at : at + 1])[0] for at in range(len(one))
    ]
    np.testing.assert_array_equal(found, alone)


def test_pairs_spread_over_their_rows_and_tell_their_order() -> None:
    vocabulary = Vocabulary(("a",), (), 1 << 10, 1, 0)
    one, other = (axis.reshape(-1) for axis in np.meshgrid(np.arange(64), np.arange(64)))
    found = pair_rows(vocabulary, one, other) - vocabulary.first_pair
    counts = np.bincount(found, minlength=1 << 10)
    # 4096 pairs in 1024 rows: four each, with no row that takes far more.
    assert (counts > 0).mean() > 0.9
    assert counts.max() <= 20
    assert (found.reshape(64, 64) != found.reshape(64, 64).T).sum() > 0.95 * 64 * 63


@given(text=st.text(max_size=60), most=st.integers(4, 60))
def test_of_a_long_text_the_beginning_and_the_end_are_read(text: str, most: int) -> None:
    cut = cut_middle(text, most)
    if len(text) <= most:
        assert cut == text
        return
    tail = most // 3
    assert len(cut) == most
    assert cut.startswith(text[: most - tail - 1])
    assert cut.endswith(text[-tail:])


@pytest.mark.parametrize(
    ("turns", "names"),
    [
        (Turns("Hi?"), {"chars2", "lines0", "asks1", "end?", "role:user"}),
        (Turns("```\ndef f():\n```"), {"fence", "def", "end`", "lines2", "colon"}),
        (Turns("\u041f\u0440\u0438\u0432\u0435\u0442 \u4f60"), {"script:cyrillic", "script:han"}),
        (Turns("ok \U0001f600"), {"script:emoji", "endword"}),
        (Turns("", last_role="tool"), {"chars0", "endword", "role:tool"}),
        (Turns("more", system="be kind", tools="a\nb", earlier="so", users=2), {"system3"}),
        (Turns("more", system="be kind", tools="a\nb", earlier="so", users=2), {"tools2"}),
        (Turns("more", system="be kind", tools="a\nb", earlier="so", users=2), {"users2"}),
        (Turns("x" * 10**6 + "?" * 9), {"chars14", "asks3"}),
    ],
)
def test_marks_tell_the_shape_of_a_prompt(turns: Turns, names: set[str]) -> None:
    found = marks_of(turns)
    assert names <= set(found)
    assert len(found) == len(set(found))
