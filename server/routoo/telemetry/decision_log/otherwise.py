"""Decisions that another policy, price or pool makes of logged requests."""

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
from routoo.selector.policies.guarantee import Guarantee
from routoo.telemetry.decision_log.header import Setup, plain_policies
from routoo.telemetry.decision_log.reader import DecisionLogError

if TYPE_CHECKING:
    from routoo.routing.pool import Pool
    from routoo.routing.request import PromptRequest
    from routoo.routing.unsure import Unsure
    from routoo.selector.arrays import BoolArray, IndexArray
    from routoo.selector.policies.base import Policy
    from routoo.telemetry.decision_log.columns import Logged


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
        pool_columns(setup.pool, self.pool)
        return self.policy, self.pool, self.unsure


@dataclass(frozen=True, slots=True)
class Otherwise:
    """Logged decisions as another policy decides them.

    Attributes:
        logged: n decisions at the other pool's prices.
        pool: the other pool, m models.
        choice: int [n], its column; -1: no model.
    """

    logged: Logged
    pool: Pool
    choice: IndexArray


def decide_otherwise(logged: Logged, instead: Alternative, *, draws: bool = True) -> Otherwise:
    """Decides logged requests in another way, each on its own.

    Args:
        logged: the decisions.
        instead: the other way.
        draws: whether a policy that draws some of its choices does so here. It would draw the same
            again as in the log, which is no chance that a weight can account for.

    Raises:
        DecisionLogError: the other way does not fit the log; the message says why.
    """
    policy, pool, unsure = instead.of(logged.setup)
    if not draws and isinstance(policy, Guarantee):
        policy = replace(policy, share=0.0)
    moved, names = at_pool(logged, pool)
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
    return Otherwise(moved, pool, choice)


def _predicted(pool: Pool) -> list[str]:
    """Returns the names under which the columns were predicted, arms by those of their models."""
    names = [model.predictor_name or model.name for model in pool.specs]
    if pool.arms is None:
        return names
    return [
        name if arm is None else f"{name}@{arm.name}"
        for name, arm in zip(names, pool.arms.specs, strict=True)
    ]


def pool_columns(old: Pool, new: Pool) -> IndexArray:
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


def at_pool(logged: Logged, pool: Pool) -> tuple[Logged, BoolArray]:
    """Returns the decisions at another pool's prices, and the allowed cells, bool [n, m]."""
    if pool is logged.setup.pool:
        return logged, np.ones(logged.mask.shape, np.bool_)
    old, columns = logged.estimates, pool_columns(logged.setup.pool, pool)
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


def renamed(choice: IndexArray, old: Pool, new: Pool) -> IndexArray:
    """Maps columns of one pool to another's; -1 (no model) stays, -2: the model is missing."""
    columns = np.array([*(new.index.get(name, -2) for name in old.names), -1], np.intp)
    return columns[choice]
