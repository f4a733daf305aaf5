"""The tracker: names, arms, what is counted and logged, and what a reload keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from routoo.config.sections.health import HealthSettings
from routoo.engine.health.tracker import ProviderHealth
from routoo.routing.health.breakers import BreakerState
from routoo.routing.health.failures import Cause, ProviderFailure
from routoo.routing.outcome import OutcomeReport
from routoo.routing.pool import Pool, parse_pool
from routoo.telemetry.health_metrics import HealthCounts, HealthMetrics

if TYPE_CHECKING:
    from routoo.routing.health.overview import UnitHealth

BROKEN = ProviderFailure(Cause.SERVER_ERROR)
MODEL = """
  - {{name: {name}, usd_per_1m_input_tokens: 1, usd_per_1m_output_tokens: 2, price_status: assumed,
     context_window_tokens: 1000, time_to_first_token_ms: 1, time_per_output_token_ms: 1{more}}}"""
ARMS = ", arms: [{name: low, effort: low}, {name: high, effort: high}]"


def pool(*names: str, **more: str) -> Pool:
    """A pool of models by their names."""
    texts = [MODEL.format(name=name, more=more.get(name.partition("/")[2], "")) for name in names]
    return parse_pool("models:" + "".join(texts), "test")


@dataclass
class Clock:
    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


def tracker(models: Pool, clock: Clock | None = None, **settings: Any) -> ProviderHealth:
    return ProviderHealth(
        HealthSettings(**settings),
        models,
        HealthCounts(CollectorRegistry()),
        clock_s=clock or Clock(),
        random=np.random.default_rng(1),
    )


def fail(health: ProviderHealth, *models: str) -> None:
    for model in models:
        for _ in range(3):
            health.failed(model, BROKEN)


def state_of(health: ProviderHealth, model: str) -> UnitHealth:
    return next(one for one in health.overview().models if one.model == model)


def test_all_columns_of_a_model_are_left_out_and_those_of_others_stay() -> None:
    health = tracker(pool("a/x", "b/y", "a/z", x=ARMS))
    assert health.is_well
    assert health.rows(3) is None
    fail(health, "a/x")
    assert not health.is_well
    rows = health.rows(3)
    assert rows is not None
    assert rows.mask.tolist() == [[False, False, True, True]] * 3


def test_models_of_a_provider_fail_together_and_those_without_one_alone() -> None:
    health = tracker(pool("a/x", "a/y", "lone", "alone"))
    fail(health, "a/x", "a/y", "lone")
    overview = health.overview()
    assert [one.state.label for one in overview.models] == ["open", "open", "open", "closed"]
    assert [(one.provider, one.state.label) for one in overview.providers] == [("a", "open")]


def test_a_model_that_the_pool_lacks_changes_nothing() -> None:
    health = tracker(pool("a/x"))
    for _ in range(9):
        health.failed("a/other", BROKEN)
        health.worked("a/other")
        health.refused("a/other")
    assert health.is_well


def test_a_provider_is_named_in_the_pool_or_by_the_first_part_of_the_name() -> None:
    health = tracker(pool("maker/x", "maker/y", x=", provider: seller"))
    assert [one.provider for one in health.overview().models] == ["seller", "maker"]


def test_what_is_known_of_a_model_stays_over_a_reload_and_nothing_else() -> None:
    clock = Clock()
    health = tracker(pool("a/x", "a/y", "b/z"), clock)
    fail(health, "a/x", "b/z")
    new = health.succeeded_by(pool("b/new", "a/y", "a/x"), HealthSettings())
    assert not new.is_well
    assert [one.state.label for one in new.overview().models] == ["closed", "closed", "open"]
    moved = health.succeeded_by(pool("a/x", x=", provider: c"), HealthSettings())
    assert moved.is_well
    fail(new, "a/y")
    assert new.overview().providers[1].state is BreakerState.OPEN


def test_a_reload_ends_no_pause_before_its_time() -> None:
    clock = Clock()
    health = tracker(pool("a/x", "b/y"), clock)
    fail(health, "a/x")
    health.rows(10_000)  # so many that a probe of one would have been one of many
    fail(health, "b/y")
    clock.now_s += 1.0
    assert health.rows(1) is not None
    fail(health, "b/y")  # the probe, after which the pause is of two seconds
    clock.now_s += 1.0
    new = health.succeeded_by(pool("a/x", "b/y"), HealthSettings())
    assert new.rows(1) is not None
    assert state_of(new, "b/y").state is BreakerState.OPEN


def test_probes_on_their_way_are_counted_by_the_columns_that_were_chosen() -> None:
    clock = Clock()
    health = tracker(pool("a/x", "b/y", x=ARMS), clock)
    fail(health, "a/x")
    clock.now_s += 1.0
    rows = health.rows(4)
    assert rows is not None
    assert rows.mask[:, 1].sum() == 1
    health.asked([2, 2, -1, 2], rows)
    assert (again := health.rows(4)) is not None
    assert again.mask[:, 1].sum() == 1
    health.asked([2, 1, -1, 2], rows)
    assert (after := health.rows(4)) is not None
    assert after.mask[:, 1].sum() == 0


def test_all_is_well_again_by_time_alone() -> None:
    clock = Clock()
    health = tracker(pool("a/x", "b/y"), clock)
    fail(health, "a/x")
    clock.now_s += 1.0
    assert health.rows(1) is not None
    health.worked("a/x")
    assert state_of(health, "a/x").state is BreakerState.RISING
    clock.now_s += 3.0
    assert health.rows(1) is None
    assert health.is_well


def test_reports_of_tenants_count_unless_the_settings_say_no() -> None:
    outcome = OutcomeReport("d", error="HTTP status 500", tenant="acme", failure=BROKEN)
    health = tracker(pool("a/x"))
    for _ in range(3):
        health.reported(outcome, "a/x", None)
    assert not health.is_well
    careful = tracker(pool("a/x"), tenants_report=False)
    for _ in range(9):
        careful.reported(outcome, "a/x", None)
    assert careful.is_well


def test_an_error_of_the_callers_own_is_no_failure() -> None:
    health = tracker(pool("a/x"))
    for _ in range(9):
        health.reported(OutcomeReport("d", error="HTTP status 400"), "a/x", None)
    assert health.is_well


def test_a_refused_key_counts_unless_callers_bring_their_own() -> None:
    refused = ProviderFailure(Cause.CREDENTIALS)
    for counts in (True, False):
        health = tracker(pool("a/x", "a/y"), credentials=counts)
        for _ in range(3):
            health.failed("a/x", refused)
        assert health.is_well is not counts


def test_an_opening_and_a_closing_is_logged_and_counted() -> None:
    clock = Clock()
    health = tracker(pool("a/x", "b/y"), clock, slow_start_s=0)
    with capture_logs() as logs:
        fail(health, "a/x")
        clock.now_s += 1.0
        health.worked("a/x")
    assert [(one["event"], one["log_level"], one["model"]) for one in logs] == [
        ("left out, as it fails", "warning", "a/x"),
        ("answers again", "info", "a/x"),
        ("gets all requests again", "info", "a/x"),
    ]
    assert logs[0]["cause"] == "server_error"
    assert logs[0]["pause_s"] == 1.0
    counts = health.counts
    labels = ("a", "a/x", "server_error")
    assert counts.failures.labels(*labels)._value.get() == 3
    assert counts.opens.labels(*labels)._value.get() == 1


def test_the_gauge_shows_the_share_that_may_go_there() -> None:
    health = tracker(pool("a/x", "a/y", "b/z"))
    fail(health, "a/x")
    registry = CollectorRegistry()
    registry.register(HealthMetrics(health.overview))

    def gauge(provider: str, model: str) -> float | None:
        labels = {"provider": provider, "model": model}
        return registry.get_sample_value("routoo_provider_health", labels)

    assert [gauge("a", "a/x"), gauge("a", "a/y"), gauge("a", "")] == [0.0, 1.0, 1.0]
    nobody = CollectorRegistry()
    nobody.register(HealthMetrics(lambda: None))
    assert list(nobody.collect()) == []
