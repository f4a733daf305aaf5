"""Factors in force on the estimates: neutral ones change no bit, others change what they should."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.predictor.base import Prediction
from routoo.routing.corrections.factors import Factors, corrected_tokens
from routoo.routing.estimates import estimates_of
from routoo.routing.request import PromptRequest
from support.tiny_pool import tiny_pool

POOL = tiny_pool()
KINDS = ("chat", "code")
TOKENS = st.lists(st.floats(0, 1e5, width=32), min_size=3, max_size=3)
FACTOR = st.floats(0.02, 50.0)


def prediction_of(output_tokens: list[list[float]], *, tasks: bool = True) -> Prediction:
    n = len(output_tokens)
    return Prediction(
        scores=np.full((n, 3), 0.5, np.float32),
        output_tokens=np.array(output_tokens, np.float32),
        input_tokens=np.full(n, 10.0),
        truncated=np.zeros(n, np.bool_),
        tokenize_ns=1,
        predict_ns=10,
        served_by="onnx-cpu",
        version="tiny-1",
        tasks=np.array([[0.2, 0.8]] * n, np.float32) if tasks else None,
        task_names=KINDS if tasks else (),
    )


def factors_of(code: float, unknown: float = 1.0, latency: float = 1.0) -> Factors:
    lengths = np.array([[1.0] * 3, [code] * 3, [unknown] * 3])
    return replace(
        Factors.neutral(POOL.names, KINDS), lengths=lengths, latencies=np.full((3, 3), latency)
    )


@given(tokens=st.lists(TOKENS, min_size=1, max_size=5))
def test_factors_of_one_change_no_bit(tokens: list[list[float]]) -> None:
    requests = [PromptRequest("p", max_output_tokens=50)] * len(tokens)
    prediction, columns = prediction_of(tokens), np.arange(3)
    plain = estimates_of(prediction, requests, POOL, columns, None)
    neutral = Factors.neutral(POOL.names, KINDS)
    found = estimates_of(prediction, requests, POOL, columns, None, neutral)
    for name in ("output_tokens", "costs_usd", "latencies_ms"):
        assert getattr(found, name).tobytes() == getattr(plain, name).tobytes()
    assert found.correction is None


@given(tokens=TOKENS, factor=FACTOR)
def test_the_kind_of_the_prompt_says_which_factor_holds(tokens: list[float], factor: float) -> None:
    requests = [PromptRequest("p")]
    factors = factors_of(factor, latency=2.0)
    found = estimates_of(prediction_of([tokens]), requests, POOL, np.arange(3), None, factors)
    plain = np.rint(np.array([tokens], np.float32).astype(np.float64))
    assert found.plain_tokens is not None
    assert found.plain_tokens.tolist() == plain.tolist()
    np.testing.assert_array_equal(
        found.output_tokens, corrected_tokens(plain, np.full((1, 3), round(factor, 4)))
    )
    np.testing.assert_array_equal(
        found.latencies_ms,
        2.0 * (POOL.time_to_first_token_ms + found.output_tokens * POOL.time_per_output_token_ms),
    )


def test_a_prompt_of_no_known_kind_gets_the_factor_of_the_whole_model() -> None:
    factors = replace(Factors.neutral(POOL.names, ()), lengths=np.full((1, 3), 3.0))
    prediction = prediction_of([[10.0, 20.0, 30.0]], tasks=False)
    found = estimates_of(prediction, [PromptRequest("p")], POOL, np.arange(3), None, factors)
    assert found.output_tokens.tolist() == [[30.0, 60.0, 90.0]]


def test_a_callers_own_length_is_not_corrected_and_a_limit_limits_the_corrected_one() -> None:
    requests = [
        PromptRequest("p", expected_output_tokens=40),
        PromptRequest("p", max_output_tokens=25),
    ]
    found = estimates_of(
        prediction_of([[10.0, 10.0, 10.0]] * 2), requests, POOL, np.arange(3), None, factors_of(4.0)
    )
    assert found.output_tokens.tolist() == [[40.0] * 3, [25.0] * 3]
    assert found.max_output_tokens is not None
    assert np.isnan(found.max_output_tokens[0])
    assert found.max_output_tokens[1] == 25.0


def test_a_predicted_token_never_becomes_none() -> None:
    tokens = corrected_tokens(np.array([[0.0, 1.0, 5.0]]), np.full((1, 3), 0.02))
    assert tokens.tolist() == [[0.0, 1.0, 1.0]]


def test_factors_are_the_same_after_they_were_written_and_read() -> None:
    factors = replace(factors_of(1.23456789, 0.5, 3.0), firsts=np.array([0.1, 1.0, 7.0]))
    values = orjson.loads(factors.line())
    again = Factors.read(values)
    assert again.id == factors.id
    for name in ("lengths", "latencies", "firsts", "percentiles"):
        np.testing.assert_array_equal(getattr(again, name), getattr(factors, name))
    of_before = {name: one for name, one in values.items() if name not in ("firsts", "percentiles")}
    assert (Factors.read(of_before).firsts == 1.0).all()
    assert factors_of(1.2346).id != factors_of(1.2345).id


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf")])
def test_factors_that_are_no_factors_are_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        factors_of(wrong)
