"""Edits that leave a prompt's task as it is: courtesy, bold, case, typos, punctuation, blanks.

The recogniser is trained on edited prompts beside the written ones, so that they lead to the same
decisions.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from routoo.predictor.conversation import conversation, read_turns

Edit = Callable[[str, np.random.Generator], str]


def before(*openings: str) -> Edit:
    """An edit that puts one of the openings before the text."""

    def edit(text: str, random: np.random.Generator) -> str:
        return f"{openings[random.integers(len(openings))]} {text}"

    return edit


def after(*endings: str) -> Edit:
    """An edit that puts one of the endings after the text."""

    def edit(text: str, random: np.random.Generator) -> str:
        return f"{text} {endings[random.integers(len(endings))]}"

    return edit


def _bold(text: str, random: np.random.Generator) -> str:
    words = text.split(" ")
    at = int(random.integers(len(words)))
    words[at] = f"**{words[at]}**"
    return " ".join(words)


def _typos(text: str, random: np.random.Generator) -> str:
    letters = list(text)
    for at in random.integers(0, max(len(letters) - 1, 1), 1 + len(letters) // 150).tolist():
        if at + 1 < len(letters) and letters[at].isalpha() and letters[at + 1].isalpha():
            letters[at], letters[at + 1] = letters[at + 1], letters[at]
    return "".join(letters)


def _dropped_letter(text: str, random: np.random.Generator) -> str:
    at = int(random.integers(len(text)))
    return text[:at] + text[at + 1 :] if text[at].isalpha() else text


EDITS: Final[tuple[Edit, ...]] = (
    before("Please", "please", "pls", "Hi,", "Hello!", "Hey,", "Could you help me:", "ok so"),
    before("Quick one:", "I need this:", "Task:", "Question:", "Help!", "So,", "Um,"),
    after("Thanks!", "thank you", "thx", "please", "Please.", "Thanks in advance.", "asap", "🙏"),
    _bold,
    lambda text, _: f"**{text}**",
    lambda text, _: text.lower(),
    lambda text, _: text.upper() if len(text) < 80 else text.capitalize(),
    _typos,
    _dropped_letter,
    lambda text, _: text.rstrip(".?!"),
    lambda text, _: f"{text}!",
    lambda text, _: f'"{text}"',
    lambda text, _: text.replace(" ", "  "),
    lambda text, _: f"\n{text}\n\n",
    lambda text, _: text.replace("'", "\u2019"),
    lambda text, _: f"# {text}",
    lambda text, _: f"- {text}",
)
"""Each takes a text and a generator, and returns the edited text."""


def edited(
    prompt: str,
    random: np.random.Generator,
    edits: Sequence[Edit] = EDITS,
    times: int | None = None,
) -> str:
    """The prompt with its last turn edited.

    Args:
        prompt: The prompt; only a user's turn is edited.
        random: Draws what is left open.
        edits: Which of them may be drawn.
        times: How many are applied, one after the other; None = one or two.
    """
    turns = read_turns(prompt)
    if turns.last_role != "user" or not turns.last.strip():
        return prompt
    last = turns.last
    for _ in range(1 + int(random.integers(2)) if times is None else times):
        last = edits[int(random.integers(len(edits)))](last, random)
    if turns.last == prompt:
        return last
    before = prompt[: len(prompt) - len(turns.last)] if prompt.endswith(turns.last) else None
    return conversation([("user", last)]) if before is None else before + last
