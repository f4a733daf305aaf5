"""The split of prompts into training, validation and test, the same for all uses.

The bucket of a prompt is sha1(normalised question stem) mod 10: buckets 0-6 train, 7 validates, 8-9
test; the folds of a cross-validation are the bucket mod 5. Prompts that are known to be the same
question share one bucket, whatever their source and their answer options.
"""

import hashlib
import re
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo.telemetry.decision_log.prompts.question import question_stem, question_text

__all__ = ["question_stem", "question_text"]

BUCKETS: Final = 10
FOLDS: Final = 5
TRAIN_BUCKETS: Final = (0, 1, 2, 3, 4, 5, 6)
VALIDATION_BUCKETS: Final = (7,)
TEST_BUCKETS: Final = (8, 9)

_CHOICE: Final = re.compile(r"\n[A-Z][.)] ")
_ANSWER_CUE: Final = re.compile(r"\s*answer:\s*$", re.IGNORECASE)
_FEWEST_CHOICES: Final = 2
_STEM_GROUP: Final = "stem:"


def fewer_choices(prompt: str, rng: np.random.Generator) -> str:
    """The prompt with two or more of its choices in random order, without a trailing "Answer:".

    A prompt with fewer than two choices keeps what it has.
    """
    prompt = _ANSWER_CUE.sub("", prompt)
    question, *choices = _CHOICE.split(prompt)
    if len(choices) < _FEWEST_CHOICES:
        return prompt
    count = rng.integers(_FEWEST_CHOICES, len(choices) + 1)
    kept = [choices[i] for i in rng.permutation(len(choices))[:count]]
    lines = [f"{letter}. {choice}" for letter, choice in zip(ascii_uppercase, kept, strict=False)]
    return "\n".join([question, *lines])


def stem_group(question: str) -> str:
    """The duplicate group of a prompt that wraps ``question`` in more text.

    In a split, the prompt has the stem of ``question`` instead of its own.
    """
    return f"{_STEM_GROUP}{question_stem(question)}"


def split_stems(prompts: Sequence[str], duplicate_groups: Sequence[str | None]) -> list[str]:
    """The stem by which each prompt is split, [n]: its own, or that of its ``stem_group``."""
    return [
        group.removeprefix(_STEM_GROUP)
        if group is not None and group.startswith(_STEM_GROUP)
        else question_stem(prompt)
        for prompt, group in zip(prompts, duplicate_groups, strict=True)
    ]


def stem_bucket(stem: str) -> int:
    """The bucket of a stem: sha1(stem) mod 10."""
    digest = hashlib.sha1(stem.encode(), usedforsecurity=False).hexdigest()
    return int(digest, 16) % BUCKETS


def questions(
    prompts: Sequence[str], duplicate_groups: Sequence[str | None]
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Number the distinct questions of n prompts.

    Prompts with the same stem, or with the same duplicate group (None = no group), are one
    question, transitively.

    Returns:
        The number of each prompt's question, int64 [n], and each question's alphabetically first
        stem.
    """
    stems = split_stems(prompts, duplicate_groups)
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        parent.setdefault(key, key)
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for stem, group in zip(stems, duplicate_groups, strict=True):
        stem_root = root(f"s:{stem}")
        if group is not None:
            parent[root(f"g:{group}")] = stem_root
    first: dict[str, str] = {}
    roots = [root(f"s:{stem}") for stem in stems]
    for stem, top in zip(stems, roots, strict=True):
        first[top] = min(first.get(top, stem), stem)
    number = {top: at for at, top in enumerate(first)}
    numbers = np.array([number[top] for top in roots], dtype=np.int64)
    return numbers, tuple(first.values())


def assign_buckets(
    prompts: Sequence[str], duplicate_groups: Sequence[str | None]
) -> NDArray[np.int64]:
    """Assign ``prompts`` to buckets, int64 [n] in 0-9.

    A whole question, as ``questions`` has it, takes the bucket of its alphabetically first stem.
    """
    numbers, stems = questions(prompts, duplicate_groups)
    return np.array([stem_bucket(stem) for stem in stems], dtype=np.int64)[numbers]


def in_buckets(buckets: NDArray[np.int64], wanted: Sequence[int]) -> NDArray[np.bool_]:
    """Mask [n] of the rows whose bucket is one of ``wanted``."""
    return np.isin(buckets, np.asarray(wanted, dtype=np.int64))
