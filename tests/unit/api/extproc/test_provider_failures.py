"""The fault behind a failed reply, as Envoy's log and its details of replies tell it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from routoo.api.extproc.failures import failure_told
from routoo.api.extproc.log_entry import LogEntry
from routoo.routing.health.failures import Cause
from routoo.routing.health.retry_after import retry_after_s_of
from support.access_log import entry

ENVOY = Path(__file__).parents[4] / "deploy" / "envoy" / "envoy.yaml"
NOW_S = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("20", 20.0),
        (" 0 ", 0.0),
        ("0.25", 0.25),
        ("31536000", 31_536_000.0),
        ("Fri, 15 Jan 2027 08:00:30 GMT", 30.0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
        ("Friday, 15-Jan-27 08:00:30 GMT", 30.0),
        ("", None),
        ("-5", None),
        ("nan", None),
        ("1e9", None),
        ("soon", None),
        ("9" * 400, None),
        ("Fri, 99 Jan 2027 08:00:30 GMT", None),
        ("\u0665", None),
    ],
)
def test_both_forms_of_retry_after_are_read(text: str, wait_s: float | None) -> None:
    assert retry_after_s_of(text, NOW_S) == wait_s


@pytest.mark.parametrize(
    ("status", "details", "cause"),
    [
        (429, "via_upstream", Cause.RATE_LIMITED),
        (503, "via_upstream", Cause.SERVER_ERROR),
        (400, "via_upstream", None),
        (500, "", Cause.SERVER_ERROR),
        (
            503,
            "upstream_reset_before_response_started{remote_connection_failure}",
            Cause.CONNECTION,
        ),
        (
            503,
            "upstream_reset_before_response_started{connection_termination}",
            Cause.RESET,
        ),
        (503, "upstream_reset_before_response_started{overflow}", Cause.RATE_LIMITED),
        (503, "no_healthy_upstream", Cause.CONNECTION),
        (504, "upstream_response_timeout", Cause.TIMEOUT),
        (504, "response_timeout", Cause.TIMEOUT),
        (404, "route_not_found", Cause.GONE),
        (503, "cluster_not_found", Cause.GONE),
        (429, "request_rate_limited", None),
        (403, "rbac_access_denied", None),
        (500, "direct_response", None),
    ],
)
def test_envoys_details_tell_whose_fault_it_was(
    status: int, details: str, cause: Cause | None
) -> None:
    found = failure_told(status, "", details)
    assert (None if found is None else found.cause) is cause


@pytest.mark.parametrize(
    ("flag", "status", "cause"),
    [
        ("upstream_request_timeout", 504, Cause.TIMEOUT),
        ("upstream_connection_failure", 503, Cause.CONNECTION),
        ("no_healthy_upstream", 503, Cause.CONNECTION),
        ("upstream_connection_termination", 503, Cause.RESET),
        ("upstream_remote_reset", 200, Cause.RESET),
        ("stream_idle_timeout", 200, Cause.TIMEOUT),
        ("upstream_overflow", 503, Cause.RATE_LIMITED),
        ("no_route_found", 404, Cause.GONE),
        ("downstream_connection_termination", 0, None),
        ("downstream_remote_reset", 503, None),
    ],
)
def test_flags_of_the_log_tell_whose_fault_it_was(
    flag: str, status: int, cause: Cause | None
) -> None:
    told = entry("d", status=status)
    setattr(told.common_properties.response_flags, flag, True)
    found = LogEntry(told).failure
    assert (None if found is None else found.cause) is cause


def test_a_caller_that_left_says_nothing_of_the_provider() -> None:
    told = entry("d", status=503, left=True)
    told.common_properties.response_flags.upstream_remote_reset = True
    assert LogEntry(told).failure is None


def test_the_log_has_retry_after() -> None:
    told = entry("d", status=429)
    told.response.response_headers["retry-after"] = "20"
    told.response.response_code_details = "via_upstream"
    found = LogEntry(told).failure
    assert found is not None
    assert (found.cause, found.retry_after_s) == (Cause.RATE_LIMITED, 20.0)
    assert re.search(r"additional_response_headers_to_log: \[retry-after\]", ENVOY.read_text())
    assert yaml.safe_load(ENVOY.read_text())
