"""The longest answer that a limit of the cost pays for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.predictor.base import Prediction
from routoo.routing.estimates import FRAME_TOKENS, INPUT_MARGIN, estimates_of
from routoo.routing.money.affordable import affordable_output_tokens
from routoo.routing.pool import ModelSpec, Pool
from routoo.routing.request import PromptRequest
from routoo.tariffs.tariff import NANO_PER_USD, cost_nano_usd
from routoo.tariffs.usage import Usage
from support.tiny_pool import MEDIUM

PRICES = {
    "usd_per_1m_reasoning_tokens": 3.7,
    "usd_per_1m_cached_input_tokens": 0.1,
    "usd_per_request": 0.0001,
    "service_tiers": {"priority": 2},
}
POOL = Pool.of((ModelSpec.model_validate({**MEDIUM, **PRICES}),))


def affordable(
    request: PromptRequest, input_tokens: int = 100, pool: Pool = POOL
) -> tuple[int | None, int]:
    """Returns the answer's longest length, and the input tokens that it was computed for."""
    prediction = Prediction(
        scores=np.full((1, 1), 0.5, np.float32),
        output_tokens=np.full((1, 1), 10, np.float32),
        input_tokens=np.array([input_tokens], np.float64),
        truncated=np.zeros(1, np.bool_),
        tokenize_ns=0,
        predict_ns=0,
        served_by="onnx-cpu",
        version="tiny-1",
    )
    estimates = estimates_of(prediction, [request], pool, np.arange(1), 0)
    most = math.ceil(estimates.input_tokens[0, 0] * INPUT_MARGIN) + FRAME_TOKENS
    return affordable_output_tokens(request, estimates, 0, 0, pool), most


@given(
    limit_usd=st.floats(1e-3, 0.2),
    input_tokens=st.integers(1, 200),
    answers=st.integers(1, 5),
    tier=st.sampled_from(["", "priority"]),
)
def test_an_answer_of_that_length_keeps_the_limit_and_a_longer_one_does_not(
    limit_usd: float, input_tokens: int, answers: int, tier: str
) -> None:
    request = PromptRequest(
        "p", constraints={"max_cost_usd": limit_usd}, answers=answers, service_tier=tier
    )
    found, inputs = affordable(request, input_tokens)
    assert found is not None

    def usd(tokens: int) -> float:
        billed = tokens * answers
        usage = Usage(inputs, billed, reasoning_tokens=billed, service_tier=tier)
        return cost_nano_usd(POOL.prices.tariffs[0], usage, 0) / NANO_PER_USD

    assert usd(found) <= limit_usd + 1e-9
    assert found == MEDIUM["context_window_tokens"] or usd(found + 2) > limit_usd


@pytest.mark.parametrize(
    "request_",
    [
        PromptRequest("p"),
        PromptRequest("p", constraints={"max_cost_usd": 0.1}, max_output_tokens=5),
    ],
)
def test_without_a_limit_or_with_a_length_of_its_own_there_is_none(request_: PromptRequest) -> None:
    assert affordable(request_)[0] is None


def test_free_output_needs_no_limit() -> None:
    free = {"usd_per_1m_output_tokens": 0}
    pool = Pool.of((ModelSpec.model_validate({**MEDIUM, **free}),))
    assert affordable(PromptRequest("p", constraints={"max_cost_usd": 1}), pool=pool)[0] is None


def test_a_limit_that_pays_for_no_answer_leaves_one_token() -> None:
    assert affordable(PromptRequest("p", constraints={"max_cost_usd": 1e-9}))[0] == 1
