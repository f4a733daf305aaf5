"""A report books at most what its request could have cost, times a factor."""

from __future__ import annotations

from contextlib import asynccontextmanager
from math import inf, nan
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from routoo.engine.open_decisions import DecisionIds, made_for
from routoo.errors import InvalidRequestError
from routoo.predictor.artifact import load_artifact
from routoo.routing.escalation import EscalationRequest
from routoo.routing.outcome import OutcomeReport
from routoo.routing.pool import ModelSpec, Pool
from routoo.routing.request import PromptRequest
from routoo.tariffs.usage import Usage
from routoo.telemetry.decision_log.reader import read_logs
from routoo.telemetry.decision_log.spend import spending as spending_of
from support.artifacts.tiny_artifact import write_tiny_artifact
from support.logged_engine import lines_of, logged_engine
from support.tiny_engine import make_engine
from support.tiny_money import REPORT_FACTOR, hourly, spending
from support.tiny_pool import LARGE, MEDIUM, SMALL
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from routoo.engine.engine import Engine
    from routoo.predictor.artifact import Artifact

# Of an answer that fills the window of 131,072 tokens at $30 per million, and of such an input.
LONGEST_ANSWER_USD, WINDOW_USD = 131_072 * 30e-6, 131_072 * 10e-6


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return load_artifact(write_tiny_artifact(tmp_path_factory.mktemp("artifact")))


@asynccontextmanager
async def running(artifact: Artifact, **more: Any) -> AsyncIterator[Engine]:
    budgets = (hourly(1e6), hourly(1e6, "of a", "a"), hourly(1e6, "of b", "b"))
    engine = make_engine(artifact, spent_from=spending(*budgets), **more)
    try:
        yield engine
    finally:
        await engine.close(HANG_S)


def large(tenant: str = "", **more: Any) -> PromptRequest:
    return PromptRequest("hard", tenant=tenant, constraints={"allowed_models": ("large",)}, **more)


async def settled_usd(engine: Engine) -> list[float]:
    return [state.settled_usd for state, _ in await engine.budgets()]


async def booked_usd(artifact: Artifact, request: PromptRequest, **report: Any) -> float:
    """Returns what is booked for one report about a decision for ``large``."""
    async with running(artifact) as engine:
        decision = await engine.route(request)
        assert decision.model == "large"
        assert await engine.report(OutcomeReport(decision.decision_id, **report))
        return (await settled_usd(engine))[0]


HUGE = 50_000.0


TELLING = {"cost": {"cost_usd": HUGE}, "tokens": {"usage": Usage(100_000_000, 100_000_000)}}


@pytest.mark.parametrize("report", TELLING.values(), ids=TELLING)
async def test_a_report_of_an_uncapped_request_books_the_longest_answer_at_most(
    artifact: Artifact, report: dict[str, Any]
) -> None:
    booked = await booked_usd(artifact, large(), **report)
    assert booked == pytest.approx(REPORT_FACTOR * LONGEST_ANSWER_USD, rel=1e-3)
    several = await booked_usd(artifact, large(answers=3), **report)
    assert several == pytest.approx(3 * REPORT_FACTOR * LONGEST_ANSWER_USD, rel=1e-3)


async def test_a_report_of_a_capped_request_books_its_reservation_at_most(
    artifact: Artifact,
) -> None:
    booked = await booked_usd(artifact, large(max_output_tokens=100), cost_usd=HUGE)
    answer_usd = 100 * 30e-6
    assert REPORT_FACTOR * answer_usd < booked < 1.2 * REPORT_FACTOR * answer_usd


async def test_a_reply_that_the_service_has_read_may_have_had_a_whole_window(
    artifact: Artifact,
) -> None:
    """A provider that keeps conversations bills input that the request does not show."""
    request = large(max_output_tokens=100)
    kept = Usage(100_000, 100)
    assert await booked_usd(artifact, request, usage=kept, read=True) == pytest.approx(1.003)
    hostile = Usage(100_000_000, 100_000_000)
    booked = await booked_usd(artifact, request, usage=hostile, read=True)
    assert booked == pytest.approx(REPORT_FACTOR * (WINDOW_USD + 100 * 30e-6))


@settings(max_examples=25)
@given(told_usd=st.floats(0, 1e5), cap=st.none() | st.integers(1, 100_000))
async def test_below_the_bound_the_truth_is_booked(
    artifact: Artifact, told_usd: float, cap: int | None
) -> None:
    async with running(artifact) as engine:
        decision = await engine.route(large(max_output_tokens=cap))
        longest = min(131_072, cap or 131_072)
        fits_usd = REPORT_FACTOR * longest * 30e-6
        assert await engine.report(OutcomeReport(decision.decision_id, cost_usd=told_usd))
        booked = (await settled_usd(engine))[0]
        assert booked <= told_usd + 1e-9
        assert booked >= min(told_usd, fits_usd) - 1e-9
        assert booked <= 2 * REPORT_FACTOR * (LONGEST_ANSWER_USD + 0.01)


@pytest.mark.parametrize("cost_usd", [-1.0, nan, inf, -inf, 9_000_001.0])
async def test_a_cost_that_is_none_is_refused_and_books_nothing(
    artifact: Artifact, cost_usd: float
) -> None:
    async with running(artifact) as engine:
        decision = await engine.route(large())
        with pytest.raises(InvalidRequestError):
            await engine.report(OutcomeReport(decision.decision_id, cost_usd=cost_usd))
        assert await settled_usd(engine) == [0.0, 0.0, 0.0]
        assert await engine.report(OutcomeReport(decision.decision_id, cost_usd=0.25))
        assert (await settled_usd(engine))[0] == 0.25


