"""The question of a prompt, by which equal prompts are told: without choices, case and signs."""

from __future__ import annotations

import re
from typing import Final

_FIRST_CHOICE: Final = re.compile(r"\nA[.)] ")
_ANSWER_CUE: Final = re.compile(r"\s*answer:\s*$", re.IGNORECASE)
_NON_WORD: Final = re.compile(r"[\W_]+")


def question_text(prompt: str) -> str:
    """Returns the question as written, without its choices and without a trailing "Answer:".

    Choices begin at the first line "A. " or "A) ". A prompt that consists of choices only is
    returned as it is.
    """
    head = _FIRST_CHOICE.split(_ANSWER_CUE.sub("", prompt), maxsplit=1)[0]
    return head if _NON_WORD.sub("", head) else prompt


def question_stem(prompt: str) -> str:
    """Returns the normalised ``question_text``: lower case, words with one space between.

    Prompts that consist of choices only keep them, so that they do not all have the same stem.
    """
    return _NON_WORD.sub(" ", question_text(prompt).lower()).strip()
