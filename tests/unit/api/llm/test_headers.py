"""Tests of the headers that set fields of a request."""

from __future__ import annotations

import pytest

from routoo.api.llm.headers import read_fields
from routoo.errors import InvalidRequestError


def test_all_of_them() -> None:
    read = read_fields(
        [
            ("x-routoo-max-cost-usd", "0.01"),
            ("x-routoo-min-score", "0.5"),
            ("x-routoo-max-latency-ms", "2e3"),
            ("x-routoo-latency-percentile", "95"),
            ("x-routoo-max-quality-gap", "0.1"),
            ("x-routoo-allowed-models", "small, large"),
            ("x-routoo-allowed-models", "medium"),
            ("x-routoo-denied-models", "small,"),
            ("x-routoo-required-capabilities", "tools"),
            ("x-routoo-tenant", " acme "),
            ("x-routoo-session-id", "s"),
            ("x-routoo-policy", "cheapest"),
            ("x-routoo-expected-output-tokens", "300"),
            ("x-routoo-model", "not mine to say"),
            ("authorization", "Bearer x"),
        ]
    )
    assert read == {
        "max_cost_usd": 0.01,
        "min_score": 0.5,
        "max_latency_ms": 2000.0,
        "latency_percentile": 95,
        "max_quality_gap": 0.1,
        "allowed_models": ("small", "large", "medium"),
        "denied_models": ("small",),
        "required_capabilities": ("tools",),
        "tenant": "acme",
        "session_id": "s",
        "policy": "cheapest",
        "expected_output_tokens": 300,
    }


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("x-routoo-max-cost", "1", "no such header; known are x-routoo-added-input-tokens"),
        ("x-routoo-max-cost-usd", "cheap", "'cheap' is not a number"),
        ("x-routoo-max-cost-usd", "nan", "nan is not a finite number"),
        ("x-routoo-max-cost-usd", "-1", "-1.0 is not a finite number of at least 0"),
        ("x-routoo-max-latency-ms", "inf", "inf is not a finite number"),
        ("x-routoo-min-score", "1.5", "above 1; scores are in [0, 1]"),
        ("x-routoo-expected-output-tokens", "-5", "not a whole number"),
        ("x-routoo-expected-output-tokens", "1.5", "not a whole number"),
        ("x-routoo-expected-output-tokens", "9" * 10, "is not from 0 to 4294967295"),
        ("x-routoo-expected-output-tokens", "9" * 11, "not a whole number"),
        ("x-routoo-expected-output-tokens", "\u0661", "not a whole number"),
        ("x-routoo-max-output-tokens", "0", "0 is not from 1 to 4294967295"),
        ("x-routoo-latency-percentile", "94", "94 is not 50, 90, 95 or 99"),
        ("x-routoo-latency-percentile", "p95", "'p95' is not a whole number"),
        ("x-routoo-answers", "10001", "10001 is not from 1 to 10000"),
    ],
)
def test_refused(name: str, value: str, why: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_fields([(name, value)])
    assert str(caught.value).startswith(f"{name}: ")
    assert why in str(caught.value)


def test_a_limit_that_stands_twice() -> None:
    with pytest.raises(InvalidRequestError, match="x-routoo-tenant: stands twice"):
        read_fields([("x-routoo-tenant", "a"), ("x-routoo-tenant", "b")])
