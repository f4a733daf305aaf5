"""Rows that count parts of a batch: tenants and tokens; net value; and the remedies in errors."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routoo.errors import InfeasibleError
from routoo.selector.lp.problem import (
    MEAN_SCORE_FLOOR,
    Assignment,
    Objective,
    Problem,
    Resource,
    budget,
    capacity,
    mean_latency,
    mean_score_floor,
    tenant_budget,
    token_capacity,
)
from routoo.selector.lp.program import make_program
from routoo.selector.lp.solve import solve

Oracle = Callable[..., float | None]
SHARES = st.floats(0.05, 1.0)


def cells_of(row: Resource, shape: tuple[int, int]) -> Any:
    """The row's usage spelt out cell by cell."""
    cells = np.zeros(shape)
    for prompt in range(shape[0]) if row.prompts is None else row.prompts.tolist():
        for model in range(shape[1]) if row.model is None else [row.model]:
            cells[prompt, model] = np.broadcast_to(row.usage, shape)[prompt, model]
    return cells


@st.composite
def problems(draw: st.DrawFn, instances: st.SearchStrategy[Any]) -> Problem:
    """Draws rows of any kind over any instance; they often conflict."""
    instance = draw(instances)
    n, m = instance.scores.shape
    costs = instance.costs
    least, most = np.nanmin(costs, axis=1), np.nanmax(costs, axis=1)

    def between(part: Any) -> float:
        return float(least[part].sum() + draw(SHARES) * (most[part] - least[part]).sum())

    rows: list[Resource] = []
    if draw(st.booleans()):
        rows.append(budget(costs, between(np.arange(n))))
    tenants = draw(st.integers(0, 4))
    owner = np.array(draw(st.lists(st.integers(0, tenants), min_size=n, max_size=n)))
    for tenant in range(tenants):
        own = np.flatnonzero(owner == tenant)
        rows.append(tenant_budget(f"tenant:{tenant}", own, costs, between(own)))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    if draw(st.booleans()):
        # As many places as prompts, sometimes one or two more.
        places = rng.multinomial(n, np.ones(m) / m) + rng.integers(0, 2) * rng.integers(0, 2, m)
        rows += [capacity(f"requests:{j}", j, m, float(places[j])) for j in range(m)]
    if draw(st.booleans()):
        tokens = rng.integers(1, 50, (n, m)).astype(np.float64)
        capped = rng.random(m) < 0.6
        rows += [
            token_capacity(f"tokens:{j}", j, tokens, float(rng.integers(0, 50 * n // m + 2)))
            for j in np.flatnonzero(capped).tolist()
        ]
    if draw(st.booleans()):
        latencies_ms = np.round(rng.lognormal(6.0, 1.0, (n, m)), 1)
        rows.append(mean_latency(latencies_ms, float(rng.uniform(200.0, 900.0))))
    return Problem(instance.scores, costs, instance.mask, tuple(rows))


@st.composite
def questions(draw: st.DrawFn, instances: st.SearchStrategy[Any]) -> tuple[Problem, Objective]:
    problem = draw(problems(instances))
    objective = draw(st.sampled_from(Objective))
    if objective is Objective.NET_VALUE:
        problem = replace(problem, score_per_usd=draw(st.floats(1e-3, 1e3)))
    if objective is Objective.LEAST_COST or (
        objective is Objective.NET_VALUE and draw(st.booleans())
    ):
        problem = replace(problem, min_mean_score=draw(st.floats(0.0, 0.9)))
    return problem, objective


def rows_of(problem: Problem) -> list[Resource]:
    floor = problem.min_mean_score
    extra = [] if floor is None else [mean_score_floor(problem.scores, floor)]
    return [*problem.resources, *extra]


def check_keeps(problem: Problem, answer: Assignment) -> None:
    at = np.arange(len(answer.choice))
    assert problem.mask[at, answer.choice].all()
    for row in rows_of(problem):
        used = cells_of(row, problem.scores.shape)[at, answer.choice].sum()
        assert used <= row.limit + 1e-11 * max(abs(row.limit), 1.0), row.name


def relaxations(message: str) -> list[dict[str, float]]:
    """Reads the remedies in a message: alternatives, each a set of rows to relax together."""
    if " cannot be kept together" not in message and "as a whole" not in message:
        name, *_, amount = message.split(" ")
        return [{name: float(amount)}]
    told = re.findall(r"(?:raise|lower) (\S+) by at least ([0-9.]+)( and)?", message)
    amounts = [{name: float(amount)} for name, amount, _ in told]
    if any(joined for *_, joined in told):
        return [{name: amount for part in amounts for name, amount in part.items()}]
    return amounts


def relaxed(problem: Problem, amounts: dict[str, float]) -> Problem:
    n = len(problem.scores)
    resources = tuple(
        replace(row, limit=row.limit + amounts.get(row.name, 0.0) * (n if row.is_mean else 1))
        for row in problem.resources
    )
    floor = problem.min_mean_score
    if floor is not None:
        floor -= amounts.get(MEAN_SCORE_FLOOR, 0.0)
    return replace(problem, resources=resources, min_mean_score=floor)


@given(data=st.data())
def test_every_objective_within_any_rows_is_that_of_the_whole_lp(
    instances_with_room: st.SearchStrategy[Any], best_fractional_value: Oracle, data: st.DataObject
) -> None:
    problem, objective = data.draw(questions(instances_with_room))
    scores, costs = problem.scores, problem.costs
    values = {
        Objective.MOST_SCORE: scores,
        Objective.LEAST_COST: -costs,
        Objective.NET_VALUE: scores - problem.score_per_usd * costs,
    }[objective]
    rows = [(cells_of(row, scores.shape), row.limit) for row in rows_of(problem)]
    expected = best_fractional_value(values, problem.mask, rows)

    if expected is None:
        with pytest.raises(
            InfeasibleError, match=r"cannot be kept|least possible|highest possible"
        ):
            solve(problem, objective)
        return
    try:
        answer = solve(problem, objective)
    except InfeasibleError as error:
        # A fractional choice keeps the rows; only whole prompts may not.
        if "as a whole" not in str(error):
            raise
        return

    sign = -1.0 if objective is Objective.LEAST_COST else 1.0
    close = 1e-6 * max(1.0, abs(expected))
    assert answer.relaxed_value == pytest.approx(sign * expected, abs=close)
    assert answer.bound == pytest.approx(sign * expected, abs=close)
    assert sign * answer.value <= sign * answer.bound + close
    check_keeps(problem, answer)


@settings(max_examples=60)
@given(data=st.data())
def test_whoever_relaxes_as_told_gets_an_assignment(
    instances_with_room: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    problem, objective = data.draw(questions(instances_with_room))
    for _ in range(len(problem.resources) + 2):
        try:
            answer = solve(problem, objective)
        except InfeasibleError as error:
            message = str(error)
        else:
            break
        assert "\n" not in message
        alternatives = relaxations(message)
        for amounts in alternatives:
            # Each alternative suffices by itself, except where a row cannot be kept even alone:
            # there may be several such rows, and each message names one of them.
            if " together; " in message or "as a whole" in message:
                check_keeps(relaxed(problem, amounts), solve(relaxed(problem, amounts), objective))
        problem = relaxed(problem, data.draw(st.sampled_from(alternatives)))
    check_keeps(problem, answer)


def test_tenants_share_the_costs_and_one_array() -> None:
    n, m, tenants = 2_000, 4, 50
    rng = np.random.default_rng(0)
    scores, costs = rng.random((n, m)), rng.lognormal(-7.0, 1.5, (n, m))
    owner = rng.integers(0, tenants, n)
    owned = [np.flatnonzero(owner == tenant) for tenant in range(tenants)]
    rows = [budget(costs, float(costs.min(axis=1).sum() * 3))]
    rows += [
        tenant_budget(f"tenant:{at}", own, costs, float(costs[own].min(axis=1).sum() * 2.5))
        for at, own in enumerate(owned)
    ]
    mask = np.ones((n, m), bool)
    program = make_program(scores, mask, tuple(rows))

    answer = solve(Problem(scores, costs, mask, tuple(rows)))

    assert {id(sheet.cells) for sheet in program.sheets} == {id(program.sheets[0].cells)}
    assert len(program.sheets) == 2
    check_keeps(Problem(scores, costs, mask, tuple(rows)), answer)
    assert answer.bound == pytest.approx(answer.relaxed_value, rel=1e-9)
    assert answer.gap < 5e-3
    assert len(answer.binding) > tenants / 2


def test_tenants_alone_are_each_solved_as_if_alone() -> None:
    rng = np.random.default_rng(1)
    scores, costs = rng.random((60, 3)), rng.random((60, 3))
    halves = np.arange(30), np.arange(30, 60)
    mask = np.ones((60, 3), bool)
    rows = tuple(
        tenant_budget(f"tenant:{at}", own, costs, float(costs[own].min(axis=1).sum() * 1.5))
        for at, own in enumerate(halves)
    )

    together = solve(Problem(scores, costs, mask, rows))

    alone = [
        solve(Problem(scores[own], costs[own], mask[own], (budget(costs[own], row.limit),)))
        for own, row in zip(halves, rows, strict=True)
    ]
    assert together.bound == pytest.approx(sum(answer.bound for answer in alone))
    assert together.prices == pytest.approx([answer.prices[0] for answer in alone], rel=1e-6)


def test_a_tenant_without_a_prompt_binds_nothing() -> None:
    costs = np.ones((3, 2))
    rows = (
        tenant_budget("tenant:nobody", np.zeros(0, np.intp), costs, 0.0),
        budget(costs, 3.0),
    )

    answer = solve(Problem(np.ones((3, 2)), costs, np.ones((3, 2), bool), rows))

    assert "tenant:nobody" not in answer.binding
    alone = solve(Problem(np.ones((3, 2)), costs, np.ones((3, 2), bool), rows[:1]))
    assert alone.binding == ()


@pytest.mark.parametrize("others", [0, 1])
def test_a_budget_of_nothing_takes_what_is_free_or_says_what_the_cheapest_costs(
    others: int,
) -> None:
    scores, mask = np.tile([0.3, 0.9], (4, 1)), np.ones((4, 2), bool)
    free, priced = np.tile([0.0, 1.0], (4, 1)), np.tile([0.5, 1.0], (4, 1))
    more = (capacity("requests:1", 1, 2, 4.0),) * others

    answer = solve(Problem(scores, free, mask, (budget(free, 0.0), *more)))

    assert answer.choice.tolist() == [0, 0, 0, 0]
    with pytest.raises(InfeasibleError, match=r"^budget_usd 0 is below .* 2; raise it by 2$"):
        solve(Problem(scores, priced, mask, (budget(priced, 0.0), *more)))


def test_mean_latency_speaks_of_the_mean() -> None:
    latencies_ms = np.tile([100.0, 300.0], (4, 1))
    costs = np.tile([1.0, 0.0], (4, 1))
    mask = np.ones((4, 2), bool)
    rows = (mean_latency(latencies_ms, 50.0),)

    with pytest.raises(InfeasibleError, match="50 is below the least possible 100; raise it by 50"):
        solve(Problem(costs, costs, mask, rows))

    both = (mean_latency(latencies_ms, 150.0), budget(costs, 2.0))
    with pytest.raises(InfeasibleError, match="raise max_mean_latency_ms by at least 50 or raise"):
        solve(Problem(costs, costs, mask, both))


def test_a_floor_that_several_rows_put_out_of_reach_is_told_with_them() -> None:
    scores, costs = np.tile([0.2, 0.8], (10, 1)), np.tile([0.1, 1.0], (10, 1))
    rows = (budget(costs, 100.0), capacity("requests:1", 1, 2, 5.0))
    problem = Problem(scores, costs, np.ones((10, 2), bool), rows, 0.6)

    with pytest.raises(InfeasibleError, match="requests:1 and min_mean_score cannot be kept"):
        solve(problem)

    kept = solve(replace(problem, min_mean_score=0.5))
    assert kept.score >= 5.0
