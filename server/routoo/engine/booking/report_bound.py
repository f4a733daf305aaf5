"""The most that a report of an outcome may book.

Whoever reports a cost may be wrong, or hostile, and what it tells is booked in budgets that others
share. So a report books at most what its request could have cost, times a factor. The factor leaves
room for what nobody knows when a request is decided: text that the caller did not show, tools of
the provider that are billed by the call, prices that have risen since. What an answer truly cost
above that is not booked, but counted and told to the operator, who may raise the factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Final

import numpy as np
import structlog

from routoo.routing.estimates import FRAME_TOKENS, INPUT_MARGIN

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from routoo.routing.decision import Decision
    from routoo.routing.outcome import OutcomeReport
    from routoo.routing.pool import Pool

    Floats = NDArray[np.float64]

_WARN_EVERY_S: Final = 10.0
_log = structlog.get_logger("routoo.outcomes")


@dataclass(frozen=True, slots=True)
class CappedReport:
    """A report that told more than its request could have cost.

    Attributes:
        decision_id: the decision.
        tenant: the tenant that pays; empty: none, or it is not known.
        reported_usd: the cost that was reported.
        booked_usd: the part of it that is booked.
    """

    decision_id: str
    tenant: str
    reported_usd: float
    booked_usd: float


class ReportBound:
    """Bounds the costs of reports, and warns of those that are above. Called from one thread.

    Attributes:
        factor: the most that a report books, by what its request could have cost.

    Args:
        factor: the setting ``ledger.report_factor``, at least 1.
        clock_s: seconds on a clock that never goes back, between two warnings.
    """

    def __init__(self, factor: float, clock_s: Callable[[], float] = monotonic) -> None:
        self.factor = factor
        self._clock_s = clock_s
        self._warned_s = -_WARN_EVERY_S
        self._unsaid = 0

    def booked_usd(
        self,
        told_usd: float,
        outcome: OutcomeReport,
        decision: Decision | None,
        pool: Pool,
        column: int | None,
        priced_s: int,
    ) -> float:
        """Returns the part of a reported cost that is booked, in USD.

        The bound of a request that sets a longest answer is what was reserved for it; of another
        one, its input with the longest answer that the model gives. Where the service has read the
        reply itself, the provider has counted the input, which may fill the window: providers keep
        conversations. Where the decision is not known here, input and answer are as long as the
        model takes them. A model without prices is bounded as the most expensive one.

        Args:
            told_usd: the cost that the report comes to.
            outcome: the report.
            decision: the decision; None: it is not known here.
            pool: the m models.
            column: the model that answered; None: any may have.
            priced_s: the time whose prices hold, in seconds since 1970.
        """
        if decision is None or column is None:
            most_usd = _costs(pool, pool.context_window_tokens, pool.longest_answers, priced_s)
            could_usd = float(most_usd.max() if column is None else most_usd[column])
        else:
            reserved = decision.batch.estimates.reserved_usd
            could_usd = float(reserved[decision.row, column])
            if outcome.read or decision.longest_answer is None:
                could_usd = max(could_usd, _could_usd(outcome, decision, pool, column, priced_s))
        if could_usd == 0.0:
            windows = pool.context_window_tokens
            could_usd = float(_costs(pool, windows, pool.longest_answers, priced_s).max())
        return min(told_usd, self.factor * could_usd)

    def warn(self, capped: CappedReport) -> None:
        """Writes a line to the log, unless it wrote one a moment ago."""
        now_s = self._clock_s()
        if now_s - self._warned_s < _WARN_EVERY_S:
            self._unsaid += 1
            return
        _log.warning(
            "a report told more than its request could have cost; ask who sent it, or raise"
            " ledger.report_factor",
            id=capped.decision_id,
            tenant=capped.tenant,
            reported_usd=capped.reported_usd,
            booked_usd=capped.booked_usd,
            others_since_last_line=self._unsaid,
        )
        self._warned_s, self._unsaid = now_s, 0


def _could_usd(
    outcome: OutcomeReport, decision: Decision, pool: Pool, column: int, priced_s: int
) -> float:
    """Returns what an answer may have cost of which more is possible than was reserved, in USD."""
    inputs, outputs = pool.context_window_tokens, pool.longest_answers
    if not outcome.read:
        counted = decision.batch.estimates.input_tokens[decision.row]
        inputs = np.ceil(counted * INPUT_MARGIN) + FRAME_TOKENS
    if decision.longest_answer is not None:
        outputs = np.minimum(outputs, decision.longest_answer)
    return float(_costs(pool, inputs, outputs * decision.answers, priced_s)[column])


def _costs(pool: Pool, inputs: Floats, outputs: Floats, priced_s: int) -> Floats:
    """Returns what each model may bill at its highest prices, in USD, float64 [m]."""
    any_kind = np.ones(1, np.bool_)
    costs: Floats = pool.prices.most_usd(inputs[None], outputs[None], priced_s, mixed=any_kind)[0]
    return costs
