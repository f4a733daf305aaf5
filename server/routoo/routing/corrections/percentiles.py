"""Latencies at the percentiles that requests name: by how many answers a limit is kept."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from routoo.request_fields import PERCENTILES
from routoo.routing.corrections.factors import Factors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.routing.estimates import Estimates
    from routoo.routing.request import PromptRequest
    from routoo.selector.arrays import FloatArray

_ROWS = {percentile: row for row, percentile in enumerate(PERCENTILES)}


def at_percentiles(
    estimates: Estimates,
    requests: Sequence[PromptRequest],
    models: tuple[str, ...],
    factors: Factors | None,
    usual: int | None,
) -> Estimates:
    """Returns estimates with the percentiles that requests name, and with their factors.

    Args:
        estimates: of n requests on m models.
        requests: the n requests.
        models: [m], the names in the pool.
        factors: those in force; None: nothing is learned, and the assumed percentiles hold.
        usual: the percentile of requests that name none; None: they get the mean.
    """
    named = [one.latency_percentile or usual or 0 for one in requests]
    table = (factors or _assumed(models)).percentiles
    return replace(
        estimates,
        percentiles=np.array(named, np.int64),
        percentile_factors=factors_at(named, table),
    )


def factors_at(named: Sequence[int], table: FloatArray) -> FloatArray:
    """Returns the factors of n requests, float64 [n, m]; 1 where a request names no percentile.

    Args:
        named: [n], percentiles; 0: none.
        table: float64 [p, m], the factors of ``PERCENTILES``.
    """
    with_mean = np.vstack((table, np.ones((1, table.shape[1]))))
    return with_mean[[_ROWS.get(one, -1) for one in named]]


@lru_cache(maxsize=4)
def _assumed(models: tuple[str, ...]) -> Factors:
    return Factors.neutral(models, ())
