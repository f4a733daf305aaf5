"""Arms are columns: their figures are the predictor's own, or offsets from the nearest row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.errors import InvalidRequestError
from routoo.predictor.artifact import find_artifact, load_artifact
from routoo.predictor.base import Prediction
from routoo.routing.arms.efforts import EFFORTS, OUTPUT_TOKENS, SCORE_ODDS, effort_of_budget
from routoo.routing.estimates import Estimates, estimates_of
from routoo.routing.request import PromptRequest
from support.tiny_pool import ARMED_NAMES, LARGE, MEDIUM, armed_pool, pool_of, tiny_pool

if TYPE_CHECKING:
    from routoo.predictor.model_table import ModelTable
    from routoo.routing.pool import Pool


def estimated(pool: Pool, rows: dict[str, tuple[float, float]]) -> Estimates:
    """Estimates one prompt of 10 tokens from the score and the tokens of the predictor's rows."""
    pool = pool.known_to(rows.__contains__)
    scores, tokens = zip(*rows.values(), strict=True)
    prediction = Prediction(
        scores=np.array([scores], np.float32),
        output_tokens=np.array([tokens], np.float32),
        input_tokens=np.array([10.0]),
        truncated=np.zeros(1, np.bool_),
        tokenize_ns=1,
        predict_ns=1,
        served_by="test",
        version="1",
    )
    columns = pool.columns_in(tuple(rows))
    return estimates_of(prediction, [PromptRequest("p")], pool, columns, 0)


ROWS = {"small": (0.25, 100.0), "medium": (0.5, 100.0), "large": (0.75, 100.0)}


def test_a_model_without_arms_is_one_column_with_its_own_name() -> None:
    assert armed_pool().names == ARMED_NAMES
    assert tiny_pool().arms is None


def test_an_arm_without_a_row_has_its_models_figures_and_the_learned_offset() -> None:
    found = estimated(armed_pool(), ROWS)
    assert found.scores[0].tolist() == [0.25, 0.4505, 0.5, 0.5283, 0.75, 0.75, 0.75]
    assert found.output_tokens[0].tolist() == [100, 63, 100, 154, 40, 100, 100]


def test_an_arm_that_the_predictor_knows_has_the_figures_of_its_own_row() -> None:
    found = estimated(armed_pool(), {**ROWS, "medium@high": (0.625, 300.0)})
    assert found.scores[0, 1:4].tolist() == [0.4505, 0.5, 0.625]
    assert found.output_tokens[0, 1:4].tolist() == [63, 100, 300]


def test_an_unknown_arm_follows_the_row_of_the_nearest_effort() -> None:
    arms = [{"name": one, "effort": one} for one in ("low", "high", "xhigh")]
    found = estimated(pool_of({**MEDIUM, "arms": arms}), {"medium@high": (0.5, 1540.0)})
    odds = SCORE_ODDS["low"] / SCORE_ODDS["high"]
    assert found.scores[0].tolist() == [pytest.approx(odds / (1 + odds), abs=1e-4), 0.5, 0.5274]
    assert found.output_tokens[0].tolist() == [630.0, 1540.0, 1800.0]


def test_the_effort_of_the_models_own_row_can_be_told() -> None:
    arms = [{"name": "none", "effort": "none"}, {"name": "high", "effort": "high"}]
    spec = {**MEDIUM, "default_effort": "none", "arms": arms}
    found = estimated(pool_of(spec), {"medium": (0.5, 280.0)})
    assert found.output_tokens[0].tolist() == [280.0, 1540.0]


def test_declared_offsets_go_before_learned_ones() -> None:
    arms = [{"name": "deep", "effort": "high", "score_odds": 3, "output_tokens_factor": 10}]
    found = estimated(pool_of({**MEDIUM, "arms": arms}), {"medium": (0.5, 100.0)})
    assert (found.scores[0, 0], found.output_tokens[0, 0]) == (0.75, 1000.0)


def test_prices_times_and_limits_of_an_arm_are_its_own() -> None:
    found = estimated(armed_pool(), ROWS)
    short, whole, at_once = range(4, 7)
    assert found.costs_usd[0, at_once] == 2.0 * found.costs_usd[0, whole]
    assert found.latencies_ms[0, whole] - found.latencies_ms[0, at_once] == 450.0
    # What an arm cuts off is what it may cost at most, as with a limit of the request's own.
    assert found.most_usd is not None
    assert found.most_input_tokens is not None
    assert found.most_input_tokens[0, short] > found.input_tokens[0, short]
    assert found.most_input_tokens[0, whole] == found.input_tokens[0, whole]
    assert found.costs_usd[0, short] < found.most_usd[0, short] < found.costs_usd[0, whole]
    assert found.most_usd[0, :4].tolist() == found.costs_usd[0, :4].tolist()


