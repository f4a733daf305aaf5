"""What another policy, another price or other prices of models would have decided of a log."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from routoo.routing.constraints import narrow
from routoo.routing.estimates import Estimates
from routoo.selector.reason import Reason
from routoo.telemetry.decision_log.header import PLAIN, Setup
from routoo.telemetry.decision_log.reader import DecisionLogError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from routoo.routing.pool import Pool
    from routoo.routing.request import PromptRequest
    from routoo.selector.arrays import BoolArray, FloatArray, IndexArray
    from routoo.selector.policies.base import Policy
    from routoo.telemetry.decision_log.columns import Logged
    from routoo.telemetry.decision_log.reader import LogContents, Report


class Alternative(Protocol):
    """Who would have decided."""

    @property
    def text(self) -> str:
        """What it is, for people."""
        ...

    @property
    def price(self) -> float | None:
        """Score per USD; None: the log's."""
        ...

    def of(self, setup: Setup) -> tuple[Policy, Pool]:
        """The policy, and the pool whose prices count, for decisions of a setup.

        Raises:
            DecisionLogError: it cannot decide them; says why.
        """
        ...


@dataclass(frozen=True, slots=True)
class OtherPolicy:
    """A policy at the log's own prices; an empty name: each setup's policy in force."""

    name: str
    price: float | None = None

    @property
    def text(self) -> str:
        """See ``Alternative``."""
        at = "" if self.price is None else f" at {self.price:g} score per USD"
        return f"policy {self.name or 'in force'}{at}"

    def of(self, setup: Setup) -> tuple[Policy, Pool]:
        """See ``Alternative``."""
        name = self.name or setup.in_force
        policy = setup.policies.get(name) or PLAIN.get(name)
        if policy is None:
            known = ", ".join(sorted({*setup.policies, *PLAIN}))
            raise DecisionLogError(
                f"the log says nothing of the settings of policy {name}; it knows {known}; name a"
                " configuration that has it with --config"
            )
        return policy, setup.pool


@dataclass(frozen=True, slots=True)
class OtherService:
    """A policy, a pool and a price of a configuration."""

    policy: Policy
    pool: Pool
    price: float | None
    source: str

    @property
    def text(self) -> str:
        """See ``Alternative``."""
        return f"policy {self.policy.name} of {self.source} at {self.price:g} score per USD"

    def of(self, setup: Setup) -> tuple[Policy, Pool]:
        """See ``Alternative``."""
        _columns(setup.pool, self.pool)
        return self.policy, self.pool


