"""The column ``arm`` of outcomes: an arm is a model of its own, ``model@arm``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routoo_export.errors import OutcomeError
from routoo_export.outcomes.outcomes import Outcomes, read_outcomes

if TYPE_CHECKING:
    from pathlib import Path

ROWS: dict[str, Any] = {
    "prompt_id": ["a", "a", "a", "b", "b"],
    "prompt": ["one?", "one?", "one?", "two?", "two?"],
    "model": ["lab/big", "lab/big", "lab/small", "lab/big@low", "lab/big"],
    "arm": ["low", "high", None, "low", " "],
    "score": [0.0, 1.0, 0.5, 0.25, 0.75],
}


def read(folder: Path, **changes: Any) -> Outcomes:
    path = folder / "outcomes.parquet"
    pq.write_table(pa.table({**ROWS, **changes}), path)
    return read_outcomes(path, name="source", licence="MIT")


def test_an_arm_is_a_model_of_its_own(tmp_path: Path) -> None:
    outcomes = read(tmp_path)
    assert outcomes.models == ("lab/big@low", "lab/big@high", "lab/small", "lab/big")
    np.testing.assert_array_equal(
        outcomes.scores, [[0.0, 1.0, 0.5, np.nan], [0.25, np.nan, np.nan, 0.75]]
    )


def test_a_column_without_arms_changes_nothing(tmp_path: Path) -> None:
    outcomes = read(tmp_path, arm=[None] * 5, model=["a", "b", "c", "a", "b"])
    assert outcomes.models == ("a", "b", "c")


@pytest.mark.parametrize("arm", ["high", "low@x"])
def test_an_arm_that_the_models_name_denies_is_refused_with_its_row(
    tmp_path: Path, arm: str
) -> None:
    with pytest.raises(OutcomeError) as refused:
        read(tmp_path, arm=["low", "high", None, arm, None])
    told = str(refused.value)
    assert "row 3" in told
    assert f"arm is another than the one in the model's name ('lab/big@low', {arm!r})" in told


def test_rows_of_two_arms_do_not_contradict_each_other(tmp_path: Path) -> None:
    with pytest.raises(OutcomeError, match="another outcome"):
        read(tmp_path, arm=["low", "low", None, None, None])
