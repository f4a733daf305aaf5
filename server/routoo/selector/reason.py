"""The rule that made a row's choice, for the field ``reason`` of the reply."""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from typing import Self


class Reason(IntEnum):
    """The rule by which a model was chosen; the API has a value of ``Rule`` for each.

    Attributes:
        text: one sentence for people, in which ``{of_pool}`` stands for how many models were
            eligible and ``{price}`` for score per USD; empty where the sentence depends on more.
    """

    text: str

    def __new__(cls, code: int, text: str = "") -> Self:
        """Makes the member of a code."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.text = text
        return member

    NONE_ELIGIBLE = 0
    ONLY_ELIGIBLE = 1
    """The constraints left one model."""
    BEST_SCORE = 2, "the highest predicted score of {of_pool}, and worth its cost"
    """No eligible model was expected to score higher."""
    PRICE = 3, "the most predicted score after cost at {price} score per USD, among {of_pool}"
    """The most score minus price times cost; a better model was not worth its cost."""
    CHEAPEST = 4, "the lowest predicted cost of {of_pool}"
    """The policy takes the cheapest eligible model."""
    BUDGET_SPENT = 5
    """The policy's choice was beyond what a budget has left; the cheapest eligible model."""
    THRESHOLD = 6, "what the threshold on the strong model's predicted advantage says"
    """The model of the pair that the threshold on the strong one's advantage selects."""
    QUALITY_GAP = 7, "what the tolerance for the small model's predicted gap says"
    """The model of the pair that the tolerance for the small one's gap selects."""
    FIXED = 8, "the policy's one model"
    """The policy has one model."""
    ROUND_ROBIN = 9, "the next model in turn"
    """It was the model's turn."""
    FALLBACK = (
        10,
        (
            "the policy's own model was not eligible; the pair's other one, or the most predicted"
            " score after cost at {price} score per USD, among {of_pool}"
        ),
    )
    """The policy's own model was not eligible, and this one stands in for it."""
    GUARANTEE = (
        11,
        (
            "the most predicted score after cost, among {of_pool}, at the price that was proven to"
            " keep the promised quality"
        ),
    )
    """The most score minus cost at the price that was proven to keep the promise."""
    ESCALATED = (
        12,
        (
            "expected to answer better than the answer at hand by more than its cost is worth at"
            " {price} score per USD"
        ),
    )
    """An answer was seen, and another model is expected to be worth its cost."""
    CASCADE = (
        13,
        (
            "the first of two cheap models; ask the other one, too, then Escalate with whether they"
            " agree"
        ),
    )
    """The first of two cheap models whose agreement is worth seeing."""
    UNSURE = (
        14,
        (
            "the predictor is unsure of the prompt, which is unlike those that it knows or of no"
            " clear task; what policy.unsure says, among {of_pool}"
        ),
    )
    """The predictor does not know the prompt, and the setting for such prompts chose."""
    EXPLORED = (
        15,
        (
            "drawn among {of_pool} to see how it does, as policy.explore says; the most predicted"
            " score after cost, at {price} score per USD, is another's"
        ),
    )
    """Another model was expected to be better; this one was drawn, to see how it does."""
    GUARANTEE_SHARE = (
        20,
        "the reference model, which answers a small share, so that the promise can be watched",
    )
    """The reference was drawn, so that graded answers can tell whether the promise holds."""
    GUARANTEE_BROKEN = (
        21,
        (
            "the reference model, as graded answers refute the promised quality of the others; it"
            " answers until there is a new calibration"
        ),
    )
    """The promise was refuted, and the reference answers."""


@lru_cache(maxsize=1024)  # most decisions of a moment have the same text
def reason_text(code: int, price: float, eligible: int, models: int, what: str) -> str:
    """Returns the sentence of a reason that has one.

    Args:
        code: the reason's.
        price: score per USD.
        eligible: the number of models, or arms, that were eligible.
        models: the number of those in the pool.
        what: ``models`` or ``arms``.
    """
    of_pool = f"{eligible} of {models} {what}"
    return Reason(code).text.format(of_pool=of_pool, price=f"{price:.6g}")


def optimum_text(price: float, eligible: int, models: int, what: str) -> str:
    """Returns the sentence of a row of a batch that was decided as a whole; see ``reason_text``."""
    return (
        f"part of the best assignment of the whole batch, at {price:.6g}"
        f" predicted score per USD, among {eligible} of {models} {what}"
    )