async def test_repeated_reports_and_those_of_others_add_nothing(artifact: Artifact) -> None:
    async with running(artifact) as engine:
        decision = await engine.route(large("a"))
        one = decision.decision_id
        assert not await engine.report(OutcomeReport(one, cost_usd=5.0, tenant="b"))
        assert await engine.report(OutcomeReport(one, cost_usd=0.25, tenant="a"))
        for _ in range(3):
            assert not await engine.report(OutcomeReport(one, cost_usd=5.0, tenant="a"))
        assert await settled_usd(engine) == [0.25, 0.25, 0.0]


async def test_of_a_decision_that_is_not_known_the_id_says_the_tenant(artifact: Artifact) -> None:
    """Another replica's decision: its reservation is in the shared books alone."""
    async with running(artifact) as engine:
        decision = await engine.route(large("a"))
        one = decision.decision_id
        engine.accounting.decisions.discard([one])
        assert not await engine.report(OutcomeReport(one, cost_usd=HUGE, tenant="b"))
        assert await settled_usd(engine) == [0.0, 0.0, 0.0]
        assert await engine.report(OutcomeReport(one, cost_usd=HUGE, tenant="a"))
        most_usd = REPORT_FACTOR * (LONGEST_ANSWER_USD + WINDOW_USD)
        assert await settled_usd(engine) == [pytest.approx(most_usd), pytest.approx(most_usd), 0.0]


async def test_an_escalation_is_bounded_as_its_request(artifact: Artifact) -> None:
    async with running(artifact, price=1.0) as engine:
        request = PromptRequest(
            "hard", max_output_tokens=100, constraints={"allowed_models": ("small", "large")}
        )
        decision = await engine.route(request)
        weighed = await engine.escalate(EscalationRequest(decision.decision_id))
        assert weighed.decision is not None
        for one in (decision, weighed.decision):
            assert await engine.report(OutcomeReport(one.decision_id, cost_usd=HUGE))
        assert (await settled_usd(engine))[0] < 2.4 * REPORT_FACTOR * 100 * 30e-6


async def test_a_model_without_prices_is_bounded_as_the_dearest(artifact: Artifact) -> None:
    free = {"usd_per_1m_input_tokens": 0, "usd_per_1m_output_tokens": 0}
    specs = (SMALL, MEDIUM, {**LARGE, **free, "trust_reported_cost": True})
    pool = Pool.of(tuple(ModelSpec.model_validate(one) for one in specs))
    async with running(artifact, pool=pool) as engine:
        told = OutcomeReport(
            (await engine.route(large())).decision_id, usage=Usage(told_cost_usd=0.02)
        )
        assert await engine.report(told)
        assert (await settled_usd(engine))[0] == 0.02
        assert await engine.report(
            OutcomeReport((await engine.route(large())).decision_id, cost_usd=HUGE)
        )
        assert (await settled_usd(engine))[0] < REPORT_FACTOR * 32_768 * 3e-6 + 0.03


async def test_what_is_capped_is_counted_and_logged(artifact: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    budgets = (hourly(1e6), hourly(1e6, "of a", "a"), hourly(1e6, "of b", "b"))
    with capture_logs() as lines:
        async with logged_engine(artifact, path, spent_from=spending(*budgets)) as engine:
            found = engine._metrics.registry.get_sample_value
            for tenant in ("a", "a", "b"):
                decision = await engine.route(large(tenant, max_output_tokens=100))
                assert await engine.report(OutcomeReport(decision.decision_id, cost_usd=HUGE))
            capped = engine.capped_reports
            reports = {name: one.reports for name, one in capped.items()}
            assert reports == {"all": 3, "of a": 2, "of b": 1}
            settled = (await settled_usd(engine))[0]
    beyond_usd = pytest.approx(3 * HUGE - settled)
    assert capped["all"].beyond_usd == beyond_usd
    assert found("routoo_capped_reports_total") == 3
    assert found("routoo_capped_report_usd_total") == beyond_usd
    booked = found("routoo_reported_cost_usd_total", {"model": "large"})
    assert booked == pytest.approx(settled)
    # The warnings are few, the lines of the decision log are all.
    (said,) = [one for one in lines if "told more than its request" in one["event"]]
    assert (said["tenant"], said["reported_usd"]) == ("a", HUGE)
    assert "raise ledger.report_factor" in said["event"]
    in_log = lines_of(path, "capped")
    assert [one["reported_usd"] for one in in_log] == [HUGE] * 3
    assert sum(one["booked_usd"] for one in in_log) == pytest.approx(settled)
    assert spending_of(read_logs([path])).total.settled_usd == pytest.approx(settled)


@given(tenant=st.text(), other=st.text(), numbers=st.lists(st.integers(1, 2**40), max_size=5))
def test_an_id_says_its_tenant_and_no_other(tenant: str, other: str, numbers: list[int]) -> None:
    ids = DecisionIds("prefix").named(numbers, [tenant] * len(numbers))
    assert all(made_for(one, tenant) for one in ids)
    if other != tenant:
        assert not any(made_for(one, other) for one in ids)
    for nonsense in ("", "x", "a-b-c", "prefix--1"):
        assert not made_for(nonsense, tenant)
