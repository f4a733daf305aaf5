"""The rule that is given as the reason of a choice."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.selector.policies.lp import decide, reasons, round_scores
from routoo.selector.reason import Reason


@pytest.mark.parametrize(
    ("scores", "mask", "choice", "reason"),
    [
        ([0.1, 0.9], [True, True], 1, Reason.BEST_SCORE),
        ([0.1, 0.9], [True, True], 0, Reason.PRICE),
        ([0.9, 0.9], [True, True], 0, Reason.BEST_SCORE),
        ([0.1, 0.9], [True, False], 0, Reason.ONLY_ELIGIBLE),
        ([0.1, np.nan], [True, False], 0, Reason.ONLY_ELIGIBLE),
        ([0.1, 0.9], [False, False], -1, Reason.NONE_ELIGIBLE),
    ],
)
def test_reason_of_one_row(scores: Any, mask: Any, choice: Any, reason: Reason) -> None:
    codes = reasons(np.array([scores]), np.array([mask]), np.array([choice]))

    assert codes.dtype == np.int8
    assert codes.tolist() == [reason]


@given(data=st.data())
def test_no_price_never_gives_the_price_as_reason(
    instances: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    instance = data.draw(instances)
    choice = decide(instance.scores, instance.costs, instance.mask, 0.0)

    codes = reasons(round_scores(instance.scores), instance.mask, choice)

    assert set(codes.tolist()) <= {Reason.BEST_SCORE, Reason.ONLY_ELIGIBLE}
    single = instance.mask.sum(axis=1) == 1
    assert (codes == Reason.ONLY_ELIGIBLE).tolist() == single.tolist()


@given(data=st.data(), price=st.floats(0.0, 1e4))
def test_a_rows_reason_depends_on_its_row_alone(
    instances: st.SearchStrategy[Any], data: st.DataObject, price: float
) -> None:
    instance = data.draw(instances)
    scores, mask = round_scores(instance.scores), instance.mask
    choice = decide(scores, instance.costs, mask, price)
    again = decide(scores, instance.costs, mask, price, are_rounded=True)

    together = reasons(scores, mask, choice)
    alone = [
        reasons(scores[row : row + 1], mask[row : row + 1], choice[row : row + 1])
        for row in range(len(choice))
    ]

    assert again.tolist() == choice.tolist()
    assert [one.tolist() for one in alone] == [[code] for code in together.tolist()]
