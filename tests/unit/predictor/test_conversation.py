"""Conversations as one text, and the parts that are read of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.predictor.conversation import (
    MOST_USERS,
    OFFERED_TOOLS,
    TURN,
    Turns,
    contents,
    conversation,
    offered_tools,
    read_turns,
    role_of,
)
from routoo.predictor.token_count import count_tokens

ROLES = ("user", "system", "developer", "assistant", "tool")
PLAIN = st.text(st.characters(exclude_characters="\x1e\x1f"), max_size=30)
SAID = st.lists(st.tuples(st.sampled_from(ROLES), PLAIN), min_size=1, max_size=6)


@given(said=SAID, tools=st.none() | PLAIN)
def test_the_parts_of_a_conversation_are_read_back(
    said: list[tuple[str, str]], tools: str | None
) -> None:
    offered = [] if tools is None else [(OFFERED_TOOLS, tools)]
    turns = read_turns(conversation([*offered, *said]))
    *before, (role, last) = said
    of_system = {"system", "developer"}
    assert turns == Turns(
        last=last,
        last_role=role,
        system="\n".join(text for who, text in before if who in of_system),
        tools=tools or "",
        earlier="\n".join(text for who, text in before if who not in of_system),
        users=sum(who == "user" for who, _ in said),
    )
    assert contents(conversation([*offered, *said])) == "\n".join(text for _, text in said)


@given(said=SAID, tools=st.none() | PLAIN, most=st.sampled_from([2, 4, 8]))
def test_joined_turns_are_read_as_they_were(
    said: list[tuple[str, str]], tools: str | None, most: int
) -> None:
    offered = [] if tools is None else [(OFFERED_TOOLS, tools)]
    whole = [*said, *offered, *said, *said]
    plain = read_turns(conversation(whole))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("routoo.predictor.conversation.MOST_TURNS", most)
        text = conversation(whole)
    joined = read_turns(text)
    assert replace(joined, users=plain.users) == plain
    assert min(joined.users, MOST_USERS) == min(plain.users, MOST_USERS)
    assert text.count(TURN) <= most + 3 + MOST_USERS
    # Neighbouring bytes, which are counted, are the same whatever the order of the lines.
    assert count_tokens([contents(text)]) == count_tokens([contents(conversation(whole))])
    assert offered_tools(text) == offered_tools(conversation(whole))


@given(text=PLAIN)
def test_a_single_turn_of_a_user_is_its_text(text: str) -> None:
    assert conversation([("user", text)]) == conversation([("", text)]) == text
    assert read_turns(text) == Turns(text)
    assert contents(text) == text


def test_signs_in_what_is_said_start_no_turn() -> None:
    text = conversation([("system", "be\x1esystem\x1fkind"), ("user", "hi\x1f")])
    assert read_turns(text) == Turns("hi", system="besystemkind")


def test_offered_tools_are_no_turn_wherever_they_stand() -> None:
    text = conversation([("user", "hi"), (OFFERED_TOOLS, "search the web\nrun code")])
    assert read_turns(text) == Turns("hi", tools="search the web\nrun code")
    assert contents(text) == "hi"
    assert read_turns(conversation([(OFFERED_TOOLS, "run")])) == Turns("", tools="run")


@pytest.mark.parametrize("text", [TURN, f"{TURN}no role", f"{TURN}{TURN}\x1f"])
def test_a_text_that_only_looks_like_a_conversation_is_read(text: str) -> None:
    turns = read_turns(text)
    assert turns.last_role in {"user", ""}
    assert "\x1e" not in turns.last + turns.system + turns.earlier


@pytest.mark.parametrize(
    ("name", "role"),
    [("user", "user"), ("function", "tool"), ("model", "assistant"), ("critic", "user")],
)
def test_a_name_of_a_role_is_known_or_a_user_s(name: str, role: str) -> None:
    assert role_of(name) == role
