"""Decides a log's requests again by another policy, another price or another pool."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from routoo.request_fields import CONSTRAINTS, Kind, Narrows
from routoo.routing.constraints import narrow
from routoo.routing.decision import Chosen
from routoo.routing.estimates import (
    Estimates,
    answers_of,
    costs_usd_of,
    latencies_ms_of,
    most_usd_of,
)
from routoo.selector.reason import Reason
from routoo.telemetry.decision_log.billed import answered, usage_cost_usd
from routoo.telemetry.decision_log.header import Setup, plain_policies
from routoo.telemetry.decision_log.reader import DecisionLogError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from routoo.routing.pool import Pool
    from routoo.routing.request import PromptRequest
    from routoo.routing.unsure import Unsure
    from routoo.selector.arrays import BoolArray, FloatArray, IndexArray
    from routoo.selector.policies.base import Policy
    from routoo.telemetry.decision_log.columns import Logged
    from routoo.telemetry.decision_log.reader import LogContents, Report


class Alternative(Protocol):
    """A policy, with a price and a pool, that decides instead of the logged ones."""

    @property
    def text(self) -> str:
        """Describes the alternative, for people."""
        ...

    @property
    def price(self) -> float | None:
        """The price, in score per USD; None: the log's prices."""
        ...

    def of(self, setup: Setup) -> tuple[Policy, Pool, Unsure | None]:
        """Returns the policy, the pool whose prices count, and the rule for unsure prompts.

        Raises:
            DecisionLogError: it cannot decide them; the message says why.
        """
        ...


@dataclass(frozen=True, slots=True)
class OtherPolicy:
    """A policy on the log's own pool.

    Attributes:
        name: of the policy; empty: each setup's policy in force.
        price: score per USD; None: the log's prices.
    """

    name: str
    price: float | None = None

    @property
    def text(self) -> str:
        """Describes the alternative, for people."""
        at = "" if self.price is None else f" at {self.price:g} score per USD"
        return f"policy {self.name or 'in force'}{at}"

    def of(self, setup: Setup) -> tuple[Policy, Pool, Unsure | None]:
        """Returns the setup's policy of this name, or one without settings, its pool and its rule.

        Raises:
            DecisionLogError: the log has no such policy.
        """
        name = self.name or setup.in_force
        policy = setup.policies.get(name) or plain_policies().get(name)
        if policy is None:
            known = ", ".join(sorted({*setup.policies, *plain_policies()}))
            raise DecisionLogError(
                f"the log says nothing of the settings of policy {name}; it knows {known}; name a"
                " configuration that has it with --config"
            )
        return policy, setup.pool, setup.unsure


@dataclass(frozen=True, slots=True)
class OtherService:
    """The policy, the pool and the price of another configuration.

    Attributes:
        policy: decides.
        pool: the models, at their prices.
        price: score per USD.
        source: the name of the configuration, for people.
        unsure: its rule for prompts that the predictor does not know; None: it has none.
    """

    policy: Policy
    pool: Pool
    price: float | None
    source: str
    unsure: Unsure | None = None

    @property
    def text(self) -> str:
        """Describes the alternative, for people."""
        return f"policy {self.policy.name} of {self.source} at {self.price:g} score per USD"

    def of(self, setup: Setup) -> tuple[Policy, Pool, Unsure | None]:
        """Returns this policy, this pool and this rule.

        Raises:
            DecisionLogError: the log has no predictions of a model of the pool.
        """
        _columns(setup.pool, self.pool)
        return self.policy, self.pool, self.unsure


