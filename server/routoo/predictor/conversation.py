r"""A conversation as one text: the form in which prompts of several turns reach a predictor.

Each turn is ``\x1e``, its role, ``\x1f``, its content. A text that does not begin with ``\x1e`` is
a single turn of a user.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TURN = "\x1e"
"""The sign at the beginning of each turn; a text without it is no conversation."""
_CONTENT = "\x1f"
_SIGNS = str.maketrans("", "", TURN + _CONTENT)
OFFERED_TOOLS = "tools"
"""The role of the part that lists the tools that are offered, one a line."""
_ROLES = frozenset({"user", "system", "developer", "assistant", "tool", OFFERED_TOOLS})
_OTHER_NAMES = {"function": "tool", "model": "assistant"}
_SYSTEM = frozenset({"system", "developer"})
MOST_USERS = 4
"""Turns of users that are told apart from more of them."""
MOST_TURNS = 512
"""Turns that are kept apart: half of them from the beginning, half from the end."""


@dataclass(frozen=True, slots=True)
class Turns:
    """The parts of a prompt, each one text; empty where there is none.

    Attributes:
        last: the last turn's content.
        last_role: its role.
        system: what the system says before it.
        tools: the tools that are offered.
        earlier: the other turns before it.
        users: the number of turns of users; of more than ``MOST_TURNS`` turns at least the smaller
            of it and ``MOST_USERS``.
    """

    last: str
    last_role: str = "user"
    system: str = ""
    tools: str = ""
    earlier: str = ""
    users: int = 1


def role_of(name: str) -> str:
    """Returns the role that a caller means by a name; ``user``, where it is none that is known."""
    role = _OTHER_NAMES.get(name, name)
    return role if role in _ROLES else "user"


def conversation(turns: Iterable[tuple[str, str]]) -> str:
    """Returns turns of (role, content) as one text; a single turn of a user is its content.

    Of more than ``MOST_TURNS`` turns, those in the middle are joined to a few, so that a text has
    few turns whatever comes. ``read_turns`` returns the same parts of it, and ``contents`` the same
    lines, of which those of the system may stand before others.

    Args:
        turns: in order, each with a role of ``role_of``; the part that lists offered tools has the
            role ``OFFERED_TOOLS`` and stands anywhere.
    """
    parts = [(role, _without_signs(content)) for role, content in turns]
    if len(parts) == 1 and parts[0][0] in {"user", ""}:
        return parts[0][1]
    if len(parts) > MOST_TURNS:
        kept = MOST_TURNS // 2
        parts[kept:-kept] = _joined(parts[kept:-kept])
    return "".join(f"{TURN}{role}{_CONTENT}{content}" for role, content in parts)


def _joined(turns: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Returns turns as one of each part, and as many of users as are told apart."""
    joined = [turn for turn in turns if turn[0] == OFFERED_TOOLS]
    system = [content for role, content in turns if role in _SYSTEM]
    others = [content for role, content in turns if role not in _SYSTEM and role != OFFERED_TOOLS]
    users = min(sum(role == "user" for role, _ in turns), MOST_USERS)
    if system:
        joined.append(("system", "\n".join(system)))
    alone = max(users - 1, 0)
    speaker = "user" if users else "assistant"
    joined += [(speaker, content) for content in others[:alone]]
    if others:
        joined.append((speaker, "\n".join(others[alone:])))
    return joined


def _without_signs(content: str) -> str:
    # To look for the signs, which hardly any text has, takes a small part of a translation's time.
    return content.translate(_SIGNS) if TURN in content or _CONTENT in content else content


def read_turns(text: str) -> Turns:
    """Returns the parts of a prompt."""
    if not text.startswith(TURN):
        return Turns(text)
    turns = [_split(part) for part in text[1:].split(TURN)]
    tools = "\n".join(content for role, content in turns if role == OFFERED_TOOLS)
    said = [turn for turn in turns if turn[0] != OFFERED_TOOLS] or [("user", "")]
    *before, (last_role, last) = said
    return Turns(
        last=last,
        last_role=last_role,
        system="\n".join(content for role, content in before if role in _SYSTEM),
        tools=tools,
        earlier="\n".join(content for role, content in before if role not in _SYSTEM),
        users=sum(role == "user" for role, _ in said),
    )


def contents(text: str) -> str:
    """Returns a prompt without roles and without offered tools, its parts on lines of their own."""
    if not text.startswith(TURN):
        return text
    turns = [_split(part) for part in text[1:].split(TURN)]
    return "\n".join(content for role, content in turns if role != OFFERED_TOOLS)


def offered_tools(text: str) -> str:
    """Returns the part of a prompt that lists the offered tools; empty: it has none."""
    return read_turns(text).tools if text.startswith(TURN) and OFFERED_TOOLS in text else ""


def _split(part: str) -> tuple[str, str]:
    role, found, content = part.partition(_CONTENT)
    return (role, content) if found else ("user", role)