@dataclass(frozen=True, slots=True)
class Reported:
    """Sums over reports: with a score, with a cost; predictions of the same answers beside."""

    scored: int = 0
    score: float = 0.0
    predicted_score: float = 0.0
    costed: int = 0
    cost_usd: float = 0.0
    predicted_cost_usd: float = 0.0

    def __add__(self, other: Reported) -> Reported:
        return Reported(
            self.scored + other.scored,
            self.score + other.score,
            self.predicted_score + other.predicted_score,
            self.costed + other.costed,
            self.cost_usd + other.cost_usd,
            self.predicted_cost_usd + other.predicted_cost_usd,
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """Sums over decisions.

    Attributes:
        models: how many went to each model.
        refused: how many went to none.
        score: sum of the predicted scores.
        cost_usd: sum of the predicted costs.
        reported: what is known of the answers of these models to these prompts.
    """

    models: Mapping[str, int]
    refused: int
    score: float
    cost_usd: float
    reported: Reported

    @property
    def decided(self) -> int:
        """How many went to a model."""
        return sum(self.models.values())

    def __add__(self, other: Figures) -> Figures:
        names = {**self.models, **other.models}
        return Figures(
            {name: self.models.get(name, 0) + other.models.get(name, 0) for name in names},
            self.refused + other.refused,
            self.score + other.score,
            self.cost_usd + other.cost_usd,
            self.reported + other.reported,
        )


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Two ways to decide the same requests.

    Attributes:
        instead: what the other way is.
        as_decided: what happened.
        as_instead: what would have happened.
        same: how many decisions are the same.
        turned: how many a budget had turned or refused; the other way pays for all.
    """

    instead: str
    as_decided: Figures
    as_instead: Figures
    same: int
    turned: int


def what_if(log: LogContents, instead: Alternative) -> WhatIf:
    """Decides every request of a log in another way, each on its own.

    Predicted scores and lengths, and the requests' own constraints, are the log's. Budgets are not
    played through, and joint batches are decided prompt by prompt at the price they came to.

    Raises:
        DecisionLogError: the other way does not fit the log; says why.
    """
    nothing = Figures({}, 0, 0.0, 0.0, Reported())
    then = other = nothing
    same = turned = 0
    for logged in log.decisions:
        policy, pool = instead.of(logged.setup)
        moved, names = _at(logged, pool)
        eligibility, _ = narrow(moved.requests, moved.estimates, pool)
        mask = eligibility.mask & names
        prices = None if instead.price is None else np.full(len(moved), instead.price)
        choice = policy.choose(moved.case(moved.estimates, mask, prices))
        reports = [log.reports.get(one) for one in logged.ids]
        answered = _answered(logged, reports)
        then += _figures(logged, logged.setup.pool, logged.choice, reports, answered)
        # Columns of the other pool, by the model's name: -1 where the log's pool lacks it.
        renamed = _renamed(answered, logged.setup.pool, pool)
        other += _figures(moved, pool, choice, reports, renamed)
        decided = _renamed(logged.choice, logged.setup.pool, pool)
        same += int(np.count_nonzero(decided == choice))
        spent = logged.reasons == Reason.BUDGET_SPENT
        turned += int(np.count_nonzero(spent | (logged.choice != logged.wanted)))
    return WhatIf(instead.text, then, other, same, turned)


def _columns(old: Pool, new: Pool) -> IndexArray:
    """The columns of the log's predictions that the new pool's models have."""
    known = {model.predictor_name or model.name: at for at, model in enumerate(old.models)}
    found = []
    for model in new.models:
        wanted = model.predictor_name or model.name
        if wanted not in known:
            raise DecisionLogError(
                f"the log has no predictions of model {wanted}; leave it out of the pool"
            )
        found.append(known[wanted])
    return np.array(found, np.intp)


def _at(logged: Logged, pool: Pool) -> tuple[Logged, BoolArray]:
    """The decisions at another pool's prices, and what its models' names leave, bool [n, m]."""
    if pool is logged.setup.pool:
        return logged, np.ones(logged.mask.shape, np.bool_)
    old, columns = logged.estimates, _columns(logged.setup.pool, pool)
    tokens = old.output_tokens[:, columns]
    estimates = Estimates(
        scores=old.scores[:, columns],
        output_tokens=tokens,
        costs_usd=pool.costs_usd(old.input_tokens, tokens),
        latencies_ms=pool.latencies_ms(tokens),
        input_tokens=old.input_tokens,
    )
    left = np.ones(estimates.scores.shape, np.bool_)
    requests = []
    for row, request in enumerate(logged.requests):
        known, possible = _known_names(request, pool)
        requests.append(known)
        left[row] = possible
    return replace(logged, estimates=estimates, requests=requests), left


def _known_names(request: PromptRequest, pool: Pool) -> tuple[PromptRequest, bool]:
    """The request without names that the pool lacks, and whether any model is left by that."""
    if not request.constrained:
        return request, True
    allowed = tuple(name for name in request.allowed_models if name in pool.index)
    denied = tuple(name for name in request.denied_models if name in pool.index)
    capable = tuple(name for name in request.required_capabilities if name in pool.capabilities)
    possible = len(capable) == len(request.required_capabilities)
    possible &= bool(allowed) or not request.allowed_models
    known = replace(
        request, allowed_models=allowed, denied_models=denied, required_capabilities=capable
    )
    return known, possible


def _renamed(choice: IndexArray, old: Pool, new: Pool) -> IndexArray:
    """Columns of one pool as those of another, -1 (no model) likewise; -2: it lacks the model."""
    columns = np.array([*(new.index.get(name, -2) for name in old.names), -1], np.intp)
    return columns[choice]


def _answered(logged: Logged, reports: Sequence[Report | None]) -> IndexArray:
    """Who answered, int [n]; -2 where nothing was reported, or a model that is not in the pool."""
    index = logged.setup.pool.index
    return np.array(
        [
            -2 if report is None else index.get(report.model, -2) if report.model else decided
            for report, decided in zip(reports, logged.choice.tolist(), strict=True)
        ],
        np.intp,
    )


def _figures(
    logged: Logged,
    pool: Pool,
    choice: IndexArray,
    reports: Sequence[Report | None],
    answered: IndexArray,
) -> Figures:
    rows = np.flatnonzero(choice >= 0)
    scores = logged.estimates.scores[rows, choice[rows]]
    costs_usd = logged.estimates.costs_usd[rows, choice[rows]]
    counts = np.bincount(choice[rows], minlength=len(pool.names)).tolist()
    return Figures(
        models=dict(zip(pool.names, counts, strict=True)),
        refused=len(choice) - len(rows),
        score=float(scores.sum()),
        cost_usd=float(costs_usd.sum()),
        reported=_reported(logged, pool, choice, reports, answered),
    )


def _reported(
    logged: Logged,
    pool: Pool,
    choice: IndexArray,
    reports: Sequence[Report | None],
    answered: IndexArray,
) -> Reported:
    """Over the decisions whose model is the one that answered."""
    rows = np.flatnonzero((choice >= 0) & (choice == answered))
    known = [reports[row] for row in rows.tolist()]
    scores = np.array(
        [np.nan if one is None or one.score is None else one.score for one in known], np.float64
    )
    costs = np.array(
        [
            np.nan if one is None or one.failed else _cost_usd(one, pool, column)
            for one, column in zip(known, choice[rows].tolist(), strict=True)
        ],
        np.float64,
    )

    def predicted(figures: FloatArray, where: FloatArray) -> float:
        return float(figures[rows, choice[rows]][np.isfinite(where)].sum())

    return Reported(
        scored=int(np.isfinite(scores).sum()),
        score=float(np.nansum(scores)),
        predicted_score=predicted(logged.estimates.scores, scores),
        costed=int(np.isfinite(costs).sum()),
        cost_usd=float(np.nansum(costs)),
        predicted_cost_usd=predicted(logged.estimates.costs_usd, costs),
    )


def _cost_usd(report: Report, pool: Pool, column: int) -> float:
    """As billed: tokens at the pool's prices, else the reported cost; NaN: neither is known."""
    if report.input_tokens is not None and report.output_tokens is not None:
        return float(
            report.input_tokens * pool.usd_per_input_token[column]
            + report.output_tokens * pool.usd_per_output_token[column]
        )
    return float("nan") if report.cost_usd is None else report.cost_usd