@dataclass(frozen=True, slots=True)
class Reported:
    """Sums over reports with a score and over those with a cost.

    Attributes:
        scored: the number of reports with a score.
        score: the sum of those scores.
        predicted_score: the sum of the scores that were predicted for the same answers.
        costed: the number of reports with a cost.
        cost_usd: the sum of those costs.
        predicted_cost_usd: the sum of the costs that were predicted for the same answers.
    """

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
        models: the number of decisions for each model.
        refused: the number of decisions without a model.
        score: the sum of the predicted scores.
        cost_usd: the sum of the predicted costs.
        reported: sums over the reports of these models' answers to these prompts.
    """

    models: Mapping[str, int]
    refused: int
    score: float
    cost_usd: float
    reported: Reported

    @property
    def decided(self) -> int:
        """The number of decisions for any model."""
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
    """A comparison of two ways to decide the same requests.

    Attributes:
        instead: a description of the other way.
        as_decided: the sums of the logged way.
        as_instead: the sums of the other way.
        same: the number of decisions that are the same.
        turned: the number of decisions that a budget changed or refused; the other way has no
            budgets.
    """

    instead: str
    as_decided: Figures
    as_instead: Figures
    same: int
    turned: int


def what_if(log: LogContents, instead: Alternative) -> WhatIf:
    """Decides every request of a log in another way, each on its own.

    Predicted scores and lengths, and the requests' own constraints, are the log's. Budgets are not
    simulated, and joint batches are decided prompt by prompt at their shadow price.

    Raises:
        DecisionLogError: the other way does not fit the log; the message says why.
    """
    nothing = Figures({}, 0, 0.0, 0.0, Reported())
    then = other = nothing
    same = turned = 0
    for logged in log.decisions:
        policy, pool, unsure = instead.of(logged.setup)
        moved, names = _at(logged, pool)
        if unsure is not None:
            moved = replace(moved, estimates=unsure.marked(moved.estimates))
        eligibility, _ = narrow(moved.requests, moved.estimates, pool, health=moved.health)
        mask = eligibility.mask & names
        if moved.limited is not None:
            mask &= ~moved.limited
        prices = None if instead.price is None else np.full(len(moved), instead.price)
        choice = policy.choose(moved.case(moved.estimates, mask, prices))
        rows = moved.estimates.unsure
        if unsure is not None and rows is not None:
            codes, priced = np.zeros(len(choice), np.int8), np.zeros(len(choice), np.bool_)
            choice = unsure.instead(Chosen(choice, codes, priced), mask, rows).choice
        reports = [log.reports.get(one) for one in logged.ids]
        by = answered(logged, reports)
        then += _figures(logged, logged.setup.pool, logged.choice, reports, by)
        # Columns of the other pool, by the model's name: -1 where the log's pool lacks it.
        renamed = _renamed(by, logged.setup.pool, pool)
        other += _figures(moved, pool, choice, reports, renamed)
        decided = _renamed(logged.choice, logged.setup.pool, pool)
        same += int(np.count_nonzero(decided == choice))
        spent = logged.reasons == Reason.BUDGET_SPENT
        turned += int(np.count_nonzero(spent | (logged.choice != logged.wanted)))
    return WhatIf(instead.text, then, other, same, turned)


def _predicted(pool: Pool) -> list[str]:
    """Returns the names under which the columns were predicted, arms by those of their models."""
    names = [model.predictor_name or model.name for model in pool.specs]
    if pool.arms is None:
        return names
    return [
        name if arm is None else f"{name}@{arm.name}"
        for name, arm in zip(names, pool.arms.specs, strict=True)
    ]


def _columns(old: Pool, new: Pool) -> IndexArray:
    """Returns the column of each of the new pool's models in the log's predictions.

    Raises:
        DecisionLogError: the log has no predictions of a model.
    """
    known = {name: at for at, name in enumerate(_predicted(old))}
    found = []
    for wanted in _predicted(new):
        if wanted not in known:
            raise DecisionLogError(
                f"the log has no predictions of model {wanted}; leave it out of the pool"
            )
        found.append(known[wanted])
    return np.array(found, np.intp)


def _at(logged: Logged, pool: Pool) -> tuple[Logged, BoolArray]:
    """Returns the decisions at another pool's prices, and the allowed cells, bool [n, m]."""
    if pool is logged.setup.pool:
        return logged, np.ones(logged.mask.shape, np.bool_)
    old, columns = logged.estimates, _columns(logged.setup.pool, pool)
    tokens, inputs = old.output_tokens[:, columns], old.input_tokens[:, columns]
    most_inputs = None if old.most_input_tokens is None else old.most_input_tokens[:, columns]
    factors = None if old.latency_factors is None else old.latency_factors[:, columns]
    firsts = None if old.first_factors is None else old.first_factors[:, columns]
    at = old.percentile_factors
    estimates = Estimates(
        scores=old.scores[:, columns],
        output_tokens=tokens,
        costs_usd=costs_usd_of(pool, inputs, tokens, old.priced_s),
        latencies_ms=latencies_ms_of(pool, tokens / answers_of(logged.requests), factors, firsts),
        input_tokens=inputs,
        most_input_tokens=most_inputs,
        most_usd=most_usd_of(pool, logged.requests, most_inputs, tokens, old.priced_s),
        ood=old.ood,
        confidence=old.confidence,
        priced_s=old.priced_s,
        percentiles=old.percentiles,
        percentile_factors=None if at is None else at[:, columns],
    )
    left = np.ones(estimates.scores.shape, np.bool_)
    requests = []
    for row, request in enumerate(logged.requests):
        known, possible = _known_names(request, pool)
        requests.append(known)
        left[row] = possible
    moved = replace(
        logged,
        estimates=estimates,
        requests=requests,
        health=None if logged.health is None else logged.health.at(columns),
        limited=None if logged.limited is None else logged.limited[:, columns],
        charges=None if logged.charges is None else logged.charges[:, columns],
    )
    return moved, left


