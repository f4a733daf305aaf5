"""Failures: whose fault an HTTP status is, and Retry-After in seconds that make sense."""

from __future__ import annotations

import pytest

from routoo.routing.health.failures import Cause, ProviderFailure, cause_of


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (0, Cause.NONE),
        (200, Cause.NONE),
        (400, Cause.NONE),
        (401, Cause.CREDENTIALS),
        (402, Cause.CREDENTIALS),
        (403, Cause.CREDENTIALS),
        (404, Cause.GONE),
        (408, Cause.TIMEOUT),
        (413, Cause.NONE),
        (422, Cause.NONE),
        (429, Cause.RATE_LIMITED),
        (500, Cause.SERVER_ERROR),
        (503, Cause.SERVER_ERROR),
        (504, Cause.TIMEOUT),
        (529, Cause.SERVER_ERROR),
        (600, Cause.NONE),
        (-1, Cause.NONE),
    ],
)
def test_a_status_tells_whose_fault_it_is(status: int, cause: Cause) -> None:
    assert cause_of(status) is cause


@pytest.mark.parametrize("told", [None, 0.0, -5.0, float("nan"), float("inf")])
def test_what_is_no_time_to_wait_is_left_out(told: float | None) -> None:
    assert ProviderFailure.of(Cause.RATE_LIMITED, told) == ProviderFailure(Cause.RATE_LIMITED)


def test_no_cause_is_no_failure() -> None:
    assert ProviderFailure.of(Cause.NONE, 3.0) is None
