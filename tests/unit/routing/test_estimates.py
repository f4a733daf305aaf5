"""Predictions become scores, output lengths, costs and latencies of the pool's models."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from routoo.predictor.base import Prediction, join
from routoo.predictor.tokenizers.families import count_by_family
from routoo.routing.estimates import FRAME_TOKENS, INPUT_MARGIN, costs_usd_of, estimates_of
from routoo.routing.media import MediaAmounts
from routoo.routing.pool import ModelSpec, Pool
from routoo.routing.request import PromptRequest
from support.tiny_pool import MEDIUM, tiny_pool


def prediction_of(
    scores: list[list[float]], output_tokens: list[list[float]], input_tokens: list[float]
) -> Prediction:
    return Prediction(
        scores=np.array(scores, np.float32),
        output_tokens=np.array(output_tokens, np.float32),
        input_tokens=np.array(input_tokens, np.float64),
        truncated=np.zeros(len(scores), np.bool_),
        tokenize_ns=1,
        predict_ns=10,
        served_by="onnx-cpu",
        version="tiny-1",
    )


def test_columns_are_put_into_the_pools_order() -> None:
    prediction = prediction_of([[0.1, 0.2, 0.3, 0.4]], [[1, 2, 3, 4]], [10])
    estimates = estimates_of(
        prediction, [PromptRequest("p")], tiny_pool(), np.array([2, 0, 3], np.intp), 0
    )
    assert estimates.scores.tolist() == [[0.3, 0.1, 0.4]]
    assert estimates.output_tokens.tolist() == [[3.0, 1.0, 4.0]]
    assert estimates.input_tokens.tolist() == [[10.0] * 3]


def test_scores_are_rounded_to_a_ten_thousandth_and_tokens_to_whole_ones() -> None:
    prediction = prediction_of([[0.12344, 0.12346, 1.0]], [[0.4, 10.6, 99.0]], [1])
    estimates = estimates_of(prediction, [PromptRequest("p")], tiny_pool(), np.arange(3), 0)
    assert estimates.scores.tolist() == [[0.1234, 0.1235, 1.0]]
    assert estimates.output_tokens.tolist() == [[0.0, 11.0, 99.0]]


def test_costs_and_latencies_follow_from_the_rounded_tokens() -> None:
    pool = tiny_pool()
    prediction = prediction_of([[0.5] * 3], [[10.4, 10.4, 10.4]], [1000])
    estimates = estimates_of(prediction, [PromptRequest("p")], pool, np.arange(3), 0)
    np.testing.assert_allclose(
        estimates.costs_usd,
        [[1000e-6 * 0.1 + 10e-6 * 0.2, 1000e-6 + 10e-6 * 2, 1000e-6 * 10 + 10e-6 * 30]],
        rtol=1e-12,
    )
    assert estimates.latencies_ms.tolist() == [[120.0, 250.0, 600.0]]


@given(expected=st.lists(st.none() | st.integers(0, 2**32 - 1), min_size=1, max_size=6))
def test_a_callers_own_length_replaces_the_predicted_ones_of_its_row_only(
    expected: list[int | None],
) -> None:
    n = len(expected)
    prediction = prediction_of([[0.5] * 3] * n, [[7, 8, 9]] * n, [1.0] * n)
    requests = [PromptRequest("p", expected_output_tokens=tokens) for tokens in expected]
    estimates = estimates_of(prediction, requests, tiny_pool(), np.arange(3), 0)
    assert estimates.output_tokens.tolist() == [
        [7.0, 8.0, 9.0] if tokens is None else [float(tokens)] * 3 for tokens in expected
    ]
    np.testing.assert_array_equal(
        estimates.costs_usd, costs_usd_of(tiny_pool(), np.ones(n), estimates.output_tokens, 0)
    )


def test_parts_of_a_batch_are_put_under_each_other() -> None:
    first = prediction_of([[0.1] * 3], [[1, 1, 1]], [5])
    second = prediction_of([[0.2] * 3, [0.3] * 3], [[2, 2, 2], [3, 3, 3]], [6, 7])
    joined = join([first, second])
    np.testing.assert_array_equal(joined.scores[:, 0], np.array([0.1, 0.2, 0.3], np.float32))
    assert joined.output_tokens[:, 1].tolist() == [1.0, 2.0, 3.0]
    assert joined.input_tokens.tolist() == [5.0, 6.0, 7.0]
    assert len(joined.truncated) == 3
    assert (joined.tokenize_ns, joined.predict_ns) == (2, 20)


def test_a_limit_cuts_longer_answers_of_its_row_only() -> None:
    requests = [
        PromptRequest("p", max_output_tokens=20),
        PromptRequest("p"),
        PromptRequest("p", max_output_tokens=20, expected_output_tokens=30),
    ]
    prediction = prediction_of([[0.5] * 3] * 3, [[10, 20, 30]] * 3, [1] * 3)
    estimates = estimates_of(prediction, requests, tiny_pool(), np.arange(3), 0)
    assert estimates.output_tokens.tolist() == [[10, 20, 20], [10, 20, 30], [20, 20, 20]]


def test_what_is_read_beside_the_text_is_added_and_the_prediction_stays_as_it_is() -> None:
    requests = [PromptRequest("p"), PromptRequest("p", added_input_tokens=1000)]
    prediction = prediction_of([[0.5] * 3] * 2, [[0] * 3] * 2, [7, 7])
    estimates = estimates_of(prediction, requests, tiny_pool(), np.arange(3), 0)
    assert estimates.input_tokens.tolist() == [[7] * 3, [1007] * 3]
    assert prediction.input_tokens.tolist() == [7, 7]
    np.testing.assert_allclose(estimates.costs_usd[1] / estimates.costs_usd[0], 1007 / 7)


def test_models_count_media_by_rates_of_their_own() -> None:
    pool = Pool.of(
        tuple(
            ModelSpec.model_validate({**MEDIUM, "name": name, **rates})
            for name, rates in {
                "usual": {},
                "by the piece": {"tokens_per_image": 258},
                "all its own": {
                    "tokens_per_image": 0,
                    "tokens_per_audio_s": 25,
                    "tokens_per_video_s": 100.4,
                },
            }.items()
        )
    )
    media = MediaAmounts(
        images=3, image_tokens=4000, audio_s=10, audio_tokens=320, video_s=2, video_tokens=600
    )
    requests = [
        PromptRequest("p", added_input_tokens=5000, media=media),
        PromptRequest("p", added_input_tokens=5000, media=media, max_output_tokens=1),
        PromptRequest("p", added_input_tokens=5000),
        PromptRequest("p", media=MediaAmounts(images=2)),
    ]
    prediction = prediction_of([[0.5] * 3] * 4, [[0] * 3] * 4, [1] * 4)
    estimates = estimates_of(prediction, requests, pool, np.arange(3), 0)
    apart = [5000, 5000 - 4000 + 774, 5000 - 4920 + 250 + 201]
    expected = [apart, apart, [5000] * 3, [0, 516, 0]]
    assert estimates.input_tokens.tolist() == [[one + 1 for one in row] for row in expected]
    assert estimates.most_input_tokens is not None
    text = count_by_family(["p"]).max()
    most = np.ceil((np.array(apart) + text) * INPUT_MARGIN) + FRAME_TOKENS
    assert estimates.most_input_tokens[1].tolist() == most.tolist()


def test_what_is_reserved_counts_the_kinds_of_tokens_and_the_service_tier() -> None:
    prices = {
        "usd_per_1m_cache_write_tokens": 2,
        "usd_per_1m_reasoning_tokens": 3,
        "usd_per_image": 0.5,
        "service_tiers": {"flex": 0.5, "priority": 2},
    }
    pool = Pool.of((ModelSpec.model_validate({**MEDIUM, **prices}),))
    requests = [
        PromptRequest("p", max_output_tokens=100),
        PromptRequest("p", max_output_tokens=100, mixed=True),
        PromptRequest("p", max_output_tokens=100, mixed=True, images=2),
        PromptRequest("p", max_output_tokens=100, service_tier="priority"),
        PromptRequest("p", max_output_tokens=100, service_tier="flex"),
        PromptRequest("p", service_tier="priority"),
    ]
    n = len(requests)
    prediction = prediction_of([[0.5]] * n, [[10]] * n, [7] * n)
    estimates = estimates_of(prediction, requests, pool, np.arange(1), 0)
    read = estimates.most_input_tokens[0, 0]  # type: ignore[index]
    answer = 100 * 3e-6
    text, mixed = read * 1e-6 + answer, read * 2e-6 + answer
    expected = [text, mixed, mixed + 1.0, 2 * text, text, estimates.costs_usd[5, 0]]
    np.testing.assert_allclose(estimates.reserved_usd[:, 0], expected, rtol=1e-12)
    # Each is reserved for alike, whatever others it is decided with.
    for row in range(n):
        alone = estimates_of(
            prediction_of([[0.5]], [[10]], [7]), requests[row : row + 1], pool, np.arange(1), 0
        )
        assert alone.reserved_usd[0, 0] == estimates.reserved_usd[row, 0]