def _known_names(request: PromptRequest, pool: Pool) -> tuple[PromptRequest, bool]:
    """Returns the request without names that the pool lacks, and whether a model is left."""
    kept = dict(request.constraints)
    possible = True
    for field, names in request.constraints.items():
        row = CONSTRAINTS[field]
        if row.kind is not Kind.NAMES:
            continue
        has = pool.has if row.narrows is not Narrows.CAPABLE else pool.capabilities.__contains__
        known = tuple(name for name in names if has(name))
        if row.narrows is Narrows.CAPABLE:
            possible &= len(known) == len(names)
        elif row.narrows is Narrows.ALLOWED:
            possible &= bool(known)
        if known:
            kept[field] = known
        else:
            del kept[field]
    return replace(request, constraints=kept), possible


def _renamed(choice: IndexArray, old: Pool, new: Pool) -> IndexArray:
    """Maps columns of one pool to another's; -1 (no model) stays, -2: the model is missing."""
    columns = np.array([*(new.index.get(name, -2) for name in old.names), -1], np.intp)
    return columns[choice]


def _figures(
    logged: Logged,
    pool: Pool,
    choice: IndexArray,
    reports: Sequence[Report | None],
    by: IndexArray,
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
        reported=_reported(logged, pool, choice, reports, by),
    )


def _reported(
    logged: Logged,
    pool: Pool,
    choice: IndexArray,
    reports: Sequence[Report | None],
    by: IndexArray,
) -> Reported:
    """Sums over the reports of the decisions whose model is the one that answered."""
    rows = np.flatnonzero((choice >= 0) & (choice == by))
    known = [reports[row] for row in rows.tolist()]
    scores = np.array(
        [np.nan if one is None or one.score is None else one.score for one in known], np.float64
    )
    costs = np.array(
        [
            np.nan
            if one is None or one.failed
            else _cost_usd(one, pool, column, logged.estimates, row)
            for one, column, row in zip(known, choice[rows].tolist(), rows.tolist(), strict=True)
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


def _cost_usd(report: Report, pool: Pool, column: int, estimates: Estimates, row: int) -> float:
    """Returns the cost of the usage at the pool's prices, else the reported one; NaN: unknown."""
    billed_usd = usage_cost_usd(report, pool, column, estimates, row)
    if billed_usd is None:
        return float("nan") if report.cost_usd is None else report.cost_usd
    return billed_usd
