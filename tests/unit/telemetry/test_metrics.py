"""Metrics count decisions and calls; logs are JSON lines."""

from __future__ import annotations

import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import orjson
import pytest
import structlog

from routoo.routing.decision import DecidedBatch, Timing, Versions
from routoo.routing.estimates import Estimates
from routoo.telemetry.logs import configure_logging
from routoo.telemetry.metrics import COUNTED_TOGETHER, Metrics
from support.tiny_pool import tiny_pool


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def decided(choices: list[int], *, truncated: int = 0) -> DecidedBatch:
    """Makes a batch accepted at 0 ms and 1 ms, started at 2 ms, finished at 9 ms."""
    n = len(choices)
    figures = np.full((n, 3), 0.5)
    return DecidedBatch(
        pool=tiny_pool(),
        versions=Versions("tiny-1", "lp-0"),
        policy_versions=["lp-0"] * n,
        shadow_prices=[1.0] * n,
        couplings=[()] * n,
        decided_jointly=False,
        degraded=False,
        refused=0,
        estimates=Estimates(figures, figures, figures, figures, np.ones(n)),
        mask=np.ones((n, 3), np.bool_),
        narrowings=(),
        timing=Timing(2_000_000, 1_000_000, 3_000_000, 500_000, 9_000_000),
        accepted_ns=[0, *[1_000_000] * (n - 1)],
        choices=choices,
        reasons=[2] * n,
        eligible=[3] * n,
        scores=[0.5] * n,
        costs_usd=[0.25] * n,
        latencies_ms=[1.0] * n,
        output_tokens=[1.0] * n,
        input_tokens=[1.0] * n,
        truncated=[row < truncated for row in range(n)],
    )


def test_a_decided_batch_is_counted_prompt_by_prompt() -> None:
    metrics = Metrics()
    metrics.decided(decided([0, 2, -1, 2], truncated=2))
    assert value(metrics, "routoo_decisions_total", model="small", policy="lp") == 1
    assert value(metrics, "routoo_decisions_total", model="medium", policy="lp") is None
    assert value(metrics, "routoo_decisions_total", model="large", policy="lp") == 2
    assert value(metrics, "routoo_no_eligible_model_total") == 1
    assert value(metrics, "routoo_predicted_cost_usd_total") == 0.75
    assert value(metrics, "routoo_truncated_prompts_total") == 2
    assert value(metrics, "routoo_batch_prompts_count") == 1
    assert value(metrics, "routoo_batch_prompts_sum") == 4


@pytest.mark.parametrize("batches", [1, COUNTED_TOGETHER - 1, COUNTED_TOGETHER, 40])
def test_batches_that_wait_to_be_counted_are_counted_once_whenever_asked(batches: int) -> None:
    metrics = Metrics()
    for done in range(batches):
        metrics.decided(decided([1]))
        if done % 7 == 3:
            assert value(metrics, "routoo_batch_prompts_count") == done + 1
    for _ in range(2):
        assert value(metrics, "routoo_batch_prompts_count") == batches
        assert value(metrics, "routoo_decisions_total", model="medium", policy="lp") == batches
        assert value(metrics, "routoo_phase_seconds_count", phase="select") == batches


def test_a_large_batch_does_not_wait_to_be_counted() -> None:
    metrics = Metrics()
    large = decided([0] * 100_000)
    mask = weakref.ref(large.mask)
    metrics.decided(large)
    del large
    assert mask() is None
    assert value(metrics, "routoo_batch_prompts_sum") == 100_000


def test_batches_of_several_threads_are_counted_once() -> None:
    metrics = Metrics()
    with ThreadPoolExecutor(4) as threads:
        for _ in range(400):
            threads.submit(metrics.decided, decided([0]))
        for _ in range(20):
            threads.submit(value, metrics, "routoo_batch_prompts_count")
    assert value(metrics, "routoo_batch_prompts_count") == 400


def test_phases_are_in_seconds_and_the_queue_is_the_oldest_wait() -> None:
    metrics = Metrics()
    metrics.decided(decided([0, 1]))
    for phase, seconds in (("queue", 2e-3), ("tokenize", 1e-3), ("predict", 3e-3)):
        found = value(metrics, "routoo_phase_seconds_sum", phase=phase)
        assert found == pytest.approx(seconds)
    assert value(metrics, "routoo_phase_seconds_sum", phase="select") == pytest.approx(5e-4)


def test_calls_are_counted_by_outcome() -> None:
    metrics = Metrics()
    metrics.answered("Route", "OK", 0.001)
    metrics.answered("Route", "OK", 0.002)
    metrics.answered("Route", "INTERNAL", 0.5)
    assert value(metrics, "routoo_requests_total", rpc="Route", code="OK") == 2
    assert value(metrics, "routoo_requests_total", rpc="Route", code="INTERNAL") == 1
    assert value(metrics, "routoo_request_seconds_sum", rpc="Route") == pytest.approx(0.503)


def test_drops_are_counted_by_reason() -> None:
    metrics = Metrics()
    metrics.dropped("expired")
    assert value(metrics, "routoo_dropped_requests_total", reason="expired") == 1
    assert value(metrics, "routoo_dropped_requests_total", reason="cancelled") is None


def test_the_state_of_the_service_is_shown() -> None:
    metrics = Metrics()
    assert value(metrics, "routoo_serving") == 0
    metrics.started({"version": "1.2.3"}, lambda: 7.5)
    assert value(metrics, "routoo_serving") == 1
    assert value(metrics, "routoo_shadow_price") == 7.5
    assert value(metrics, "routoo_build_info", version="1.2.3") == 1
    metrics.draining()
    assert value(metrics, "routoo_serving") == 0


def test_the_queues_depth_is_read_when_it_is_scraped() -> None:
    metrics = Metrics()
    waiting = [1, 2, 3]
    metrics.watch_queue(lambda: len(waiting))
    assert value(metrics, "routoo_queue_depth") == 3
    waiting.clear()
    assert value(metrics, "routoo_queue_depth") == 0


def test_two_services_in_one_process_do_not_share_metrics() -> None:
    first, second = Metrics(), Metrics()
    first.dropped("expired")
    assert value(second, "routoo_dropped_requests_total", reason="expired") is None


def test_logs_are_json_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    before = structlog.get_config()
    try:
        configure_logging("info")
        log = structlog.get_logger("routoo.test")
        log.debug("not shown")
        log.info("shown", calls=3)
        log.error("failed", exc_info=ValueError("the\ndetail"))
    finally:
        structlog.configure(**before)
    output = capsys.readouterr()
    assert output.out == ""
    lines = [orjson.loads(line) for line in output.err.splitlines()]
    shown, failed = (line for line in lines if line["event"] in ("shown", "not shown", "failed"))
    assert (shown["event"], failed["event"]) == ("shown", "failed")
    assert shown["calls"] == 3
    assert shown["level"] == "info"
    assert shown["timestamp"].endswith("Z")
    # The error's text might quote a prompt.
    assert failed["exception"] == "builtins.ValueError"
