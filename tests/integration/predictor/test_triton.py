"""The predictor on a real Triton server answers rightly, and wrong configurations are refused."""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from routoo.config.loading import load_settings
from routoo.config.sections.predictor import PredictorSettings
from routoo.engine.batcher import BatchWait
from routoo.errors import ConfigError, DeadlineError, PredictorError
from routoo.predictor.artifact import load_artifact, shipped_artifact
from routoo.predictor.chain import Watch
from routoo.predictor.manager import Predictors
from routoo.predictor.triton_check import MOST_ROWS
from routoo.routing.pool import load_pool
from routoo.server.assembly import check
from routoo.server.service import Service
from support.artifacts.tiny_artifact import SCORES, TOKENS, write_tiny_artifact
from support.artifacts.tiny_table_artifact import MODELS, write_tiny_table_artifact
from support.peers.real_triton import (
    Triton,
    add_table_version,
    add_version,
    make_moody,
    real_triton,
)
from support.processes.process import write_tiny_config
from support.tiny_pool import LARGE
from support.tiny_service import serving, table_settings, tiny_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from routoo.predictor.triton import TritonPredictor

FIGURES = (
    "scores",
    "output_tokens",
    "score_std",
    "ood",
    "tasks",
    "evidence",
    "averages",
    "input_tokens",
    "truncated",
)
EXTRA = {**LARGE, "name": "extra"}
# Tests wait as long for a server that does not answer; a request has to reach it in that time.
SOON_MS = 5000
PROMPTS = ["easy", "hard", "easy hard", "long " * 20, *["hard"] * 30]


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """Yields a server with the tiny artifact and a settable mood; it takes 8 prompts at once."""
    repository = tmp_path_factory.mktemp("triton") / "repository"
    make_moody(add_version(repository, 1, max_batch=8, uncertain=True))
    with real_triton(repository) as running:
        yield running


@pytest.fixture
def mood(triton: Triton) -> Iterator[Path]:
    """Yields the file that sets the server's mood; afterwards the mood is good again."""
    path = triton.artifact / "mood"
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture
def held(triton: Triton, mood: Path) -> Iterator[dict[str, Future[str]]]:
    """Yields the messages of the server in the mood "held": "held", and then "cancelled"."""
    fifos = {name: triton.artifact / name for name in ("held", "cancelled")}
    ends = {}
    for name, fifo in fifos.items():
        fifo.unlink(missing_ok=True)
        os.mkfifo(fifo)
        # Open for both, so that a second message blocks the server no more than the first one.
        ends[name] = os.open(fifo, os.O_RDWR)

    def read(name: str) -> str:
        return os.read(ends[name], len(name)).decode()

    with ThreadPoolExecutor(2) as executor:
        yield {name: executor.submit(read, name) for name in ends}
        mood.unlink(missing_ok=True)
        for name, end in ends.items():
            os.write(end, b"\n")  # ends a reader that still waits
            fifos[name].unlink()
    for end in ends.values():
        os.close(end)


def section(triton: Triton, **changes: Any) -> dict[str, Any]:
    """Returns the section ``predictor`` for the server; ``changes`` apply to ``triton``."""
    # A long timeout, as a shared machine may stall; these tests are not about slow servers.
    server = {"url": triton.url, "timeout_ms": 60_000, **changes}
    return {"backend": "triton", "artifact": triton.artifact, "triton": server}


@pytest.fixture
def predictors(triton: Triton) -> Iterator[Predictors]:
    settings = PredictorSettings.model_validate(section(triton, failures=1))
    built = Predictors(settings, load_artifact(triton.artifact), Watch())
    built.chain.warm_up()
    yield built
    built.close()


@pytest.fixture
def remote(predictors: Predictors) -> TritonPredictor:
    assert predictors.chain.line.remote is not None
    return predictors.chain.line.remote