def test_names_stand_for_an_arm_or_for_all_arms_of_a_model() -> None:
    pool = armed_pool()
    assert pool.columns_named("medium", "f") == (1, 2, 3)
    assert pool.columns_named("medium@high", "f") == (3,)
    assert pool.holds(["large", "medium@low"]).tolist() == [0, 1, 0, 0, 1, 1, 1]
    assert pool.column("large@whole", "f") == 5
    assert pool_of({**MEDIUM, "arms": [{"name": "only"}]}).column("medium", "f") == 0


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("medium", "model 'medium' has several arms; name one of medium@low, medium@medium"),
        ("medium@deep", "model 'medium' has no arm 'deep'; there are medium@low, medium@medium"),
        ("small@low", "model 'small' has no arms; name it without '@low'"),
        ("tiny", "unknown model 'tiny'; the pool has small, medium@low, medium@medium"),
    ],
)
def test_a_name_that_stands_for_no_arm_says_which_there_are(name: str, told: str) -> None:
    with pytest.raises(InvalidRequestError) as failed:
        armed_pool().column(name, "f")
    assert told in str(failed.value)


def test_a_reply_of_a_model_is_of_the_decided_arm() -> None:
    pool = pool_of({**MEDIUM, "arms": [{"name": "a"}, {"name": "b"}]}, {**LARGE, "name": "x/large"})
    assert pool.answering("medium", decided=1) == 1
    assert pool.answering("Medium") == 0
    assert pool.answering("medium@b") == 1
    assert pool.answering("large") == 2


@given(
    score=st.floats(0.0, 1.0),
    tokens=st.floats(0.0, 1e6),
    base=st.sampled_from(EFFORTS),
)
def test_learned_offsets_rise_with_the_effort_and_stay_in_range(
    score: float, tokens: float, base: str
) -> None:
    spec = {
        **MEDIUM,
        "default_effort": base,
        "arms": [{"name": one, "effort": one, "body": {"chat": {}}} for one in EFFORTS],
    }
    found = estimated(pool_of(spec), {"medium": (score, tokens)})
    assert (np.diff(found.scores[0]) >= 0).all()
    assert (np.diff(found.output_tokens[0]) >= 0).all()
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    own = EFFORTS.index(base)
    assert found.scores[0, own] == pytest.approx(score, abs=5.1e-5)


def test_budgets_of_thinking_come_to_efforts_in_order() -> None:
    found = [EFFORTS.index(effort_of_budget(tokens)) for tokens in (0, 1024, 2048, 8192, 2**20)]
    assert found == sorted(set(found))
    assert list(OUTPUT_TOKENS) == list(SCORE_ODDS) == list(EFFORTS)


def test_the_learned_steps_are_those_of_the_shipped_table() -> None:
    table = load_artifact(find_artifact(None)).table
    assert table is not None
    odds, tokens = fitted_steps(table)
    assert odds == pytest.approx(SCORE_ODDS, abs=0.006)
    assert tokens == pytest.approx(OUTPUT_TOKENS, abs=0.006)


def fitted_steps(table: ModelTable) -> tuple[dict[str, float], dict[str, float]]:
    """Fits a constant of each model with two efforts or more, and one of each effort."""
    rows: dict[str, dict[str, int]] = {}
    for name, at in table.index.items():
        model, _, arm = name.partition("@")
        effort = "none" if arm == "nothink" else arm.removeprefix("thinking-")
        if effort in EFFORTS:
            rows.setdefault(model, {})[effort] = at
    cells = [
        (k, EFFORTS.index(effort), at)
        for k, of in enumerate(found for found in rows.values() if len(found) > 1)
        for effort, at in of.items()
    ]
    models, efforts, at = (np.array(one) for one in zip(*cells, strict=True))
    design = np.concatenate([np.eye(models.max() + 1)[models], np.eye(len(EFFORTS))[efforts]], 1)
    scores = table.score_mean[at].astype(np.float64)
    steps = [
        np.linalg.lstsq(design, figures.mean(axis=1), rcond=None)[0][-len(EFFORTS) :]
        for figures in (np.log(scores / (1 - scores)), table.log_tokens[at].astype(np.float64))
    ]
    at_medium = EFFORTS.index("medium")
    odds, tokens = (
        dict(zip(EFFORTS, np.exp(one - one[at_medium]).tolist(), strict=True)) for one in steps
    )
    return odds, tokens


def test_a_requests_own_tier_goes_before_the_arms_whatever_the_batch() -> None:
    prices = armed_pool().prices
    inputs, outputs = np.full((3, 7), 1000.0), np.full((3, 7), 100.0)
    tiers = ["", "priority", "default"]
    both = prices.most_usd(inputs, outputs, 0, service_tiers=tiers)
    for row, tier in enumerate(tiers):
        alone = prices.most_usd(inputs[:1], outputs[:1], 0, service_tiers=[tier])
        assert alone[0].tolist() == both[row].tolist()
    whole, at_once = NAMES_AT["large@whole"], NAMES_AT["large@at-once"]
    ratios = both[:, [whole, at_once]] / both[0, whole]
    assert ratios.tolist() == [[1.0, 2.0], [2.0, 2.0], [1.0, 1.0]]


NAMES_AT = {name: at for at, name in enumerate(ARMED_NAMES)}
