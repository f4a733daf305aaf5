"""The rule for prompts that the predictor does not know changes these prompts alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from routoo.routing.decision import Chosen
from routoo.routing.estimates import Estimates
from routoo.routing.unsure import Unsure
from routoo.selector.policies.base import Case
from routoo.selector.policies.best import Best
from routoo.selector.reason import Reason

if TYPE_CHECKING:
    from routoo.selector.arrays import BoolArray

M = 3


def estimates_of(seed: int, n: int) -> tuple[Estimates, BoolArray]:
    rng = np.random.default_rng(seed)
    figures = np.round(rng.random((n, M)), 4)
    ood, confidence = np.round(rng.random((2, n)), 4)
    ood[rng.random(n) < 0.1] = np.nan
    found = Estimates(
        scores=figures,
        output_tokens=figures,
        costs_usd=figures,
        latencies_ms=figures,
        input_tokens=ood,
        ood=ood,
        confidence=confidence,
    )
    return found, rng.random((n, M)) < 0.7


RULES = st.builds(
    lambda ood, confidence, model, means: Unsure(
        ood, confidence, model, () if model is not None else means
    ),
    st.none() | st.floats(0, 0.99),
    st.none() | st.floats(0.01, 1),
    st.none() | st.integers(0, M - 1),
    st.tuples(*[st.floats(0, 1)] * M),
)


@given(RULES, st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_other_prompts_and_other_models_stay(rule: Unsure, seed: int, n: int) -> None:
    plain, mask = estimates_of(seed, n)
    rule = Unsure.restored(rule.logged())
    marked = rule.marked(plain)
    rows = marked.unsure
    assert rows is not None
    assert not rows[np.isnan(plain.ood) & (rule.confidence_below is None)].any()
    np.testing.assert_array_equal(marked.scores[~rows], plain.scores[~rows])
    again = rule.marked(marked)
    np.testing.assert_array_equal(again.scores, marked.scores)
    np.testing.assert_array_equal(again.unsure, rows)

    nothing = np.zeros(n)
    case = Case(marked.scores, marked.costs_usd, mask, nothing, nothing, nothing.astype(np.int64))
    choice = Best().choose(case)
    before = Chosen(choice, Best().explain(case, choice), np.ones(n, np.bool_))
    after = rule.instead(before, mask, rows)
    np.testing.assert_array_equal(after.choice[~rows], choice[~rows])
    np.testing.assert_array_equal(after.reasons[~rows], before.reasons[~rows])
    decided = np.flatnonzero(after.choice >= 0)
    assert mask[decided, after.choice[decided]].all()
    np.testing.assert_array_equal(after.choice >= 0, choice >= 0)
    named = after.reasons == Reason.UNSURE
    assert not named[~rows].any()
    if rule.model is None:
        np.testing.assert_array_equal(after.choice, choice)
    else:
        assert (after.choice[named] == rule.model).all()
        assert not after.priced[named].any()
