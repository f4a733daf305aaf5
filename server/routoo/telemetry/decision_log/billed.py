"""Costs of reported outcomes: the model that answered, and what its usage is billed at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from routoo.routing.outcome import estimated_usage
from routoo.tariffs.tariff import NANO_PER_USD, cost_nano_usd
from routoo.tariffs.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.routing.estimates import Estimates
    from routoo.routing.pool import Pool
    from routoo.selector.arrays import IndexArray
    from routoo.telemetry.decision_log.columns import Logged
    from routoo.telemetry.decision_log.reader import Report


def answered(logged: Logged, reports: Sequence[Report | None]) -> IndexArray:
    """Returns the column of the model that answered, int [n].

    -2 where nothing was reported, or the report names a model that is not in the pool.

    Args:
        logged: n decisions.
        reports: [n], the report about each.
    """
    pool = logged.setup.pool

    def column(report: Report | None, decided: int) -> int:
        if report is None:
            return -2
        named = report.model or ("" if report.usage is None else report.usage.model)
        found = pool.answering(named, decided) if named else decided
        if found is None:
            # A reply with a name that the pool does not know is booked as the decided model's.
            return -2 if report.model else decided
        return found

    return np.array(list(map(column, reports, logged.choice.tolist())), np.intp)


def usage_cost_usd(
    report: Report, pool: Pool, column: int, estimates: Estimates, row: int
) -> float | None:
    """Returns what the usage of a report is billed at; None: it tells no usage.

    Args:
        report: the report.
        pool: has the prices.
        column: the model that answered.
        estimates: the predictions on this pool, and the time whose prices hold.
        row: the decision.
    """
    usage = report.usage
    if usage is not None and report.estimated:
        usage = estimated_usage(usage, estimates, row, column)
    if usage is None and report.input_tokens is not None and report.output_tokens is not None:
        usage = Usage(int(report.input_tokens), int(report.output_tokens))
    if usage is None:
        return None
    if usage.told_cost_usd is not None and pool.specs[column].trust_reported_cost:
        return usage.told_cost_usd
    if not usage.complete:
        return None
    priced_s = 0 if estimates.priced_s is None else int(estimates.priced_s[row])
    tier = usage.service_tier
    if not tier and pool.arms is not None:
        tier = pool.arms.service_tiers[column]
    return cost_nano_usd(pool.prices.tariffs[column], usage, priced_s, tier) / NANO_PER_USD


def cost_again_usd(
    report: Report, pool: Pool, column: int, estimates: Estimates, row: int
) -> float:
    """Returns the cost of the usage at the pool's prices, else the reported one; NaN: unknown.

    The arguments are those of ``usage_cost_usd``.
    """
    billed_usd = usage_cost_usd(report, pool, column, estimates, row)
    if billed_usd is None:
        return float("nan") if report.cost_usd is None else report.cost_usd
    return billed_usd
