"""What the selector is asked and what it answers."""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from routoo.errors import InvalidRequestError, NoEligibleModelError
from routoo.selector.arrays import BoolArray, FloatArray, IndexArray, name_rows

BUDGET = "budget_usd"
MEAN_SCORE_FLOOR = "min_mean_score"

# A limit that was summed in another order than here differs in the last bits and is meant to fit.
SUM_RTOL = 1e-12


class Objective(Enum):
    """What is made as large, or as small, as the rows allow."""

    MOST_SCORE = "most_score"
    LEAST_COST = "least_cost"


@dataclass(frozen=True, slots=True)
class Resource:
    """One coupling row: the usage of the chosen cells, summed over all prompts, is at most `limit`.

    `usage` is [n, m], or [m] where it does not depend on the prompt (a capacity in requests is the
    unit vector of its model). `limit` has the unit of `usage`: USD, requests, or milliseconds
    summed over the n prompts.
    """

    name: str
    usage: FloatArray
    limit: float


@dataclass(frozen=True, slots=True)
class Problem:
    """n prompts, m models, and the rows that couple the prompts.

    Attributes:
        scores: float64 [n, m], expected quality.
        costs: float64 [n, m], expected USD, at least 0.
        mask: bool [n, m], true where the model may answer the prompt. Figures of other cells are
            not looked at and may be NaN.
        resources: the coupling rows.
        min_mean_score: what the mean score of the chosen cells must reach, if anything.

    Raises:
        InvalidRequestError: shapes or dtypes that do not fit, no rows, figures that are not finite
            or costs below 0 in eligible cells (the message names the rows), a limit that is not
            finite.
        NoEligibleModelError: rows without any eligible model; the message names them.
    """

    scores: FloatArray
    costs: FloatArray
    mask: BoolArray
    resources: tuple[Resource, ...] = ()
    min_mean_score: float | None = None

    def __post_init__(self) -> None:
        shape = self.scores.shape
        if len(shape) != 2 or 0 in shape:
            raise InvalidRequestError(f"scores have shape {shape}; [n, m], both above 0, is needed")
        for name, array in (("costs", self.costs), ("mask", self.mask)):
            if array.shape != shape:
                raise InvalidRequestError(f"{name} have shape {array.shape}, scores {shape}")
        if not self.scores.dtype == self.costs.dtype == np.float64:
            raise InvalidRequestError(
                f"scores are {self.scores.dtype} and costs {self.costs.dtype}; float64 is needed"
            )
        empty = np.flatnonzero(~self.mask.any(axis=1))
        if empty.size:
            raise NoEligibleModelError(f"no model is eligible in {name_rows(empty)}")
        _refuse_not_finite("scores", self.scores, self.mask)
        _refuse_not_finite("costs", self.costs, self.mask)
        negative = (self.costs < 0.0) & self.mask
        if negative.any():
            rows = np.flatnonzero(negative.any(axis=1))
            raise InvalidRequestError(f"costs are negative in {name_rows(rows)}")
        for resource in self.resources:
            self._check_resource(resource)
        if self.min_mean_score is not None and not np.isfinite(self.min_mean_score):
            raise InvalidRequestError(f"{MEAN_SCORE_FLOOR} is {self.min_mean_score}, not finite")

    def _check_resource(self, resource: Resource) -> None:
        n, m = self.scores.shape
        if resource.usage.shape not in ((n, m), (m,)):
            raise InvalidRequestError(
                f"usage of {resource.name} has shape {resource.usage.shape}; "
                f"{(n, m)} or {(m,)} is needed"
            )
        _refuse_not_finite(f"usage of {resource.name}", resource.usage, self.mask)
        if not np.isfinite(resource.limit):
            raise InvalidRequestError(f"{resource.name} is {resource.limit}, not finite")


@dataclass(frozen=True, slots=True)
class Assignment:
    """One model per prompt, and the proof of how good that choice is.

    Attributes:
        choice: int [n], index of the chosen model.
        prices: float64 [K], dual price of each row of the program: of the resources in their order
            and, under LEAST_COST, of the mean-score floor last. Unit: objective per unit of the
            row, so score per USD for a budget and USD per point of summed score for the floor.
            0 where the row does not bind.
        value: objective of `choice`: summed score, or summed USD under LEAST_COST.
        relaxed_value: objective of the best fractional choice, at most K rows of which are split.
        bound: no choice, fractional ones included, is better than this; computed from `prices`
            alone.
        gap: |bound - value| / |bound|, 0 where both are 0.
        score: summed score of `choice`.
        cost_usd: summed cost of `choice`.
        binding: names of the rows with a price above 0.
    """

    choice: IndexArray
    prices: FloatArray
    value: float
    relaxed_value: float
    bound: float
    gap: float
    score: float
    cost_usd: float
    binding: tuple[str, ...]


def budget(costs: FloatArray, budget_usd: float) -> Resource:
    """Row that keeps the summed cost at or under `budget_usd`; `costs` is float64 [n, m]."""
    return Resource(BUDGET, costs, budget_usd)


def capacity(name: str, model: int, model_count: int, requests: float) -> Resource:
    """Row that gives at most `requests` prompts to the model of index `model`."""
    usage = np.zeros(model_count)
    usage[model] = 1.0
    return Resource(name, usage, requests)


def mean_latency(latencies_ms: FloatArray, max_mean_latency_ms: float) -> Resource:
    """Row that keeps the mean latency at or under the limit; `latencies_ms` is float64 [n, m]."""
    return Resource("max_mean_latency_ms", latencies_ms, max_mean_latency_ms * len(latencies_ms))


def _refuse_not_finite(name: str, figures: FloatArray, mask: BoolArray) -> None:
    """Raise unless the figures ([n, m] or [m]) are finite wherever the mask is true."""
    # A finite sum proves that every term is finite, at a tenth of the cost of looking at each.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(figures.sum()):
            return
    wrong = ~np.isfinite(figures) & mask
    if wrong.any():
        rows = np.flatnonzero(wrong.any(axis=1))
        raise InvalidRequestError(f"{name} are not finite in {name_rows(rows)}")
