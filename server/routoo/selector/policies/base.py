"""The one interface that every policy fits, and what policies share."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from routoo.selector.arrays import BoolArray, FloatArray, IndexArray
from routoo.selector.online import decide
from routoo.selector.reason import Reason, ReasonArray


@dataclass(frozen=True, slots=True)
class Case:
    """n prompts and m models, as a policy sees them.

    Attributes:
        scores: float64 [n, m], in [0, 1], rounded to 1e-4.
        costs_usd: float64 [n, m].
        mask: bool [n, m], eligible cells; figures of other cells are not looked at.
        prices: float64 [n], score per USD in force for each row; at least 0 and finite.
        max_quality_gaps: float64 [n], the row's own tolerance, in score; NaN: none was asked for.
        tickets: int64 [n], one number per request of the service, counting up.
    """

    scores: FloatArray
    costs_usd: FloatArray
    mask: BoolArray
    prices: FloatArray
    max_quality_gaps: FloatArray
    tickets: npt.NDArray[np.int64]


class Policy(Protocol):
    """Chooses one eligible model per row. A row's choice depends on its row alone."""

    @property
    def name(self) -> str:
        """What settings and requests call it."""
        ...

    def choose(self, case: Case) -> IndexArray:
        """Int [n], the model's index; -1 in rows where no model is eligible."""
        ...

    def explain(self, case: Case, choice: IndexArray) -> ReasonArray:
        """int8 [n] of ``Reason``: why ``choose`` made this ``choice``."""
        ...


def fall_back(case: Case, wanted: IndexArray) -> IndexArray:
    """Keep wanted models that are eligible; elsewhere take the best score minus price times cost.

    What a policy does where the models that it knows may not answer. ``wanted`` is int [n]; the
    outcome depends on the row alone, and is -1 where no model is eligible.
    """
    kept = case.mask[np.arange(len(wanted)), wanted]
    if kept.all():
        return wanted
    return np.where(kept, wanted, decide(case.scores, case.costs_usd, case.mask, case.prices))


def explained(
    case: Case, choice: IndexArray, reason: Reason, wanted: npt.ArrayLike | None = None
) -> ReasonArray:
    """Give ``reason`` to every row, but FALLBACK where something else was wanted than chosen.

    Rows with one eligible model get ONLY_ELIGIBLE, rows without any NONE_ELIGIBLE.

    Args:
        case: what was chosen from.
        choice: int [n].
        reason: why, where the policy had its way.
        wanted: int [n] or one index, what the policy would have taken; None: whatever was chosen.
    """
    codes = np.full(len(choice), reason, np.int8)
    if wanted is not None:
        codes[choice != wanted] = Reason.FALLBACK
    codes[case.mask.sum(axis=1) == 1] = Reason.ONLY_ELIGIBLE
    codes[choice < 0] = Reason.NONE_ELIGIBLE
    return codes
