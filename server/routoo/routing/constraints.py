"""Constraints of requests narrow the pool to the models that may answer each request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from routoo.errors import InvalidRequestError
from routoo.request_fields import CONSTRAINTS, Kind, Narrows
from routoo.routing.arms.own import arms_left
from routoo.routing.estimates import answers_of, asked_caps
from routoo.routing.health.rows import HEALTH
from routoo.routing.sessions.ties import ties_of
from routoo.selector.eligibility import Eligibility

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from routoo.config.sections.tasks import TaskSettings
    from routoo.request_fields import RequestField
    from routoo.routing.estimates import Estimates
    from routoo.routing.health.rows import HealthRows
    from routoo.routing.pool import Pool
    from routoo.routing.request import PromptRequest
    from routoo.routing.sessions.rows import SessionRows


ARM = "arm"
"""The name of the constraint that leaves the arms which a request's own parameters allow."""


@dataclass(frozen=True, slots=True)
class Narrowing:
    """A constraint that removed models, and the models that it left.

    Attributes:
        constraint: its name.
        mask: bool [n, m], the models that are left after it.
    """

    constraint: str
    mask: NDArray[np.bool_]


def check_names(request: PromptRequest, pool: Pool) -> None:
    """Refuses models and capabilities that the pool does not have.

    Raises:
        InvalidRequestError: names the field and the unknown name.
    """
    for field, names in request.constraints.items():
        if CONSTRAINTS[field].kind is not Kind.NAMES:
            continue
        if CONSTRAINTS[field].narrows is Narrows.CAPABLE:
            pool.check_capabilities(names, field)
        else:
            for name in names:
                pool.columns_named(name, field)


def check_task(task: str, known: Sequence[str], settings: TaskSettings) -> None:
    """Refuses a kind of task that the predictor does not tell apart, if the settings say so.

    Args:
        task: as the request names it; not empty.
        known: the kinds that the predictor tells apart.
        settings: whether an unknown one is refused.

    Raises:
        InvalidRequestError: names the kinds that there are.
    """
    if task in known or settings.unknown == "recognise":
        return
    if not known:
        raise InvalidRequestError(
            "the predictor in use tells no tasks apart; leave it out, or set tasks.unknown to"
            " recognise",
            field="task",
        )
    raise InvalidRequestError(
        f"unknown task {task[:40]!r}; this predictor knows {', '.join(known)}", field="task"
    )


def narrow(
    requests: Sequence[PromptRequest],
    estimates: Estimates,
    pool: Pool,
    sessions: SessionRows | None = None,
    health: HealthRows | None = None,
) -> tuple[Eligibility, tuple[Narrowing, ...]]:
    """Applies the constraints of n requests, one kind after the other.

    Args:
        requests: the n requests.
        estimates: their predictions.
        pool: the m models.
        sessions: their sessions, whose ties are constraints, too; None: they have none.
        health: the models that may be asked by their health; None: all of them.

    Returns:
        The eligibility, and the constraints that removed a model from any of the requests.
    """
    narrower = _Narrower(requests, estimates.scores.shape)
    asked: set[str] = set()
    for request in requests:
        if request.constraints:
            asked.update(request.constraints)
    rows = [row for name, row in CONSTRAINTS.items() if name in asked] if asked else ()
    for row in rows:
        if row.kind is Kind.NAMES:
            narrower.keep_named(row, pool)
    for constraint, kept in () if sessions is None else ties_of(sessions, pool):
        narrower.keep(constraint, kept)
    if pool.arms is not None:
        narrower.keep(ARM, arms_left(pool.arms, requests, narrower.eligibility.mask))
    needed = _needed_tokens(requests, estimates, pool)
    if np.maximum.reduce(needed, axis=None) > pool.shortest_window_tokens:
        narrower.keep("context_window_tokens", needed <= pool.context_window_tokens)
    for row in rows:
        if row.estimate:
            narrower.limit(row, getattr(estimates, row.estimate))
    narrower.keep_healthy(health)  # the last, as it leaves a model wherever the others do
    return narrower.eligibility, tuple(narrower.narrowings)


