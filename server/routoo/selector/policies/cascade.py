"""``cascade``: starts with two cheap models where their agreement is worth its cost.

A plan asks both, and then keeps an answer or escalates, see ``routoo.selector.cascade``. Its worth
is the average gain of the better decision afterwards, minus the cost of the two. Choosing between
plans and single models by expected worth is cascade routing (Dekoninck et al. 2024, arXiv
2410.10347). Where no plan has a positive worth, the choice is that of the policy ``lp``.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np

from routoo.errors import ConfigError
from routoo.selector.arrays import FloatArray, IndexArray, ReasonArray
from routoo.selector.cascade import CascadePlan, Correction
from routoo.selector.policies.base import Case, Models, Policy
from routoo.selector.policies.lp import decide_case, reasons
from routoo.selector.reason import Reason


@dataclass(frozen=True, slots=True)
class Cascade(Policy):
    """Starts the best plan where it is worth more than any single model.

    Attributes:
        plans: the plans, at least one.
    """

    asks_two: ClassVar[bool] = True
    learned: ClassVar[bool] = True

    plans: tuple[CascadePlan, ...]

    @classmethod
    def build(cls, settings: Any, pool: Models) -> Self:  # noqa: ARG003 - the rule has columns
        """Builds the policy, see ``Policy.build``; the setting's file holds a ``Rule``."""
        if settings is None or not settings.plans:
            raise ConfigError(
                "policy.cascade: the rule has no plan to begin with two models; learn it by `routoo"
                " calibrate --policy cascade` with --beside"
            )
        return cls(settings.plans)

    @classmethod
    def restored(cls, values: Mapping[str, Any]) -> Self:
        """Makes the policy of logged values, see ``Policy.restored``."""
        return cls(tuple(map(_plan, values["plans"])))

    def logged(self) -> dict[str, Any]:
        """Returns the plans as plain values and arrays, see ``Policy.logged``."""
        return {"plans": [asdict(plan) for plan in self.plans]}

    def choose(self, case: Case) -> IndexArray:
        """Chooses per row; where a plan starts, its model ``kept``. See ``Policy.choose``."""
        best, worth = self._best(case)
        alone = decide_case(case)
        kept = np.array([plan.kept for plan in self.plans], np.intp)
        return np.where(worth > 0.0, kept[best], alone)

    def explain(self, case: Case, choice: IndexArray) -> ReasonArray:
        """Gives CASCADE where a plan starts, else the reason of the policy ``lp``."""
        codes = reasons(case.scores, case.mask, choice)
        codes[self._best(case)[1] > 0.0] = Reason.CASCADE
        return codes

    def seconds(self, case: Case) -> IndexArray:
        """Returns the other model of each row's best plan, see ``Policy.seconds``."""
        beside = np.array([plan.beside for plan in self.plans], np.intp)
        return beside[self._best(case)[0]]

    def _best(self, case: Case) -> tuple[IndexArray, FloatArray]:
        """Returns each row's best plan, int [n], and its worth, float64 [n]."""
        worths = np.stack(
            [plan.worth(case.scores, case.costs_usd, case.mask, case.prices) for plan in self.plans]
        )
        return worths.argmax(axis=0), worths.max(axis=0)


def _plan(values: Mapping[str, Any]) -> CascadePlan:
    of = values["correction"]
    arrays = (np.array(of[name], np.float64) for name in ("intercepts", "slopes"))
    return CascadePlan(
        values["kept"],
        values["beside"],
        Correction(of["centre"], *arrays),
        tuple(values["chance"]),
    )
