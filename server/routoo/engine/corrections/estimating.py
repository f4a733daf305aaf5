"""The estimates that decisions are made from: predictions, corrected by what answers have told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from routoo.engine.corrections.learner import ScoreLayout
from routoo.routing.corrections.percentiles import at_percentiles
from routoo.routing.corrections.table import Layout
from routoo.routing.estimates import estimates_of

if TYPE_CHECKING:
    from routoo.engine.accounting import Accounting
    from routoo.routing.decision import Predicted
    from routoo.routing.estimates import Estimates
    from routoo.routing.policies import Policies
    from routoo.routing.pool import Pool

NANO_PER_S = 1_000_000_000
"""In a second."""


class Estimating:
    """Turns predictions into estimates. Called from several threads.

    Args:
        pool: m models.
        columns: int [m], the pool's models among the predictor's.
        version: the version of the predictor, for predictions that tell none.
        policies: for their rules on percentiles and on prompts that the predictor does not know.
        accounting: what reports have taught.
    """

    def __init__(
        self,
        pool: Pool,
        columns: np.typing.NDArray[np.intp],
        version: str,
        policies: Policies,
        accounting: Accounting,
    ) -> None:
        self._pool = pool
        every = np.arange(len(columns))
        # Most predictors answer for the pool's models; a slice of their figures is no copy.
        self._columns = slice(len(columns)) if np.array_equal(columns, every) else columns
        self._version = version
        self._policies = policies
        self._corrector = accounting.corrector
        self._learner = accounting.learner
        self._clock_ns = accounting.clock_ns

    def __call__(self, predicted: Predicted) -> Estimates:
        """Returns the estimates of n requests on the m models."""
        prediction, requests, pool = predicted.prediction, predicted.requests, self._pool
        version, factors = prediction.version or self._version, None
        if self._corrector is not None:
            layout = Layout(version, pool.names, prediction.task_names, pool.declared)
            factors = self._corrector.in_force.get(layout) or self._corrector.factors(layout)
        learned = None
        if self._learner is not None:
            place = ScoreLayout(version, pool.names, prediction.task_names)
            learned = self._learner.in_force.get(place) or self._learner.scores(place)
        priced_s = self._clock_ns() // NANO_PER_S
        estimates = estimates_of(
            prediction, requests, pool, self._columns, priced_s, factors, learned
        )
        usual = self._policies.latency_percentile
        if usual or any(one.latency_percentile for one in requests):
            estimates = at_percentiles(estimates, requests, pool.names, factors, usual)
        unsure = self._policies.unsure
        return estimates if unsure is None else unsure.marked(estimates)
