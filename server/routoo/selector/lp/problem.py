"""The problem that the selector solves, and its solution."""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from routoo.errors import InvalidRequestError, NoEligibleModelError
from routoo.selector.arrays import BoolArray, FloatArray, IndexArray, name_rows

BUDGET = "budget_usd"
MEAN_LATENCY = "max_mean_latency_ms"
MEAN_SCORE_FLOOR = "min_mean_score"

# A limit that the caller summed in another order may differ in its last bits, and still has to fit.
SUM_RTOL = 1e-12


class Objective(Enum):
    """The objective that is optimised within the rows."""

    MOST_SCORE = "most_score"
    """The most summed score."""
    LEAST_COST = "least_cost"
    """The least summed cost."""
    NET_VALUE = "net_value"
    """The most summed score minus a price times the summed cost."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One coupling row: the usage of the chosen cells, summed over prompts, is at most ``limit``.

    Rows may divide one usage between them, as tenants divide the costs. They share its array, so
    that no array of the size [n, m] is copied per row.

    Attributes:
        name: the row's name in messages.
        usage: float64 [n, m], or [m] where it does not depend on the prompt (a capacity in requests
            is the unit vector of its model).
        limit: in the unit of ``usage``: USD, requests, tokens, or milliseconds summed over prompts.
        prompts: int, distinct; the only prompts that count. None: all. Rows without a prompt bind
            nothing.
        model: the only model whose cells count; None: all.
        is_mean: ``limit`` is a mean over all n prompts, multiplied by n; messages name the mean.
    """

    name: str
    usage: FloatArray
    limit: float
    prompts: IndexArray | None = None
    model: int | None = None
    is_mean: bool = False

    def cells(self, shape: tuple[int, int]) -> FloatArray:
        """Return the usage of every cell, float64 [n, m]: 0 where the row does not count."""
        usage = np.broadcast_to(self.usage, shape)
        if self.prompts is None and self.model is None:
            return usage
        prompts = slice(None) if self.prompts is None else self.prompts
        models = slice(None) if self.model is None else self.model
        cells = np.zeros(shape)
        cells[prompts, models] = usage[prompts, models]
        return cells


@dataclass(frozen=True, slots=True)
class Problem:
    """n prompts, m models, and the rows that couple the prompts.

    Attributes:
        scores: float64 [n, m], expected quality.
        costs: float64 [n, m], expected USD, at least 0.
        mask: bool [n, m], true where the model may answer the prompt. Figures of other cells are
            not used and may be NaN.
        resources: the coupling rows.
        min_mean_score: least mean score of the chosen cells; None: any.
        score_per_usd: score that NET_VALUE gives up to save one USD, at least 0.

    Raises:
        InvalidRequestError: shapes or dtypes that do not fit, no rows, figures that are not finite
            or costs below 0 in eligible cells (the message names the rows), a limit that is not
            finite, a resource's prompts or model that do not exist, a price below 0.
        NoEligibleModelError: rows without any eligible model; the message names them.
    """

    scores: FloatArray
    costs: FloatArray
    mask: BoolArray
    resources: tuple[Resource, ...] = ()
    min_mean_score: float | None = None
    score_per_usd: float = 0.0

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
        self._check_resources()
        if self.min_mean_score is not None and not np.isfinite(self.min_mean_score):
            raise InvalidRequestError(f"{MEAN_SCORE_FLOOR} is {self.min_mean_score}, not finite")
        if not (np.isfinite(self.score_per_usd) and self.score_per_usd >= 0.0):
            raise InvalidRequestError(
                f"score_per_usd is {self.score_per_usd}; a finite number of at least 0 is needed"
            )

    def _check_resources(self) -> None:
        looked_at = {id(self.costs)}
        for resource in self.resources:
            self._check_resource(resource)
            if id(resource.usage) not in looked_at:
                _refuse_not_finite(f"usage of {resource.name}", resource.usage, self.mask)
                looked_at.add(id(resource.usage))

    def _check_resource(self, resource: Resource) -> None:
        n, m = self.scores.shape
        if resource.usage.shape not in ((n, m), (m,)):
            raise InvalidRequestError(
                f"usage of {resource.name} has shape {resource.usage.shape}; "
                f"{(n, m)} or {(m,)} is needed"
            )
        if not np.isfinite(resource.limit):
            raise InvalidRequestError(f"{resource.name} is {resource.limit}, not finite")
        prompts, model = resource.prompts, resource.model
        if prompts is not None and prompts.size and not 0 <= prompts.min() <= prompts.max() < n:
            raise InvalidRequestError(f"{resource.name} counts prompts that are not 0 to {n - 1}")
        if model is not None and not 0 <= model < m:
            raise InvalidRequestError(f"{resource.name} counts model {model}, not 0 to {m - 1}")


