"""The feed notes decisions while somebody looks, within its bound, and forgets them after that."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest

from routoo.errors import NoEligibleModelError
from routoo.predictor.artifact import load_artifact
from routoo.routing.joint import JointConstraints
from routoo.routing.request import PromptRequest
from routoo.selector.policies.cheapest import Cheapest
from routoo.selector.reason import Reason
from routoo.telemetry.live.feed import LOOKED_S, MOST_KEPT, LiveFeed
from routoo.telemetry.live.sums import decided_by, totals_of
from routoo.telemetry.metrics import Metrics
from support.artifacts.tiny_artifact import write_tiny_artifact
from support.tiny_engine import make_engine
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from routoo.engine.engine import Engine
    from routoo.predictor.artifact import Artifact


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return load_artifact(write_tiny_artifact(tmp_path_factory.mktemp("artifact")))


@asynccontextmanager
async def running(
    artifact: Artifact, metrics: Metrics, price: float = 100.0
) -> AsyncIterator[Engine]:
    engine = make_engine(artifact, price=price, metrics=metrics)
    try:
        yield engine
    finally:
        await engine.close(HANG_S)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(clock: Clock) -> Metrics:
    metrics = Metrics()
    metrics.live = LiveFeed(clock, clock)
    return metrics


async def ask(engine: Engine, *prompts: str, tenant: str = "") -> None:
    for prompt in prompts:
        await engine.route(PromptRequest(prompt, tenant=tenant))


async def test_nothing_is_noted_before_somebody_looks(artifact: Artifact, metrics: Metrics) -> None:
    feed = metrics.live
    async with running(artifact, metrics) as engine:
        await ask(engine, "easy")
        assert feed.latest() == []
        feed.look()
        await ask(engine, "easy", "hard", tenant="a")
        await ask(engine, "hard", tenant="b")
    assert [one.number for one in feed.latest()] == [1, 2, 3]
    assert [one.tenant for one in feed.latest("a")] == ["a", "a"]
    assert [one.number for one in feed.latest(after=2)] == [3]
    assert [one.prompt for one in feed.latest()] == ["", "", ""]


async def test_prompts_are_noted_where_the_log_has_them(
    artifact: Artifact, metrics: Metrics
) -> None:
    metrics.live.prompts = True
    metrics.live.look()
    async with running(artifact, metrics) as engine:
        await ask(engine, "hard " * 100)
    (seen,) = metrics.live.latest()
    assert seen.prompt == ("hard " * 100)[:300]


async def test_it_forgets_when_nobody_looks_any_more(
    artifact: Artifact, metrics: Metrics, clock: Clock
) -> None:
    feed = metrics.live
    feed.look()
    async with running(artifact, metrics) as engine:
        await ask(engine, "easy")
        clock.now_s += LOOKED_S
        await ask(engine, "easy")
        assert len(feed.latest()) == 2
        clock.now_s += 1
        await ask(engine, "easy")
        assert (feed.latest(), feed.on) == ([], False)
        feed.look()
        await ask(engine, "easy")
        assert len(feed.latest()) == 1
        feed.close()
        feed.look()
        assert not feed.on


async def test_a_large_batch_leaves_its_last_rows(artifact: Artifact, metrics: Metrics) -> None:
    metrics.live.look()
    async with running(artifact, metrics) as engine:
        requests = [PromptRequest("easy", tenant=str(at)) for at in range(MOST_KEPT + 7)]
        solved = await engine.route_batch(requests, JointConstraints())
        dry = await engine.route_batch(requests[:3], JointConstraints(), is_dry=True)
    seen = metrics.live.latest()
    assert [one.tenant for one in seen] == [str(at) for at in range(7, MOST_KEPT + 7)]
    assert seen[-1].decision_id == solved.decisions[-1].decision_id
    assert len(dry.decisions) == 3


async def test_a_refused_request_says_why(artifact: Artifact, metrics: Metrics) -> None:
    metrics.live.look()
    async with running(artifact, metrics) as engine:
        with pytest.raises(NoEligibleModelError):
            await engine.route(PromptRequest("easy", constraints={"max_cost_usd": 0.0}))
    (seen,) = metrics.live.latest()
    assert seen.choice == -1
    assert seen.refused.startswith("max_cost_usd 0 (raise it by")
    assert totals_of([seen]).refused == 1


async def test_sums_and_another_policy(artifact: Artifact, metrics: Metrics) -> None:
    metrics.live.look()
    async with running(artifact, metrics, price=0.0) as engine:
        await ask(engine, "easy", "hard", "hard")
    seen = metrics.live.latest()
    assert {one.reason for one in seen} == {Reason.BEST_SCORE}
    told = totals_of(seen)
    assert told.decisions == sum(told.models.values()) == 3
    assert told.cost_usd == pytest.approx(sum(one.costs_usd[one.choice] for one in seen))
    best = seen[0].pool.names.index(told.best)
    assert told.best_cost_usd == pytest.approx(sum(one.costs_usd[best] for one in seen))
    assert told.best_mean_score <= told.mean_score
    cheapest = decided_by(Cheapest(), seen, np.zeros(3))
    assert cheapest.tolist() == [int(one.costs_usd.argmin()) for one in seen]
    assert totals_of(seen, cheapest.tolist()).cost_usd < told.cost_usd
    assert decided_by(Cheapest(), [], np.zeros(0)).tolist() == []
    assert totals_of([]).decisions == 0
