"""Prompts to measure with: one of a given length in tokens, and many that differ."""

from __future__ import annotations

from itertools import combinations, product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PASSAGE_TOKENS = 16
_TEXT = (
    "A trader buys two lots of the same share at different prices and sells half of the total a"
    " week later, when the price stands exactly between the two. Explain step by step how first-in"
    " first-out and average-cost accounting differ in the profit that they report, name the one"
    " that defers tax when prices rise, and state which assumption about the order of sales the"
    " difference comes from. Give the general formula and check it with numbers of your own choice."
)
_TASKS = (
    "Explain {topic} to {reader}.",
    "Write a Python function about {topic}, with tests, for {reader}.",
    "What is wrong with this claim about {topic}: it always helps? Answer for {reader}.",
    "Summarise what is known about {topic} in three bullet points, so that {reader} can use them.",
    "Which is true of {topic}? (A) reversible (B) additive (C) both (D) neither. For {reader}.",
    "Translate a paragraph on {topic} into French, in words that {reader} would use.",
    "Prove or refute the main theorem on {topic}; {reader} will check every step.",
    "Plan a week of lessons on {topic} for {reader}, one line per day.",
)
_TOPICS = (
    *("photosynthesis", "contract law", "Bayes' rule", "supply shocks", "TCP congestion control"),
    *("the French Revolution", "eigenvalues", "antibiotic resistance", "double-entry bookkeeping"),
    *("plate tectonics", "dynamic programming", "Kant's ethics", "redox reactions", "inflation"),
    *("protein folding", "binary search trees", "tort liability", "special relativity"),
    *("cognitive dissonance", "the Krebs cycle", "hash collisions", "heat engines"),
)
_READERS = (
    *("a child of ten", "a nurse", "a graduate student", "a judge", "a sceptical engineer"),
    *("someone who has to decide today and knows nothing of the field",),
)


def prompt_of(tokens: int, count_tokens: Callable[[str], int]) -> str:
    """Returns a passage of exactly ``tokens`` tokens.

    Raises:
        ValueError: no passage has that length.
    """
    words = _TEXT.split()
    # A word can be several tokens, so that a passage from one place may skip the length.
    for begin, end in combinations(range(len(words) + 1), 2):
        prompt = " ".join(words[begin:end])
        if count_tokens(prompt) == tokens:
            return prompt
    raise ValueError(f"no passage of the text has {tokens} tokens")


def distinct_prompts(batch: int, tokens: int, count_tokens: Callable[[str], int]) -> list[str]:
    """Returns different prompts of about the same number of tokens.

    Args:
        batch: the number of prompts.
        tokens: the length, a multiple of 16.
        count_tokens: counts the tokens of a text.
    """
    passage = prompt_of(PASSAGE_TOKENS, count_tokens)
    words = " ".join([passage] * (tokens // PASSAGE_TOKENS)).split()
    return [
        " ".join([*words[row % len(words) :], *words[: row % len(words)]]) for row in range(batch)
    ]


def varied_prompts(count: int) -> list[str]:
    """Returns different prompts of 5 to 250 tokens, the same ones in every run.

    Every fourth prompt ends with a long passage, like a pasted text.
    """
    triples = list(product(_TASKS, _TOPICS, _READERS))
    stride = max(1, len(triples) // count)
    prompts = [
        task.format(topic=topic, reader=reader)
        for task, topic, reader in triples[: stride * count : stride]
    ]
    if len(prompts) < count:
        raise ValueError(f"only {len(prompts)} different prompts can be made")
    return [
        f"{prompt}\n\n{' '.join([_TEXT] * (1 + index // 4 % 2))}" if index % 4 == 0 else prompt
        for index, prompt in enumerate(prompts)
    ]
