"""Learned times of a model: percentiles that hold, changes, silences, hours, bad figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.request_fields import PERCENTILES
from routoo.routing.corrections.speed import Declared, LearningTerms, Speed, TimedAnswer, Times

if TYPE_CHECKING:
    from collections.abc import Callable

TERMS = LearningTerms(memory=200.0, prior_reports=2.0, half_life_s=3600.0)
DECLARED = Declared(500.0, 10.0)
HOUR_S, DAY_S = 3600.0, 86_400.0
TOKENS = 200.0
MEAN_MS = DECLARED.first_token_ms + TOKENS * DECLARED.per_token_ms


def answer(latency_ms: float, **more: Any) -> TimedAnswer:
    fields = {
        "declared": DECLARED,
        "expected_tokens": TOKENS,
        "tokens": TOKENS,
        "latency_ms": latency_ms,
        "first_token_ms": None,
        "timed_out": False,
        "time_s": 0.0,
    }
    return TimedAnswer(**{**fields, **more})


def mean_ms(times: Times, tokens: float = TOKENS) -> float:
    return times.first_token_ms + tokens * times.per_token_ms


def told(speed: Speed, latencies_ms: list[float], **more: Any) -> Speed:
    for latency_ms in latencies_ms:
        speed = speed.learned(answer(latency_ms, **more), TERMS)
    return speed


LAWS: dict[str, Callable[[np.random.Generator], float]] = {
    "steady": lambda rng: float(rng.lognormal(0.0, 0.05)),
    "lognormal": lambda rng: float(rng.lognormal(0.0, 0.5)),
    "wide": lambda rng: float(rng.lognormal(0.0, 1.0)),
    "pareto": lambda rng: 1.0 + float(rng.pareto(1.5)),
    "pareto without a mean": lambda rng: 1.0 + float(rng.pareto(0.9)),
    "student": lambda rng: float(np.exp(0.4 * rng.standard_t(2))),
    "two ways": lambda rng: float(rng.lognormal(0.0 if rng.random() < 0.8 else 1.5, 0.2)),
    "outliers": lambda rng: 3e7 if rng.random() < 0.01 else float(rng.lognormal(0.0, 0.4)),
}


@pytest.mark.parametrize("law", LAWS)
def test_the_named_percentile_is_kept_by_as_many_answers(law: str) -> None:
    rng = np.random.default_rng(7)
    speed, kept, asked = Speed(), np.zeros(len(PERCENTILES)), 0
    times = speed.times(DECLARED, TERMS)
    for number in range(3000):
        predicted = float(rng.lognormal(5.3, 0.8))
        tokens = max(1.0, round(predicted * rng.lognormal(-0.125, 0.5)))
        latency_ms = (400.0 + 12.0 * tokens) * LAWS[law](rng)
        if number % 4 == 0:
            times = speed.times(DECLARED, TERMS)
        if number >= 200:
            asked += 1
            kept += latency_ms <= mean_ms(times, predicted) * np.array(times.percentiles)
        speed = speed.learned(
            answer(latency_ms, expected_tokens=predicted, tokens=tokens, time_s=3.0 * number), TERMS
        )
    shares = dict(zip(PERCENTILES, (kept / asked).tolist(), strict=True))
    assert 0.46 <= shares[50] <= 0.54
    assert 0.87 <= shares[90] <= 0.93
    assert 0.93 <= shares[95] <= 0.97
    assert 0.97 <= shares[99] <= 1.0


def test_without_reports_the_declared_times_hold_and_percentiles_are_assumed() -> None:
    times = Speed().times(DECLARED, TERMS)
    assert (times.first_token_ms, times.per_token_ms) == DECLARED
    assert times.percentiles == pytest.approx((0.88, 1.67, 2.01, 2.82), abs=0.01)
    few = told(Speed(), [MEAN_MS * 3.0] * 2).times(DECLARED, TERMS)
    assert MEAN_MS < mean_ms(few) < 3.0 * MEAN_MS


def test_the_first_token_is_told_apart_from_the_others() -> None:
    speed = Speed()
    rng = np.random.default_rng(3)
    for number in range(200):
        tokens = float(rng.integers(20, 800))
        first_ms = 2000.0 * rng.lognormal(0.0, 0.3)
        latency_ms = first_ms + 5.0 * tokens * rng.lognormal(0.0, 0.2)
        speed = speed.learned(
            answer(
                latency_ms,
                tokens=tokens,
                expected_tokens=tokens,
                first_token_ms=first_ms,
                time_s=float(number),
            ),
            TERMS,
        )
    times = speed.times(DECLARED, TERMS)
    assert times.first_token_ms == pytest.approx(2000.0, rel=0.15)
    assert times.per_token_ms == pytest.approx(5.0, rel=0.15)
    assert (times.reports, times.first_token_reports) == (200, 200)


def test_a_reply_that_came_at_once_teaches_no_time_to_the_first_token() -> None:
    whole = told(Speed(), [3.0 * MEAN_MS] * 100, first_token_ms=2.99 * MEAN_MS)
    times = whole.times(DECLARED, TERMS)
    assert times.first_token_reports == 0
    assert mean_ms(times) == pytest.approx(3.0 * MEAN_MS, rel=0.1)
    assert times.first_token_ms / times.per_token_ms == pytest.approx(50.0)


@pytest.mark.parametrize("scatter", [0.05, 0.4, 0.8])
def test_a_provider_that_slows_by_three_is_known_after_fifty_reports_and_so_is_its_return(
    scatter: float,
) -> None:
    rng = np.random.default_rng(11)

    def some(count: int, times: float) -> list[float]:
        return (MEAN_MS * times * rng.lognormal(0.0, scatter, count)).tolist()

    usual = told(Speed(), some(600, 1.0))
    before = mean_ms(usual.times(DECLARED, TERMS))
    p95_before = before * usual.times(DECLARED, TERMS).percentiles[2]
    slow = told(usual, some(50, 3.0))
    during = slow.times(DECLARED, TERMS)
    assert mean_ms(during) == pytest.approx(3.0 * before, rel=0.35)
    assert mean_ms(during) * during.percentiles[2] > 2.0 * p95_before
    back = told(slow, some(50, 1.0)).times(DECLARED, TERMS)
    assert mean_ms(back) == pytest.approx(before, rel=0.35)
    assert mean_ms(back) * back.percentiles[2] < 1.6 * p95_before


def test_no_single_figure_moves_what_many_have_told() -> None:
    steady = told(Speed(), [MEAN_MS] * 300)
    before = mean_ms(steady.times(DECLARED, TERMS))
    for absurd in (3.2e10, 1e300, 1e-300):
        after = told(steady, [absurd]).times(DECLARED, TERMS)
        assert mean_ms(after) == pytest.approx(before, rel=0.1)
        assert after.percentiles[2] < 1.6


def test_time_outs_teach_that_answers_take_longer() -> None:
    rng = np.random.default_rng(5)
    whole, cut, wrong = Speed(), Speed(), Speed()
    most_ms = 1.5 * MEAN_MS
    for latency_ms in (MEAN_MS * rng.lognormal(0.0, 0.5, 800)).tolist():
        waited = min(latency_ms, most_ms)
        whole = told(whole, [latency_ms])
        cut = told(cut, [waited], timed_out=latency_ms > most_ms)
        wrong = told(wrong, [waited])
    p95 = {
        name: speed.times(DECLARED, TERMS).percentiles[2] * mean_ms(speed.times(DECLARED, TERMS))
        for name, speed in (("whole", whole), ("cut", cut), ("wrong", wrong))
    }
    assert p95["wrong"] < 0.8 * p95["whole"]
    assert 0.85 * p95["whole"] < p95["cut"] < 1.6 * p95["whole"]


def test_a_provider_of_which_nothing_comes_in_time_is_slow_and_not_without_end() -> None:
    usual = told(Speed(), [MEAN_MS] * 200)
    times = told(usual, [2.0 * MEAN_MS] * 60, timed_out=True).times(DECLARED, TERMS)
    assert 2.0 * MEAN_MS < mean_ms(times) < 100.0 * MEAN_MS


def test_a_provider_that_is_slow_from_nine_to_five_is_known_the_next_day() -> None:
    rng = np.random.default_rng(13)
    speed, now_s = Speed(), 0.0
    found: dict[int, float] = {}
    while now_s < 2 * DAY_S + 20 * HOUR_S:
        now_s += 60.0 * float(rng.exponential())
        hour = int(now_s // HOUR_S)
        if hour not in found:  # before any report of the hour
            found[hour] = mean_ms(speed.at(now_s, TERMS).times(DECLARED, TERMS)) / MEAN_MS
        slow = 3.0 if 9 <= hour % 24 < 17 else 1.0
        latency_ms = MEAN_MS * slow * float(rng.lognormal(0.0, 0.3))
        speed = told(speed, [latency_ms], time_s=now_s)
    for day in (1, 2):
        for hour in (3, 8, 17, 18):
            assert found[24 * day + hour] < 1.8
        for hour in (9, 10, 13, 16):
            assert found[24 * day + hour] > 2.2


def test_an_hour_with_few_reports_is_taken_to_be_like_the_day() -> None:
    speed = Speed()
    for hour in range(24):
        reports = 3 if hour == 12 else 100
        for number in range(reports):
            slow = 9.0 if hour == 12 else 1.0
            now_s = HOUR_S * hour + 10.0 * number
            speed = told(speed, [MEAN_MS * slow], time_s=now_s)
    noon = mean_ms(speed.at(DAY_S + 12.0 * HOUR_S, TERMS).times(DECLARED, TERMS))
    assert MEAN_MS * 0.8 < noon < MEAN_MS * 3.0


def test_what_was_of_late_fades_to_what_is_usual_where_nothing_is_reported() -> None:
    speed = Speed()
    for hour in range(5):
        speed = told(speed, [MEAN_MS] * 100, time_s=hour * HOUR_S)
    slow = told(speed, [5.0 * MEAN_MS] * 40, time_s=5.0 * HOUR_S)
    over_time = [
        mean_ms(slow.at(5.0 * HOUR_S + later_s, TERMS).times(DECLARED, TERMS)) / MEAN_MS
        for later_s in (0.0, 3000.0, 2.0 * HOUR_S, 10.0 * HOUR_S)
    ]
    assert over_time[0] > 4.0
    assert over_time == sorted(over_time, reverse=True)
    assert over_time[-1] < 1.6


@given(
    times_s=st.lists(st.floats(0.0, 1e11), min_size=1, max_size=40),
    latencies_ms=st.lists(st.floats(1e-12, 1e15), min_size=40, max_size=40),
    timed_out=st.booleans(),
)
def test_clocks_that_jump_and_any_figures_leave_finite_times(
    times_s: list[float], latencies_ms: list[float], *, timed_out: bool
) -> None:
    speed = Speed()
    for time_s, latency_ms in zip(times_s, latencies_ms, strict=False):
        speed = told(speed, [latency_ms], time_s=time_s, timed_out=timed_out)
    for time_s in (*times_s, 0.0, 1e12):
        times = speed.at(time_s, TERMS).times(DECLARED, TERMS)
        figures = (times.first_token_ms, times.per_token_ms, *times.percentiles)
        assert np.isfinite(figures).all()
        assert min(figures) > 0.0
        assert list(times.percentiles) == sorted(times.percentiles)
    assert Speed.read(speed.plain()) == speed


@pytest.mark.parametrize("declared", [Declared(0.0, 0.0), Declared(0.0, 5.0), Declared(5.0, 0.0)])
def test_a_pool_that_declares_no_times_gets_them_from_reports(declared: Declared) -> None:
    speed = Speed()
    for number in range(100):
        speed = speed.learned(answer(4000.0, declared=declared, time_s=float(number)), TERMS)
    assert mean_ms(speed.times(declared, TERMS)) == pytest.approx(4000.0, rel=0.35)