def test_it_answers_bit_for_bit_as_in_process(predictors: Predictors) -> None:
    far = predictors.chain.predict(PROMPTS)
    near = predictors.chain.line.local[0].predict(PROMPTS)
    assert (far.served_by, far.version, far.degraded) == ("triton", "tiny-1+triton.1", False)
    for name in ("scores", "output_tokens", "score_std", "ood", "input_tokens", "truncated"):
        np.testing.assert_array_equal(getattr(far, name), getattr(near, name))
    assert far.ood is not None
    assert far.ood.shape == (len(PROMPTS),)


def test_what_the_server_did_is_read_when_it_is_taken(
    predictors: Predictors, remote: TritonPredictor
) -> None:
    before = remote.statistics
    assert before is not None
    remote.predict(PROMPTS)
    remote.verify(predictors.chain.line.sample)
    after = remote.statistics
    assert after is not None
    assert after.version == before.version == 1
    # The server takes at most eight prompts at once, so a batch takes several runs.
    assert after.inferences >= before.inferences + len(PROMPTS)
    assert after.executions > before.executions + 1
    assert after.computing_ms > 0.0


def test_the_shipped_predictor_runs_on_it(tmp_path: Path) -> None:
    repository = shipped_artifact().parents[1]
    copy = ("--copy", str(tmp_path / "copy"))
    with real_triton(repository, *copy, log=tmp_path / "triton.log") as running:
        settings = PredictorSettings.model_validate(
            {"backend": "triton", "triton": {"url": running.url, "timeout_ms": 60_000}}
        )
        models = load_pool().predictor_names
        built = Predictors(settings, load_artifact(shipped_artifact()), Watch(), models=models)
        try:
            built.chain.warm_up()
            prompts = ["What is 2 + 2?", "Prove the four colour theorem. " * 40, "\u4f60\u597d"]
            far = built.chain.predict(prompts)
            assert far.served_by == "triton"
            near = built.chain.line.local[0].predict(prompts)
            assert near.scores.shape == (3, len(models))
            for name in FIGURES:
                np.testing.assert_array_equal(getattr(far, name), getattr(near, name))
        finally:
            built.close()


@pytest.fixture(scope="session")
def table_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """Yields a server with a graph that is given its models' rows."""
    repository = tmp_path_factory.mktemp("triton") / "tables"
    add_table_version(repository, 1)
    with real_triton(repository) as running:
        yield running


@contextmanager
def of_models(triton: Triton, models: Sequence[str]) -> Iterator[Predictors]:
    """Yields the predictors of a pool of these models."""
    settings = PredictorSettings.model_validate(section(triton, failures=1))
    built = Predictors(settings, load_artifact(triton.artifact), Watch(), models=models)
    try:
        built.chain.warm_up()
        yield built
    finally:
        built.close()


def test_a_pool_s_models_come_and_go_without_a_change_of_the_server(table_triton: Triton) -> None:
    # More prompts than one request takes, of several lengths, and some with a told task.
    prompts = [*PROMPTS, "code " * 300] * 35
    told = ["math", *[""] * (len(prompts) - 1)]
    assert len(prompts) > MOST_ROWS
    scores = {}
    for models in (("small", "large"), ("small", "large", "extra")):
        with of_models(table_triton, models) as built:
            far = built.chain.predict(prompts, None, told)
            near = built.chain.line.local[0].predict(prompts, None, told)
            assert (far.served_by, far.degraded) == ("triton", False)
            assert far.version.endswith("+triton.1")
            for name in FIGURES:
                np.testing.assert_array_equal(getattr(far, name), getattr(near, name))
            assert far.scores.shape == (len(prompts), len(models))
            assert far.tasks is not None
            assert far.task_names[int(far.tasks[0].argmax())] == "math"
            scores[models] = far.scores
    fewer, more = scores.values()
    np.testing.assert_array_equal(more[:, :2], fewer)


