"""The interface of every policy, and functions that policies share."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from routoo.selector.arrays import BoolArray, FloatArray, IndexArray
from routoo.selector.online import decide
from routoo.selector.reason import Reason, ReasonArray


@dataclass(frozen=True, slots=True)
class Case:
    """The input of a policy: n prompts and m models.

    Attributes:
        scores: float64 [n, m], in [0, 1], rounded to 1e-4.
        costs_usd: float64 [n, m].
        mask: bool [n, m], eligible cells; figures of other cells are not used.
        prices: float64 [n], score per USD in force for each row; at least 0 and finite.
        max_quality_gaps: float64 [n], the row's own tolerance, in score; NaN: it has none.
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
        """The policy's name in settings and requests."""
        ...

    def choose(self, case: Case) -> IndexArray:
        """Return the chosen model of each row, int [n]; -1 where no model is eligible."""
        ...

    def explain(self, case: Case, choice: IndexArray) -> ReasonArray:
        """Return why ``choose`` made this ``choice``, int8 [n] of ``Reason``."""
        ...


def fall_back(case: Case, wanted: IndexArray) -> IndexArray:
    """Keep wanted models that are eligible; elsewhere take the best score minus price times cost.

    The fallback of policies whose own models are not eligible. A row's result depends on the row
    alone.

    Args:
        case: the input.
        wanted: int [n], the model that the policy wants.

    Returns:
        int [n]; -1 where no model is eligible.
    """
    kept = case.mask[np.arange(len(wanted)), wanted]
    if kept.all():
        return wanted
    return np.where(kept, wanted, decide(case.scores, case.costs_usd, case.mask, case.prices))


def explained(
    case: Case, choice: IndexArray, reason: Reason, wanted: npt.ArrayLike | None = None
) -> ReasonArray:
    """Give ``reason`` to every row, but FALLBACK where another model was wanted than chosen.

    Rows with one eligible model get ONLY_ELIGIBLE, rows without any NONE_ELIGIBLE.

    Args:
        case: the input of the choice.
        choice: int [n].
        reason: the reason where the wanted model was chosen.
        wanted: int [n] or one index, the model that the policy wanted; None: the one chosen.
    """
    codes = np.full(len(choice), reason, np.int8)
    if wanted is not None:
        codes[choice != wanted] = Reason.FALLBACK
    codes[case.mask.sum(axis=1) == 1] = Reason.ONLY_ELIGIBLE
    codes[choice < 0] = Reason.NONE_ELIGIBLE
    return codes