def _needed_tokens(
    requests: Sequence[PromptRequest], estimates: Estimates, pool: Pool
) -> NDArray[np.float64]:
    """Returns the tokens that the context window has to hold, float64 [n, m].

    They are those of the longest prompt, and those of one answer: as many as the request or the
    arm allows, which providers check before they answer, or the predicted ones.
    """
    needed = estimates.input_tokens + estimates.output_tokens
    arms_ask = pool.arms is not None and pool.arms.longest_answers is not None
    if arms_ask or any(one.max_output_tokens is not None or one.answers != 1 for one in requests):
        shares = np.array([one.longest_share for one in requests], np.float64)[:, None]
        prompts = np.ceil(estimates.input_tokens * shares)
        caps = asked_caps(requests, pool)
        capped = np.isfinite(caps)
        if capped.all():
            return prompts + caps
        answers = answers_of(requests)
        longest = np.where(capped, caps, estimates.output_tokens / answers)
        return np.where(capped | (answers != 1), prompts + longest, needed)
    return needed


def numbers_of(requests: Sequence[PromptRequest], constraint: str) -> NDArray[np.float64]:
    """Returns each request's value of a constraint, float64 [n]; NaN where it sets none."""
    numbers = np.full(len(requests), np.nan)
    for row, request in enumerate(requests):
        if constraint in request.constraints:
            numbers[row] = request.constraints[constraint]
    return numbers


class _Narrower:
    """Applies constraints to an eligibility, and notes the constraints that removed models.

    Args:
        requests: the n requests.
        shape: n and m, for n requests and m models.
    """

    def __init__(self, requests: Sequence[PromptRequest], shape: tuple[int, ...]) -> None:
        self.eligibility = Eligibility(np.ones(shape, np.bool_))
        self.narrowings: list[Narrowing] = []
        self._requests = requests
        self._left = self.eligibility.mask.size

    def keep(self, constraint: str, kept: NDArray[np.bool_]) -> None:
        self.eligibility.keep(constraint, kept)
        self._note(constraint)

    def keep_named(self, constraint: RequestField, pool: Pool) -> None:
        """Keeps the models that each request's names leave; all models, where it names none."""
        kept = _KEPT[constraint.narrows]
        everything = np.ones(len(pool.names), np.bool_)
        values = (request.constraints.get(constraint.name) for request in self._requests)
        rows = [kept(pool, names) if names else everything for names in values]
        self.keep(constraint.name, np.array(rows))

    def limit(self, constraint: RequestField, estimates: NDArray[np.float64]) -> None:
        """Compares estimates, float64 [n, m], with each request's limit."""
        limits = numbers_of(self._requests, constraint.name)
        if constraint.narrows is Narrows.AT_MOST:
            self.eligibility.at_most(constraint.name, estimates, limits)
        else:
            self.eligibility.at_least(constraint.name, estimates, limits)
        self._note(constraint.name)

    def keep_healthy(self, health: HealthRows | None) -> None:
        """Keeps the models that are well; all models, where none of these is left."""
        if health is not None:
            named = [request.named for request in self._requests]
            self.keep(HEALTH, health.kept(self.eligibility.mask, named))

    def _note(self, constraint: str) -> None:
        # Each mask is a subset of the one before, so an equal number of cells means equal masks.
        left = int(np.count_nonzero(self.eligibility.mask))
        if left < self._left:
            self.narrowings.append(Narrowing(constraint, self.eligibility.mask))
            self._left = left


_KEPT: Mapping[Narrows | None, Callable[[Pool, Sequence[str]], NDArray[np.bool_]]] = {
    Narrows.ALLOWED: lambda pool, names: pool.holds(names),
    Narrows.DENIED: lambda pool, names: ~pool.holds(names),
    Narrows.CAPABLE: lambda pool, names: pool.able(names),
}
"""Functions that return the models, bool [m], that a constraint's names leave."""
