"""Amounts in messages: short to read, and large enough to act upon."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.selector.arrays import enough
from routoo.selector.lp.remedies import enough_in_sum


@given(st.floats(1e-12, 1e12))
def test_amount_suffices_and_is_hardly_more(amount: float) -> None:
    told = float(enough(amount))

    assert amount <= told <= amount * (1 + 1.1e-5)


@pytest.mark.parametrize(
    ("amount", "told"),
    [
        (0.1 + 0.2, "0.3"),
        (3.0000000000000004, "3"),
        (0.03421234, "0.0342124"),
        (1_234_567.0, "1234570"),
        (1e-9, "0.000000001"),
    ],
)
def test_amount_is_written_out_without_the_noise_of_summing(amount: float, told: str) -> None:
    assert enough_in_sum(amount) == told