@dataclass(frozen=True, slots=True)
class Assignment:
    """One model per prompt, and the proof of how good that choice is.

    Attributes:
        choice: int [n], index of the chosen model.
        prices: float64 [K], dual price of each row of the program: of the resources in their order
            and, under LEAST_COST and NET_VALUE, of the mean-score floor last. Unit: objective per
            unit of the row, so score per USD for a budget, and for the floor USD (LEAST_COST) or
            score (NET_VALUE) per point of summed score. 0 where the row does not bind.
        value: objective of ``choice``: summed score, summed USD under LEAST_COST, or under
            NET_VALUE summed score minus ``score_per_usd`` times summed USD.
        relaxed_value: objective of the best fractional choice, at most K rows of which are split.
        bound: no choice, fractional ones included, is better than this; computed from ``prices``
            alone.
        gap: |bound - value| / |bound|, 0 where both are 0.
        score: summed score of ``choice``.
        cost_usd: summed cost of ``choice``.
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
    """Make the row that limits the summed cost to ``budget_usd``; ``costs`` is float64 [n, m]."""
    return Resource(BUDGET, costs, budget_usd)


def capacity(name: str, model: int, model_count: int, requests: float) -> Resource:
    """Make the row that gives at most ``requests`` prompts to the model of index ``model``."""
    usage = np.zeros(model_count)
    usage[model] = 1.0
    return Resource(name, usage, requests)


def token_capacity(name: str, model: int, tokens: FloatArray, limit: float) -> Resource:
    """Make the row that gives the model of index ``model`` at most ``limit`` tokens.

    ``tokens`` is float64 [n, m]; the capacities of several models are to share one array.
    """
    return Resource(name, tokens, limit, model=model)


def tenant_budget(name: str, prompts: IndexArray, costs: FloatArray, budget_usd: float) -> Resource:
    """Make the row that limits the summed cost of one tenant's prompts to ``budget_usd``.

    ``costs`` is float64 [n, m] over all prompts; all tenants are to share one array.
    """
    return Resource(name, costs, budget_usd, prompts=prompts)


def mean_latency(latencies_ms: FloatArray, max_mean_latency_ms: float) -> Resource:
    """Make the row that limits the mean latency; ``latencies_ms`` is float64 [n, m]."""
    limit = max_mean_latency_ms * len(latencies_ms)
    return Resource(MEAN_LATENCY, latencies_ms, limit, is_mean=True)


def mean_score_floor(scores: FloatArray, min_mean_score: float) -> Resource:
    """Make the row that keeps the mean score at or above a floor; ``scores`` is float64 [n, m]."""
    return Resource(MEAN_SCORE_FLOOR, -scores, -min_mean_score * len(scores), is_mean=True)


def _refuse_not_finite(name: str, figures: FloatArray, mask: BoolArray) -> None:
    """Raise unless the figures ([n, m] or [m]) are finite wherever the mask is true."""
    # A finite sum proves that every term is finite, in a tenth of the time of testing each.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(figures.sum()):
            return
    wrong = ~np.isfinite(figures) & mask
    if wrong.any():
        rows = np.flatnonzero(wrong.any(axis=1))
        raise InvalidRequestError(f"{name} are not finite in {name_rows(rows)}")


@dataclass(frozen=True, slots=True)
class Optimum:
    """A choice of whole prompts, with the optimum of the linear program.

    Attributes:
        choice: int [n], index of each prompt's model; keeps all limits.
        prices: float64 [K], dual price of each coupling row.
        relaxed_value: value of the best fractional choice.
        bound: dual value at the prices; no choice is better.
    """

    choice: IndexArray
    prices: FloatArray
    relaxed_value: float
    bound: float
