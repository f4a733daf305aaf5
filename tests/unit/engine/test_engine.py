"""The engine takes requests from acceptance to decision, without any transport."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.engine.batcher import QUIET_TURNS
from routoo.errors import (
    DrainingError,
    InvalidRequestError,
    NoEligibleModelError,
    PredictorError,
    QueueFullError,
)
from routoo.predictor.artifact import load_artifact
from routoo.predictor.onnx import OnnxPredictor
from routoo.routing.joint import JointConstraints
from routoo.routing.request import PromptRequest
from support.artifacts.tiny_artifact import write_tiny_artifact
from support.tiny_engine import make_engine, outcomes
from support.watched import HANG_S, WatchedPredictor, first_row_only, watch_predictor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from routoo.engine.engine import Engine
    from routoo.predictor.artifact import Artifact
    from routoo.predictor.base import Prediction
    from routoo.routing.decision import Decision

words = st.lists(st.sampled_from(["easy", "hard", "long", "else"]), min_size=1, max_size=40)
prompts = words.map(" ".join)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return load_artifact(write_tiny_artifact(tmp_path_factory.mktemp("artifact")))


@pytest.fixture
async def engine(artifact: Artifact) -> AsyncIterator[Engine]:
    engine = make_engine(artifact, max_batch=4, max_queue=8)
    yield engine
    await engine.close(HANG_S)


@pytest.fixture
async def watched(engine: Engine) -> WatchedPredictor:
    return watch_predictor(engine)


async def turn() -> None:
    """Lets the event loop run its pending callbacks, and turn until a batch starts."""
    for _ in range(QUIET_TURNS + 3):
        await asyncio.sleep(0)


def figures(decision: Decision) -> tuple[Any, ...]:
    """Returns the fields of a decision that depend on the prompt alone."""
    batch, row = decision.batch, decision.row
    return (
        decision.model,
        batch.scores[row],
        batch.costs_usd[row],
        batch.latencies_ms[row],
        batch.output_tokens[row],
        batch.input_tokens[row],
        batch.truncated[row],
        batch.reasons[row],
        decision.binding_constraints(),
        [(one.model, one.utility, one.removed_by) for one in decision.candidates()],
    )


async def test_the_choice_is_the_best_score_after_cost(engine: Engine) -> None:
    # At 100 score per USD and 1 + 200 tokens, large costs 0.6 points, medium 0.04, small 0.004.
    decision = await engine.route(PromptRequest("hard", request_id="mine"))
    assert decision.model == "medium"
    assert decision.request_id == "mine"
    assert decision.batch.scores == [0.5]
    assert decision.binding_constraints() == ("max_mean_cost_usd",)
    assert (await engine.route(PromptRequest("easy"))).model == "small"


async def test_decision_ids_are_unique(engine: Engine) -> None:
    decisions = await asyncio.gather(*(engine.route(PromptRequest("easy")) for _ in range(8)))
    batch = await engine.route_batch([PromptRequest("easy")] * 5, JointConstraints())
    ids = [one.decision_id for one in (*decisions, *batch.decisions)]
    assert len(set(ids)) == 13
    assert all(one.startswith("test-") for one in ids)


@given(batch=st.lists(prompts, min_size=1, max_size=8))
async def test_a_prompt_is_decided_alike_alone_and_in_any_batch(
    artifact: Artifact, batch: list[str]
) -> None:
    engine = make_engine(artifact, max_batch=4)
    try:
        requests = [PromptRequest(prompt) for prompt in batch]
        together = await asyncio.gather(*(engine.route(one) for one in requests))
        jointly = (await engine.route_batch(requests, JointConstraints())).decisions
        for request, first, second in zip(requests, together, jointly, strict=True):
            alone = figures(await engine.route(request))
            assert figures(first) == alone
            assert figures(second) == alone
    finally:
        await engine.close(HANG_S)


async def test_a_lone_request_is_decided_on_the_loop_as_it_is_in_a_thread(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routoo.engine.engine.BRIEF_NS", int(HANG_S * 1e9))
    threads: list[threading.Thread] = []
    predict = OnnxPredictor.predict

    def recorded(*arguments: Any) -> Prediction:
        threads.append(threading.current_thread())
        return predict(*arguments)

    monkeypatch.setattr(OnnxPredictor, "predict", recorded)
    found = []
    for _ in range(3):
        found.append(figures(await engine.route(PromptRequest("hard easy"))))
        await turn()
    assert [one is threading.main_thread() for one in threads] == [False, True, True]
    assert found[0] == found[1] == found[2]
    assert (await engine.route(PromptRequest("hard " * 2000))).model
    assert threads[-1] is not threading.main_thread()
    await turn()
    monkeypatch.setattr("routoo.engine.engine.BRIEF_NS", -1)  # any decision takes longer
    assert figures(await engine.route(PromptRequest("hard easy"))) == found[0]
    assert threads[-1] is not threading.main_thread()


async def test_one_prompt_without_a_model_leaves_its_batch_mates_alone(
    engine: Engine, watched: WatchedPredictor
) -> None:
    none_left = PromptRequest("easy", constraints={"max_cost_usd": 0.0})
    bad, good = await outcomes(engine.route(none_left), engine.route(PromptRequest("easy")))
    assert len(watched.calls.items) == 1
    assert isinstance(bad, NoEligibleModelError)
    assert bad.constraint == "max_cost_usd"
    assert good.model == "small"


@pytest.mark.parametrize("field", ["allowed_models", "denied_models"])
async def test_an_unknown_model_is_refused_before_the_queue(
    engine: Engine, watched: WatchedPredictor, field: str
) -> None:
    values: dict[str, Any] = {field: ("gpt-9",)}
    request = PromptRequest("easy", constraints=values)
    with pytest.raises(InvalidRequestError, match=f"{field}: unknown model 'gpt-9'"):
        engine.route(request)
    with pytest.raises(InvalidRequestError, match=rf"requests\[1\].{field}: unknown model"):
        await engine.route_batch([PromptRequest("easy"), request], JointConstraints())
    assert watched.seen == []


async def test_a_batch_without_a_model_for_one_prompt_names_it(engine: Engine) -> None:
    requests = [
        PromptRequest("easy"),
        PromptRequest("easy", constraints={"min_score": 0.95}),
    ]
    with pytest.raises(NoEligibleModelError, match=r"^requests\[1\]: min_score 0.95") as caught:
        await engine.route_batch(requests, JointConstraints(budget_usd=1.0))
    assert caught.value.constraint == "min_score"


def with_figure(name: str, value: float) -> Callable[[Prediction], Prediction]:
    def change(prediction: Prediction) -> Prediction:
        changed = getattr(prediction, name).copy()
        changed[0, 0] = value
        return replace(prediction, **{name: changed})

    return change


WRONG_ANSWERS: dict[str, Callable[[Prediction], Prediction]] = {
    "score is not a number": with_figure("scores", np.nan),
    "score is infinite": with_figure("scores", np.inf),
    "length is not a number": with_figure("output_tokens", np.nan),
    "length is infinite": with_figure("output_tokens", np.inf),
    "length is negative": with_figure("output_tokens", -1.0),
    "too few rows": first_row_only,
    "too few columns": lambda one: replace(one, scores=one.scores[:, :2]),
    "too many columns": lambda one: replace(one, scores=np.hstack([one.scores, one.scores])),
    "flat": lambda one: replace(one, scores=one.scores.ravel()),
}


@pytest.mark.parametrize("change", WRONG_ANSWERS.values(), ids=list(WRONG_ANSWERS))
async def test_nonsense_from_a_predictor_is_its_error_and_the_next_request_works(
    engine: Engine, watched: WatchedPredictor, change: Callable[[Prediction], Prediction]
) -> None:
    watched.change = change
    requests = [PromptRequest("easy"), PromptRequest("hard")]
    for failed in await outcomes(*(engine.route(one) for one in requests)):
        assert isinstance(failed, PredictorError)
    for constraints in (JointConstraints(), JointConstraints(budget_usd=1.0)):
        (failed,) = await outcomes(engine.route_batch(requests, constraints))
        assert isinstance(failed, PredictorError)
    watched.change = lambda prediction: prediction
    assert (await engine.route(PromptRequest("easy"))).model == "small"


async def test_a_raising_predictor_fails_its_batch_only(
    engine: Engine, watched: WatchedPredictor
) -> None:
    watched.fail = [MemoryError("no room"), ValueError("broken")]
    (first,) = await outcomes(engine.route(PromptRequest("easy")))
    assert isinstance(first, MemoryError)
    (second,) = await outcomes(engine.route_batch([PromptRequest("easy")], JointConstraints()))
    assert isinstance(second, ValueError)
    assert (await engine.route(PromptRequest("easy"))).model == "small"


async def test_the_queue_is_bounded(engine: Engine, watched: WatchedPredictor) -> None:
    watched.hold()
    running = engine.route(PromptRequest("easy"))
    await watched.calls.reached(1)
    waiting = [engine.route(PromptRequest("hard")) for _ in range(8)]
    with pytest.raises(QueueFullError):
        engine.route(PromptRequest("hard"))
    watched.release()
    models = [one.model for one in await outcomes(running, *waiting)]
    assert models == ["small", *["medium"] * 8]


async def test_single_requests_slip_between_the_parts_of_a_batch(
    engine: Engine, watched: WatchedPredictor
) -> None:
    watched.hold()
    batch = asyncio.create_task(
        engine.route_batch([PromptRequest("easy")] * 12, JointConstraints(budget_usd=1.0))
    )
    await watched.calls.reached(1)
    single = asyncio.ensure_future(engine.route(PromptRequest("hard")))
    done: list[str] = []
    single.add_done_callback(lambda _: done.append("single"))
    batch.add_done_callback(lambda _: done.append("batch"))
    # The single request reaches the worker's queue before the batch's next part can.
    await turn()
    watched.release()
    await outcomes(single, batch)
    assert done == ["single", "batch"]
    assert watched.calls.items == [["easy"] * 4, ["hard"], ["easy"] * 4, ["easy"] * 4]


async def test_a_cancelled_batch_stops_after_its_part_and_harms_nobody(
    engine: Engine, watched: WatchedPredictor
) -> None:
    watched.hold()
    batch = asyncio.create_task(
        engine.route_batch([PromptRequest("easy")] * 12, JointConstraints(budget_usd=1.0))
    )
    await watched.calls.reached(1)
    single = engine.route(PromptRequest("hard"))
    batch.cancel()
    assert isinstance((await outcomes(batch))[0], asyncio.CancelledError)
    watched.release()
    assert (await outcomes(single))[0].model == "medium"
    assert watched.calls.items == [["easy"] * 4, ["hard"]]


async def test_close_lets_what_runs_finish(engine: Engine, watched: WatchedPredictor) -> None:
    watched.hold()
    single = engine.route(PromptRequest("hard"))
    await watched.calls.reached(1)
    batch = asyncio.create_task(engine.route_batch([PromptRequest("easy")], JointConstraints()))
    await turn()
    closing = asyncio.create_task(engine.close(HANG_S))
    await turn()
    with pytest.raises(DrainingError):
        engine.route(PromptRequest("easy"))
    with pytest.raises(DrainingError):
        await engine.route_batch([PromptRequest("easy")], JointConstraints())
    watched.release()
    decision, solved, in_time = await outcomes(single, batch, closing)
    assert in_time is True
    assert decision.model == "medium"
    assert [one.model for one in solved.decisions] == ["small"]


async def test_close_fails_what_hangs(engine: Engine, watched: WatchedPredictor) -> None:
    watched.hold()
    running = engine.route(PromptRequest("hard"))
    await watched.calls.reached(1)
    waiting = engine.route(PromptRequest("hard"))
    batch = asyncio.create_task(engine.route_batch([PromptRequest("easy")], JointConstraints()))
    await turn()
    assert not await engine.close(0.0)
    failed = await outcomes(running, waiting, batch)
    assert [type(one) for one in failed] == [DrainingError] * 3
    watched.release()


async def test_close_fails_a_batch_that_hangs_in_the_predictor(
    engine: Engine, watched: WatchedPredictor
) -> None:
    watched.hold()
    batch = asyncio.create_task(engine.route_batch([PromptRequest("easy")], JointConstraints()))
    await watched.calls.reached(1)
    assert not await engine.close(0.0)
    assert isinstance((await outcomes(batch))[0], DrainingError)
    watched.release()