async def test_a_reload_adds_a_model_that_the_server_s_graph_has_never_seen(
    table_triton: Triton, tmp_path: Path
) -> None:
    # The service has a table of its own, without "extra" at first; the graph is the server's.
    write_tiny_table_artifact(tmp_path / "1", models=MODELS[:3])
    predictor = {**section(table_triton), "artifact": tmp_path / "1"}
    best = {"predictor": predictor, "policy": {"name": "best"}}
    async with serving(table_settings(tmp_path, **best)) as running:
        before = await running.route("math")
        assert before.model == "large"
        assert before.predictor_version.endswith("+triton.1")
        write_tiny_table_artifact(tmp_path / "1")
        more = table_settings(tmp_path, EXTRA, **best)
        assert await running.service.reloader.start(lambda: more) == "switched"
        after = await running.route("math")
        assert after.model == "extra"
        assert after.predictor_version.endswith("+triton.1")
        assert after.predictor_version != before.predictor_version
        assert not after.degraded


async def test_a_reply_names_who_served_it(triton: Triton, tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path, predictor=section(triton))) as running:
        reply = await running.route("hard")
        assert (reply.model, reply.predictor_version) == ("large", "tiny-1+triton.1")
        assert not reply.degraded
        batch = await running.batch(["easy", "hard"], budget_usd=1.0)
        assert {one.predictor_version for one in batch.responses} == {"tiny-1+triton.1"}
        count = running.service.metrics.registry.get_sample_value
        assert count("routoo_predictor_prompts_total", {"backend": "triton"}) == 3
        assert count("routoo_predictor_up", {"backend": "triton"}) == 1


def wrong_order(version: Path) -> None:
    write_tiny_artifact(version, scores=SCORES[:, ::-1].copy(), uncertain=True)


def certain(version: Path) -> None:
    write_tiny_artifact(version)


MISTAKES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "other order": (
        wrong_order,
        {},
        "answers otherwise than tiny-1 here: 0.25 apart, 0.02 allowed",
    ),
    "other outputs": (
        certain,
        {},
        "its outputs are ['ood', 'output_tokens', 'score_std', 'scores']",
    ),
    "other model": (None, {"model": "preditcor"}, "is not ready; load it there, or correct"),
    "other version": (None, {"version": 7}, "has version 1 ready, the artifact is version 7"),
}


@pytest.mark.parametrize(("spoil", "changes", "piece"), MISTAKES.values(), ids=list(MISTAKES))
async def test_a_server_with_something_else_stops_the_start(
    triton: Triton, tmp_path: Path, spoil: Any, changes: dict[str, Any], piece: str
) -> None:
    artifact = tmp_path / "1"
    write_tiny_artifact(artifact, uncertain=True)
    if spoil is not None:
        spoil(artifact)
    values = section(triton, **changes)
    config = write_tiny_config(
        tmp_path,
        predictor={**values, "artifact": str(artifact), "triton": values["triton"]},
    )
    with pytest.raises(ConfigError) as started:
        await Service.start(load_settings(config))
    line = str(started.value)
    assert line.startswith(f"model {changes.get('model', 'predictor')} on Triton at {triton.url} ")
    assert piece in line
    assert "\n" not in line
    with pytest.raises(ConfigError) as checked:
        check(load_settings(config))
    assert str(checked.value) == line


def test_check_says_where_it_would_predict(triton: Triton, tmp_path: Path) -> None:
    findings = check(tiny_settings(tmp_path, predictor=section(triton)))
    assert "predictor: tiny-1+triton.1 on triton, 3 models" in findings
    away = check(tiny_settings(tmp_path, predictor=section(triton, url="127.0.0.1:1")))
    assert "predictor: tiny-1 on onnx-cpu, 3 models" in away
    assert "warning: Triton at 127.0.0.1:1 does not answer" in away


@pytest.mark.parametrize("word", ["nan", "short", "fail"])
def test_nonsense_from_the_server_is_answered_in_process(
    predictors: Predictors, mood: Path, word: str
) -> None:
    mood.write_text(word)
    prediction = predictors.chain.predict(["hard"])
    assert prediction.scores.tolist() == [SCORES[3].tolist()]
    assert prediction.output_tokens.tolist() == [TOKENS[3].tolist()]
    assert (prediction.version, prediction.degraded) == ("tiny-1", True)


