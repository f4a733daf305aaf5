"""Breakers: what opens them, how they come back, and what holds whatever happens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from routoo.config.sections.health import HealthSettings
from routoo.routing.health.breakers import FIRST_SHARE, Breakers, BreakerState
from routoo.routing.health.failures import Cause, ProviderFailure

LIMITED = ProviderFailure(Cause.RATE_LIMITED)
BROKEN = ProviderFailure(Cause.SERVER_ERROR)
REFUSED = ProviderFailure(Cause.CONNECTION)
GONE = ProviderFailure(Cause.GONE)
CLOSED, OPEN, HALF_OPEN, RISING = BreakerState


def breakers(*provider_of: int, **settings: Any) -> Breakers:
    """Breakers of models by their providers."""
    made = HealthSettings(**settings)
    return Breakers(made, np.array(provider_of, np.intp), max(provider_of) + 1)


def random() -> np.random.Generator:
    return np.random.default_rng(7)


def allowed(found: Breakers, now_s: float, n: int = 1) -> list[int]:
    """How many of n requests may go to each model."""
    counts: list[int] = found.admit(n, now_s, random()).mask.sum(axis=0).tolist()
    return counts


def opened(*provider_of: int, **settings: Any) -> Breakers:
    """Breakers of which that of model 0 has opened at 100 s."""
    found = breakers(*provider_of, **settings)
    for _ in range(found._settings.failures):
        found.failed(0, BROKEN, 100.0)
    assert found.states[0] == OPEN
    return found


def test_three_failures_in_a_row_leave_a_model_out_and_two_do_not() -> None:
    found = breakers(0, 1)
    found.failed(0, BROKEN, 1.0)
    found.failed(0, BROKEN, 1.0)
    assert found.all_closed
    found.worked(0, 1.0)
    found.failed(0, BROKEN, 1.0)
    found.failed(0, BROKEN, 1.0)
    assert found.all_closed
    found.failed(0, BROKEN, 1.0)
    assert found.states[:2].tolist() == [OPEN, CLOSED]
    assert allowed(found, 1.0, 5) == [0, 5]


def test_one_failure_among_thousands_changes_nothing() -> None:
    found = breakers(0, 1)
    for _ in range(3000):
        found.worked(0, 1.0)
    found.failed(0, BROKEN, 1.0)
    assert found.all_closed


def test_a_share_of_failures_leaves_a_model_out_though_never_three_in_a_row() -> None:
    found = breakers(0, 1)
    reports = 0
    while found.all_closed:
        reports += 2
        found.worked(0, 1.0)
        found.failed(0, BROKEN, 1.0)
    assert reports == 20


def test_old_reports_fade_from_the_share() -> None:
    found = breakers(0, 1, window_s=1.0)
    for second in range(100):
        found.failed(0, BROKEN, 10.0 * second)
        found.worked(0, 10.0 * second)
    assert found.all_closed


@pytest.mark.parametrize("cause", [Cause.RATE_LIMITED, Cause.SERVER_ERROR])
def test_a_provider_that_tells_when_to_come_back_is_left_alone_till_then(cause: Cause) -> None:
    found = breakers(0, 1)
    found.failed(0, ProviderFailure(cause, 7.0), 100.0)
    assert allowed(found, 106.9, 1000) == [0, 1000]
    assert allowed(found, 107.0, 1000) == [1, 1000]


def test_a_retry_after_of_a_year_is_bounded() -> None:
    found = breakers(0, 1, max_retry_after_s=300.0)
    found.failed(0, ProviderFailure(Cause.RATE_LIMITED, 86_400.0 * 365), 100.0)
    assert allowed(found, 399.0) == [0, 1]
    assert allowed(found, 400.0) == [1, 1]


def test_a_pause_doubles_and_ends_with_a_probe() -> None:
    found = opened(0, 1, open_s=1.0, max_open_s=5.0)
    now_s = 100.0
    for pause_s in (1.0, 2.0, 4.0, 5.0, 5.0):
        assert allowed(found, now_s + pause_s - 0.01) == [0, 1]
        now_s += pause_s
        assert allowed(found, now_s) == [1, 1]
        found.asked([0], now_s)
        found.failed(0, BROKEN, now_s)
        assert found.states[0] == OPEN


def test_a_pause_ends_early_where_a_probe_is_one_of_many_requests() -> None:
    found = opened(0, 1, open_s=1.0, max_open_s=100.0, probe_share=0.01)
    for _ in range(5):
        found.asked([0], 101.0)
        found.failed(0, BROKEN, 101.0)
        found.admit(1, 101.0, random())
    found = opened(0, 1, open_s=8.0, max_open_s=8.0, probe_share=0.01)
    found.admit(99, 107.0, random())
    assert allowed(found, 107.9) == [0, 1]
    found = opened(0, 1, open_s=1.0, max_open_s=100.0, probe_share=0.01)
    found.admit(1, 101.0, random())
    found.failed(0, BROKEN, 101.0)  # the pause is 2 s now
    assert allowed(found, 102.5, 99) == [0, 99]
    assert found.admit(1, 102.5, random()).mask[0, 0] == 0
    assert found.admit(1, 102.5, random()).mask[0, 0] == 1


def test_of_many_requests_one_is_a_probe_until_it_is_answered() -> None:
    found = opened(0, 1)
    assert allowed(found, 101.0, 64) == [1, 64]
    assert allowed(found, 101.0, 64) == [1, 64]  # the first one went elsewhere
    found.asked([0], 101.0)
    assert allowed(found, 102.0, 64) == [0, 64]
    found.answered(0, 102.0)  # 400: it tells nothing
    assert allowed(found, 102.0, 64) == [1, 64]
    found.asked([0], 102.0)
    found.worked(0, 103.0)
    assert found.states[0] == RISING


def test_a_probe_of_which_nothing_is_heard_makes_room_for_the_next() -> None:
    found = breakers(0, 1, probe_timeout_s=60.0)
    found.worked(1, 1.0)
    for _ in range(3):
        found.failed(0, BROKEN, 100.0)
    assert allowed(found, 101.0) == [1, 1]
    found.asked([0], 101.0)
    assert allowed(found, 160.9) == [0, 1]
    assert allowed(found, 161.0) == [1, 1]


def test_silence_lets_a_model_in_where_nobody_reports_success() -> None:
    found = opened(0, 1, probe_timeout_s=60.0)
    assert allowed(found, 101.0) == [1, 1]
    found.asked([0], 101.0)
    assert allowed(found, 161.0, 1000)[0] < 500
    assert found.states[0] == RISING


def test_the_share_rises_after_a_recovery_to_all_requests() -> None:
    found = opened(0, 1, slow_start_s=10.0)
    found.advance(101.0)
    found.worked(0, 101.0)
    shares = [allowed(found, 101.0 + after_s, 10_000)[0] / 10_000 for after_s in (0, 5, 9.9)]
    assert shares == pytest.approx([FIRST_SHARE, 0.55, 0.99], abs=0.02)
    assert allowed(found, 111.0, 10) == [10, 10]
    assert found.all_closed


def test_without_a_slow_start_all_requests_come_back_at_once() -> None:
    found = opened(0, 1, slow_start_s=0.0)
    found.advance(101.0)
    found.worked(0, 101.0)
    assert found.all_closed


def test_reports_of_requests_from_before_tell_nothing_of_what_comes_after() -> None:
    found = opened(0, 1)
    found.worked(0, 102.0, asked_s=90.0)  # a long stream that began before
    assert found.states[0] == HALF_OPEN
    found.failed(0, BROKEN, 102.0, asked_s=99.0)  # a time-out from then
    assert found.states[0] == HALF_OPEN
    found.worked(0, 102.5, asked_s=102.0)
    for _ in range(5):
        found.failed(0, BROKEN, 103.0, asked_s=99.0)
    assert found.states[0] == RISING
    for _ in range(3):
        found.failed(0, BROKEN, 103.0, asked_s=102.9)
    assert found.states[0] == OPEN


def test_a_request_that_went_there_all_the_same_may_show_that_it_works() -> None:
    found = opened(0, open_s=4.0)
    found.worked(0, 101.0, asked_s=100.5)
    assert found.states[0] == OPEN  # too early to believe it
    found.worked(0, 104.0, asked_s=103.0)
    assert found.states[0] == RISING


def test_failures_to_connect_leave_the_whole_provider_out() -> None:
    found = breakers(0, 0, 1)
    for _ in range(3):
        found.failed(0, REFUSED, 100.0)
    assert allowed(found, 100.0, 9) == [0, 0, 9]
    assert allowed(found, 101.0, 9) == [1, 1, 9]
    found.asked([1], 101.0)
    assert allowed(found, 101.0, 9) == [0, 0, 9]
    found.worked(1, 102.0)
    assert found.states.tolist() == [CLOSED, CLOSED, CLOSED, RISING, CLOSED]


def test_a_provider_whose_models_all_fail_is_out_and_comes_back_with_one_probe() -> None:
    found = breakers(0, 0, 1)
    for model in (0, 1):
        for _ in range(3):
            found.failed(model, BROKEN, 100.0)
    assert found.states.tolist() == [OPEN, OPEN, CLOSED, OPEN, CLOSED]
    assert allowed(found, 101.0, 9) == [1, 1, 9]
    found.asked([0], 101.0)
    found.failed(0, BROKEN, 101.5)
    assert found.states[3] == OPEN
    assert allowed(found, 103.5, 9) == [1, 1, 9]
    found.asked([0], 103.5)
    found.worked(0, 104.0)
    assert found.states.tolist() == [CLOSED, CLOSED, CLOSED, RISING, CLOSED]


def test_a_model_that_is_gone_says_nothing_of_its_provider() -> None:
    found = breakers(0, 0)
    for model in (0, 1):
        for _ in range(3):
            found.failed(model, GONE, 100.0)
    assert found.states.tolist() == [OPEN, OPEN, CLOSED]


def test_a_model_with_a_wish_to_wait_stays_out_when_its_provider_comes_back() -> None:
    found = breakers(0, 0)
    found.failed(0, ProviderFailure(Cause.RATE_LIMITED, 60.0), 100.0)
    for _ in range(3):
        found.failed(1, BROKEN, 100.0)
    assert found.states.tolist() == [OPEN, OPEN, OPEN]
    assert allowed(found, 101.0) == [0, 1]
    found.asked([1], 101.0)
    found.worked(1, 101.5)
    assert found.states.tolist() == [OPEN, CLOSED, RISING]


def test_a_clock_that_goes_back_or_is_no_number_stands_still() -> None:
    found = opened(0, 1)
    assert allowed(found, 101.0) == [1, 1]
    for now_s in (5.0, float("nan"), float("-inf")):
        assert allowed(found, now_s) == [1, 1]
    found.failed(0, BROKEN, float("nan"))
    assert allowed(found, 102.9) == [0, 1]


def test_the_same_draws_let_the_same_requests_in() -> None:
    masks = []
    for _ in range(2):
        found = opened(0, 1)
        found.advance(101.0)
        found.worked(0, 101.0)
        masks.append(found.admit(50, 102.0, random()).mask)
    assert np.array_equal(*masks)


@pytest.mark.parametrize("failure", [BROKEN, REFUSED, ProviderFailure(Cause.RATE_LIMITED, 1.0)])
@pytest.mark.parametrize(("per_s", "back_s"), [(50, 42), (400, 40)])
def test_an_outage_costs_few_requests_and_ends_soon(
    failure: ProviderFailure, per_s: int, back_s: int
) -> None:
    """All requests want model 0, which is down from 15 s to 35 s; reports come 50 ms later."""
    found, draws = breakers(0, 0, 1), random()
    reports: list[tuple[float, float]] = []
    sent_s: list[float] = []
    for step in range(60 * per_s):
        now_s = step / per_s
        while reports and reports[0][0] <= now_s:
            asked_s = reports.pop(0)[1]
            if 15.0 <= asked_s < 35.0:
                found.failed(0, failure, now_s, asked_s)
            else:
                found.worked(0, now_s, asked_s)
        if found.admit(1, now_s, draws).mask[0, 0]:
            found.asked([0], now_s)
            sent_s.append(now_s)
            reports.append((now_s + 0.05, now_s))
    at = np.array(sent_s)
    down = np.count_nonzero((at >= 17.0) & (at < 35.0)) / (18 * per_s)
    assert down < 0.01
    assert np.count_nonzero(at >= 35.0) > np.count_nonzero(at >= 40.0)
    assert np.count_nonzero(at >= back_s) == (60 - back_s) * per_s


FAILURES = st.builds(
    ProviderFailure,
    st.sampled_from([cause for cause in Cause if cause is not Cause.NONE]),
    st.none() | st.floats(0.1, 1e9),
)


class Outages(RuleBasedStateMachine):
    """Reports, choices and time in any order, judged by what has to hold all the time."""

    @initialize(
        provider_of=st.lists(st.integers(0, 2), min_size=1, max_size=5),
        failures=st.integers(1, 4),
        probes=st.integers(1, 3),
        slow_start_s=st.sampled_from([0.0, 2.0]),
    )
    def begin(
        self, provider_of: list[int], failures: int, probes: int, slow_start_s: float
    ) -> None:
        self.settings = HealthSettings(
            failures=failures,
            probes=probes,
            slow_start_s=slow_start_s,
            max_open_s=10.0,
            max_retry_after_s=20.0,
        )
        self.provider_of = np.array(provider_of, np.intp)
        self.breakers = Breakers(self.settings, self.provider_of, 3)
        self.now_s = 1000.0
        self.random = np.random.default_rng(0)
        self.told: dict[int, float] = {}  # until when a model asked to be left alone
        self.in_a_row: dict[int, int] = {}
        # By unit, when probes were sent since it was half open.
        self.sent: dict[int, list[float]] = {}

    def model(self, number: int) -> int:
        return number % len(self.provider_of)

    @rule(by_s=st.floats(0.0, 15.0))
    def time_goes_on(self, by_s: float) -> None:
        self.now_s += by_s

    @rule(number=st.integers(0, 4), failure=FAILURES)
    def a_request_fails(self, number: int, failure: ProviderFailure) -> None:
        model = self.model(number)
        self.breakers.failed(model, failure, self.now_s)
        self.in_a_row[model] = self.in_a_row.get(model, 0) + 1
        waits = failure.cause in {Cause.RATE_LIMITED, Cause.SERVER_ERROR}
        if failure.retry_after_s is not None and waits:
            wait_s = min(failure.retry_after_s, self.settings.max_retry_after_s)
            self.told[model] = max(self.told.get(model, 0.0), self.now_s + wait_s)
            assert self.breakers.states[model] == OPEN
        if self.in_a_row[model] >= self.settings.failures:
            seller = len(self.provider_of) + self.provider_of[model]
            assert OPEN in {self.breakers.states[model], self.breakers.states[seller]}

    @rule(number=st.integers(0, 4))
    def a_request_is_answered(self, number: int) -> None:
        model = self.model(number)
        self.breakers.worked(model, self.now_s)
        self.in_a_row[model] = 0
        if self.breakers.states[model] != OPEN:
            self.told.pop(model, None)  # it works: its wish was kept, or it has taken it back

    @rule(n=st.integers(1, 40))
    def requests_choose(self, n: int) -> None:
        admitted = self.breakers.admit(n, self.now_s, self.random)
        assert admitted.mask.shape == (n, len(self.provider_of))
        for model, until_s in self.told.items():
            if self.breakers.states[model] == OPEN and self.now_s < until_s:
                assert not admitted.mask[:, model].any()
        asked = []
        for model in np.flatnonzero(admitted.probed).tolist():
            assert admitted.mask[:, model].sum() == 1
            asked.append(model)
        self.breakers.asked(asked[:1], self.now_s)

    @invariant()
    def what_is_closed_is_closed(self) -> None:
        if not hasattr(self, "breakers"):
            return
        states = self.breakers.states
        assert self.breakers.all_closed == bool((states == CLOSED).all())
        shares = self.breakers.shares(self.now_s)
        assert ((shares >= 0.0) & (shares <= 1.0)).all()

    def teardown(self) -> None:
        """Whatever was reported, it ends well once everything is answered."""
        if not hasattr(self, "breakers"):
            return
        for _ in range(40):
            self.now_s += 2.0
            for model in range(len(self.provider_of)):
                if self.breakers.admit(1, self.now_s, self.random).mask[0, model]:
                    self.breakers.worked(model, self.now_s)
        assert self.breakers.all_closed


Outages.TestCase.settings = hypothesis_settings(max_examples=150, stateful_step_count=30)
TestOutages = Outages.TestCase
