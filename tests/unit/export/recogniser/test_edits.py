"""Edits change how a prompt is written, and not who says what."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.predictor.conversation import conversation, read_turns
from routoo_export.recogniser.edits import EDITS, edited

PLAIN = st.text(st.characters(exclude_characters="\x1e\x1f"), max_size=40)
SEEDS = st.integers(0, 2**32 - 1)


@given(
    before=st.lists(
        st.tuples(st.sampled_from(["system", "assistant", "tools"]), PLAIN), max_size=3
    ),
    last=PLAIN,
    seed=SEEDS,
)
def test_only_the_last_turn_is_edited_and_it_stays_its_user_s(
    before: list[tuple[str, str]], last: str, seed: int
) -> None:
    prompt = conversation([*before, ("user", last)])
    found = read_turns(edited(prompt, np.random.default_rng(seed)))
    was = read_turns(prompt)
    assert (found.last_role, found.system, found.tools, found.earlier, found.users) == (
        was.last_role,
        was.system,
        was.tools,
        was.earlier,
        was.users,
    )
    assert bool(found.last.strip()) >= bool(last.strip() and len(last.strip()) > 2)


@pytest.mark.parametrize("role", ["assistant", "tool", "system"])
def test_a_turn_of_another_role_is_left_alone(role: str) -> None:
    prompt = conversation([("user", "run it"), (role, "done, 3 files")])
    assert edited(prompt, np.random.default_rng(0)) == prompt


@pytest.mark.parametrize("prompt", ["", "  \n", conversation([("system", "x"), ("user", "")])])
def test_nothing_said_is_left_alone(prompt: str) -> None:
    assert edited(prompt, np.random.default_rng(0)) == prompt


@given(text=st.text(min_size=1, max_size=60), seed=SEEDS)
def test_every_edit_takes_any_text(text: str, seed: int) -> None:
    for edit in EDITS:
        assert isinstance(edit(text, np.random.default_rng(seed)), str)


def test_edits_change_most_prompts_and_are_repeatable() -> None:
    prompts = [f"Explain why winter number {at} is cold." for at in range(200)]
    once, again = (
        [edited(prompt, random) for prompt in prompts]
        for random in (np.random.default_rng(3), np.random.default_rng(3))
    )
    assert once == again
    changed = sum(one != prompt for one, prompt in zip(once, prompts, strict=True))
    assert changed > 180
    assert len({one.replace(str(at), "") for at, one in enumerate(once)}) > 40