def test_what_is_slow_is_given_up_and_answered_in_process(
    triton: Triton, held: dict[str, Future[str]]
) -> None:
    settings = PredictorSettings.model_validate(section(triton, timeout_ms=SOON_MS, failures=9))
    built = Predictors(settings, load_artifact(triton.artifact), Watch())
    try:
        built.chain.line.remote.verify(built.chain.line.sample, patience_s=60.0)  # type: ignore[union-attr]
        (triton.artifact / "mood").write_text("held")
        assert built.chain.predict(["hard"]).version == "tiny-1"
        # One timeout is enough. The call carried its deadline, so the server cancelled it, too.
        assert built.chain.degraded
        assert held["cancelled"].result(HANG_S) == "cancelled"
    finally:
        built.close()


def test_what_nobody_waits_for_is_cancelled_on_the_server(
    remote: TritonPredictor, mood: Path, held: dict[str, Future[str]]
) -> None:
    mood.write_text("held")
    wait = BatchWait()
    with ThreadPoolExecutor(1) as executor:
        asking = executor.submit(remote.predict, ["hard"], wait)
        held["held"].result(HANG_S)
        wait.abandon()
        with pytest.raises(DeadlineError):
            asking.result(HANG_S)
    assert held["cancelled"].result(HANG_S) == "cancelled"


async def test_callers_who_leave_take_their_call_to_the_server_with_them(
    triton: Triton, tmp_path: Path, mood: Path, held: dict[str, Future[str]]
) -> None:
    async with serving(tiny_settings(tmp_path, predictor=section(triton))) as running:
        mood.write_text("held")  # noqa: ASYNC240 - a word
        calls = [asyncio.ensure_future(running.route("hard")) for _ in range(3)]
        await asyncio.wrap_future(held["held"])
        for call in calls:
            call.cancel()
        assert await asyncio.wrap_future(held["cancelled"]) == "cancelled"
        mood.write_text("good")  # noqa: ASYNC240
        reply = await running.route("hard")
        assert (reply.predictor_version, reply.degraded) == ("tiny-1+triton.1", False)


def test_no_time_left_is_no_reason_to_ask(remote: TritonPredictor) -> None:
    with pytest.raises(PredictorError) as caught:
        remote.predict(["hard"], BatchWait(deadline_s=0.0))
    assert caught.value.kind == "deadline"


def test_callers_in_a_hurry_do_not_open_the_circuit_at_once(
    triton: Triton, mood: Path, held: dict[str, Future[str]]
) -> None:
    settings = PredictorSettings.model_validate(section(triton))
    built = Predictors(settings, load_artifact(triton.artifact), Watch())
    try:
        built.chain.warm_up()
        mood.write_text("held")
        prediction = built.chain.predict(
            ["hard"], BatchWait(deadline_s=monotonic() + 2e-3 * SOON_MS)
        )
        assert (prediction.version, prediction.degraded) == ("tiny-1", True)
        assert held["cancelled"].result(HANG_S) == "cancelled"
        assert not built.chain.degraded
    finally:
        built.close()


async def test_without_the_client_library_the_start_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tritonclient", None)
    artifact = write_tiny_artifact(tmp_path / "predictor")
    predictor = {"backend": "triton", "artifact": artifact}
    with pytest.raises(ConfigError, match="install the triton extra"):
        await Service.start(tiny_settings(tmp_path, predictor=predictor))


@pytest.mark.parametrize(
    ("predictor", "piece"),
    [
        ({"triton": {"url": "http://triton:8001"}}, "has to be HOST:PORT of Triton's gRPC"),
        ({"backend": "triton", "fallbacks": []}, "backend triton needs fallbacks"),
        ({"fallbacks": ["onnx"]}, "fallbacks of backend onnx can only be [prior] or []"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    tmp_path: Path, predictor: dict[str, Any], piece: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        tiny_settings(tmp_path, predictor=predictor)
    assert piece in str(caught.value)
