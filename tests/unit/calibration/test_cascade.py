"""Corrections learned from signals, and their file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from scipy.optimize import minimize
from scipy.special import expit

from routoo.calibration.cascade import RIDGE, fit, fit_chance, learn
from routoo.calibration.cascade_file import load_rule, rule_values
from routoo.errors import ConfigError, InfeasibleError
from routoo.selector.cascade import CascadePlan, Correction, Rule, log_odds
from support.samples import sample_of
from support.tiny_pool import tiny_pool

if TYPE_CHECKING:
    from pathlib import Path

    from routoo.calibration.sample import PromptSample

N = 4_000
# The true correction of small, medium and large by the signal.
INTERCEPTS, SLOPES = np.array([-0.3, 0.0, 0.2]), np.array([2.0, 1.0, 0.0])


def agreeing_sample(n: int = N, *, known: int = 3) -> PromptSample:
    """Draws true scores from the model that is to be learned; the last models have no labels."""
    rng = np.random.default_rng(4)
    scores = rng.uniform(0.1, 0.9, (n, 3))
    agrees = (rng.random(n) < expit(log_odds(scores[:, 0]))).astype(np.float64)
    odds = log_odds(scores) + INTERCEPTS + np.outer(agrees - agrees.mean(), SLOPES)
    truth = (rng.random((n, 3)) < expit(odds)).astype(np.float64)
    truth[:, known:] = np.nan
    signal = np.full((n, 3), np.nan)
    signal[:, 0] = agrees
    costs = np.tile([0.0001, 0.001, 0.01], (n, 1))
    return sample_of(scores, costs, true_scores=truth, signals={"agreement": signal})


def test_what_the_signal_says_is_recovered() -> None:
    (fitted,) = learn(agreeing_sample(), price=10.0)
    assert (fitted.kind, fitted.kept, fitted.rows) == ("agreement", 0, N)
    assert fitted.correction.intercepts == pytest.approx(INTERCEPTS, abs=0.15)
    assert fitted.correction.slopes == pytest.approx(SLOPES, abs=0.25)


def test_on_held_out_prompts_escalation_gains_more_than_it_costs() -> None:
    (fitted,) = learn(agreeing_sample(), price=10.0)
    held_out = fitted.held_out
    assert held_out is not None
    assert 0.0 < held_out.escalated.value < 1.0
    gain = held_out.score.value - held_out.kept_score.value
    assert gain > 10.0 * held_out.extra_usd.value > 0.0


def test_weights_are_the_optimum_that_a_general_solver_finds() -> None:
    sample = agreeing_sample(300)
    feature = sample.signals["agreement"][:, 0]
    correction = fit(sample.scores, sample.true_scores, feature)
    centred = feature - feature.mean()
    X = np.stack([np.ones(300), centred / centred.std()])

    def loss(weights: np.ndarray) -> float:
        u = log_odds(sample.scores[:, 1]) + weights @ X
        fits = np.logaddexp(0.0, u).sum() - sample.true_scores[:, 1] @ u
        return float(fits + 0.5 * RIDGE * weights @ weights)

    best = minimize(loss, np.zeros(2)).x
    assert correction.intercepts[1] == pytest.approx(best[0], abs=1e-4)
    assert correction.slopes[1] * centred.std() == pytest.approx(best[1], abs=1e-4)


def test_models_without_labels_stay_unknown() -> None:
    (fitted,) = learn(agreeing_sample(known=2), price=10.0)
    assert np.isfinite(fitted.correction.slopes).tolist() == [True, True, False]


def test_a_separating_signal_stays_finite() -> None:
    scores = np.full((200, 3), 0.5)
    feature = np.tile([0.0, 1.0], 100)
    correction = fit(scores, np.tile(feature[:, None], 3), feature)
    assert np.isfinite(correction.slopes).all()
    assert (correction.slopes > 3.0).all()


def test_a_file_without_signals_teaches_nothing() -> None:
    sample = agreeing_sample()
    nothing = sample_of(sample.scores, sample.costs_usd, true_scores=sample.true_scores)
    with pytest.raises(InfeasibleError, match="no signal to learn from; at least 50 lines need"):
        learn(nothing, price=1.0)
    with pytest.raises(InfeasibleError, match="no signal to learn from"):
        learn(agreeing_sample(40), price=1.0)


def test_a_plan_knows_how_likely_the_two_agree() -> None:
    sample = agreeing_sample()
    (fitted,) = learn(sample, price=10.0, beside=1)
    assert fitted.plan is not None
    assert (fitted.plan.kept, fitted.plan.beside) == (0, 1)
    assert fitted.plan.chance == pytest.approx((0.0, 1.0, 0.0), abs=0.15)
    assert fitted.plan.agreement(sample.scores).mean() == pytest.approx(
        sample.signals["agreement"][:, 0].mean(), abs=0.02
    )


def test_agreement_with_several_models_makes_no_plan() -> None:
    with pytest.raises(InfeasibleError, match="leave --beside out"):
        fit_chance("f", np.full((2, 2), 0.5), np.array([0.5, 1.0]))


def a_rule() -> Rule:
    correction = Correction(0.5, np.array([0.25, -0.5, np.nan]), np.array([1.0, 0.75, np.nan]))
    other = Correction(0.25, np.zeros(3), np.ones(3))
    return Rule(
        {("agreement", 0): correction, ("margin", 1): other},
        (CascadePlan(0, 1, correction, (0.5, 0.25, 0.125)),),
    )


def written(path: Path, **changes: Any) -> Path:
    values = {**rule_values(a_rule(), tiny_pool(), "tiny-1"), **changes}
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def test_the_file_is_read_back_as_it_was(tmp_path: Path) -> None:
    found = load_rule(written(tmp_path / "rule.yaml"), tiny_pool(), "tiny-1")
    expected = a_rule()
    assert found.corrections.keys() == expected.corrections.keys()
    for key, correction in expected.corrections.items():
        again = found.corrections[key]
        assert again.centre == correction.centre
        np.testing.assert_array_equal(again.intercepts, correction.intercepts)
        np.testing.assert_array_equal(again.slopes, correction.slopes)
    (plan,) = found.plans
    assert (plan.kept, plan.beside, plan.chance) == (0, 1, (0.5, 0.25, 0.125))


ONE = {"signal": "agreement", "answered_by": "small", "centre": 0.5}
WEIGHTS = {"intercept": 0.0, "slope": 1.0}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"predictor_version": "other"}, "was learned with predictor other, and this is tiny-1"),
        ({"corrections": []}, "corrections"),
        ({"format_version": 2}, "format_version"),
        ({"corrections": [{**ONE, "models": {"tiny": WEIGHTS}}]}, "unknown model 'tiny'"),
        ({"corrections": [{**ONE, "models": {"large": WEIGHTS}}]}, "nothing of that model itself"),
        (
            {"corrections": [{**ONE, "models": {"small": WEIGHTS}}] * 2},
            "agreement of small stands twice",
        ),
        (
            {"corrections": [{**ONE, "models": {"small": WEIGHTS}, "beside": "x"}]},
            "unknown model 'x'",
        ),
        ({"corrections": [{**ONE, "signal": "mood", "models": {"small": WEIGHTS}}]}, "signal"),
    ],
)
def test_a_wrong_rule_stops_the_start_with_one_line(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    path = written(tmp_path / "rule.yaml", **changes)
    with pytest.raises(ConfigError) as refused:
        load_rule(path, tiny_pool(), "tiny-1")
    assert str(refused.value).startswith(str(path))
    assert said in str(refused.value)
