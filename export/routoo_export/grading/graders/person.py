"""Grading by a person, in the terminal: a prompt, an answer, a key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

KEYS: Final = "y: good, n: bad, 0 to 10: tenths, s: skip, q: stop"
_MOST_CHARS: Final = 8_000
_TENTHS: Final = 10


class PersonStoppedError(Exception):
    """The person wants no more."""


def grade_by_person(
    prompt: str, answer: str, place: str, ask: Callable[[str], str], show: Callable[[str], None]
) -> float | None:
    """Shows an answer, without its model, and returns its score in [0, 1]; None: skipped.

    Args:
        prompt: the prompt.
        answer: the answer.
        place: tells how far the work is.
        ask: shows a question and returns what is typed.
        show: shows a text.

    Raises:
        PersonStoppedError: the person wants no more, or the terminal is closed.
    """
    show(f"\n--- {place}: prompt ---\n{_shown(prompt)}\n--- answer ---\n{_shown(answer)}\n---")
    while True:
        try:
            typed = ask(f"[{KEYS}] ").strip().lower()
        except (EOFError, KeyboardInterrupt):
            raise PersonStoppedError from None
        if typed == "q":
            raise PersonStoppedError
        if typed == "s":
            return None
        if typed in ("y", "n"):
            return float(typed == "y")
        if typed.isdecimal() and int(typed) <= _TENTHS:
            return int(typed) / _TENTHS
        show(f"{typed!r} is none of: {KEYS}")


def _shown(text: str) -> str:
    """The text without control characters, which could hide or forge what a terminal shows."""
    plain = "".join(one for one in text if one in "\n\t" or one.isprintable())
    if not plain.strip():
        return "(empty)"
    return (
        plain
        if len(plain) <= _MOST_CHARS
        else f"{plain[:_MOST_CHARS]}\n[{len(plain):,} characters]"
    )
