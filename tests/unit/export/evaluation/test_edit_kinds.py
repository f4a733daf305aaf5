"""Forty kinds of harmless edits, each of which alters only how a prompt is written."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.predictor.conversation import conversation, read_turns
from routoo_export.evaluation.traffic.edit_kinds import EDIT_KINDS
from routoo_export.recogniser.edits import edited

PLAIN = st.text(st.characters(exclude_characters="\x1e\x1f"), min_size=1, max_size=60)


def test_there_are_forty() -> None:
    assert len(EDIT_KINDS) == 40


@given(text=PLAIN, seed=st.integers(0, 2**32 - 1))
def test_every_kind_takes_any_text_and_leaves_the_other_turns(text: str, seed: int) -> None:
    prompt = conversation([("system", "Be brief."), ("user", text)])
    was = read_turns(prompt)
    for edit in EDIT_KINDS.values():
        found = read_turns(edited(prompt, np.random.default_rng(seed), (edit,), times=1))
        assert (found.system, found.users, found.last_role) == (was.system, was.users, "user")


@pytest.mark.parametrize("name", sorted(EDIT_KINDS))
def test_every_kind_alters_the_text_that_it_is_for(name: str) -> None:
    text = (
        'Don\'t analyse "café" - the colours of two hotels. Give reasons, please:\n'
        "```python\nprint(1)\n```\nWhy is it so?"
    )
    shorter = "Why is the sky blue?"
    random = np.random.default_rng(1)
    assert any(EDIT_KINDS[name](one, random) != one for one in (text, shorter))


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("quoted block", "One.\nTwo.", "> One.\n> Two."),
        ("line broken after sentences", "One. Two?", "One.\nTwo?"),
        (
            "code fence named",
            "```python\nx\n```\nand\n```\ny\n```",
            "```py\nx\n```\nand\n```\ny\n```",
        ),
        ("code fence named", "```\nx\n```", "```text\nx\n```"),
        ("upper case", "Why?", "WHY?"),
        ("accents left out", "Où est le café? 東京 йод", "Ou est le cafe? 東京 йод"),
        ("quotes and dashes of print", '"Yes" - it\'s', "\u201cYes\u201d \u2014 it\u2019s"),
        ("spelling of the other side of the Atlantic", "Color, honour", "Colour, honor"),
        ("contractions and numerals", "I am 2 and it's two", "I'm two and it is 2"),
        ("courtesy of the script after", "Объясни это", "Объясни это Заранее благодарю!"),
        ("courtesy of the script after", "これを訳して", "これを訳して よろしくお願いいたします。"),
    ],
)
def test_kinds_do_what_their_names_say(name: str, text: str, wanted: str) -> None:
    assert EDIT_KINDS[name](text, np.random.default_rng(0)) == wanted


@pytest.mark.parametrize(
    ("name", "lengths"),
    [
        ("letters swapped", 11),
        ("letter dropped", 10),
        ("letter doubled", 12),
        ("neighbouring key", 11),
    ],
)
def test_a_typo_is_within_one_word(name: str, lengths: int) -> None:
    found = EDIT_KINDS[name]("a bc winter", np.random.default_rng(0))
    assert found.startswith("a bc w")
    assert found.endswith("r")
    assert len(found) == lengths
