"""Reading outcomes: what fits is read as it is, what does not is refused with its row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routoo_export.errors import OutcomeError
from routoo_export.outcomes import Outcomes, merge_outcomes, read_outcomes

if TYPE_CHECKING:
    from pathlib import Path

NAN = float("nan")
WIDE = {
    "prompt_id": ["a", "b", "c"],
    "prompt": ["one?", "two?", "three?"],
    "domain": ["math", None, "law"],
    "dup_group": [1, 1, None],
    "score:big": [1.0, NAN, 0.5],
    "score:small": [0.0, 1.0, None],
    "resp_chars:big": [400, -1, 2],
    "cost_est:big": [0.1, 0.2, 0.3],
}
LONG = {
    "prompt_id": ["a", "a", "b"],
    "prompt": ["one?", "one?", "two?"],
    "model": ["big", "small", "small"],
    "score": [1.0, 0.25, 0.0],
    "output_tokens": [10, None, 30],
    "cost_usd": [0.1, 0.01, None],
    "domain": ["math", "math", None],
    "split": ["train", "train", "test"],
}


def read(folder: Path, columns: dict[str, Any], name: str = "source") -> Outcomes:
    path = folder / f"{name}.parquet"
    pq.write_table(pa.table(columns), path)
    return read_outcomes(path, name=name, licence="MIT")


def test_wide(tmp_path: Path) -> None:
    outcomes = read(tmp_path, WIDE)
    assert outcomes.models == ("big", "small")
    np.testing.assert_array_equal(outcomes.scores, [[1.0, 0.0], [NAN, 1.0], [0.5, NAN]])
    # 400 characters are 100 tokens; none is none; half a token is one.
    np.testing.assert_array_equal(outcomes.output_tokens, [[100, NAN], [NAN, NAN], [1, NAN]])
    np.testing.assert_array_equal(outcomes.cost_usd[:, 0], [0.1, 0.2, 0.3])
    assert outcomes.topics == ("source/math", None, "source/law")
    assert outcomes.buckets[0] == outcomes.buckets[1]
    assert (outcomes.sources[0].rows, len(outcomes.sources[0].sha256)) == (3, 64)


def test_long(tmp_path: Path) -> None:
    outcomes = read(tmp_path, LONG)
    assert outcomes.prompts == ("one?", "two?")
    assert outcomes.models == ("big", "small")
    np.testing.assert_array_equal(outcomes.scores, [[1.0, 0.25], [NAN, 0.0]])
    np.testing.assert_array_equal(outcomes.output_tokens, [[10, NAN], [NAN, 30]])
    np.testing.assert_array_equal(outcomes.cost_usd, [[0.1, 0.01], [NAN, NAN]])
    assert outcomes.domains == ("math", None)


@pytest.mark.parametrize(
    ("base", "change", "message"),
    [
        (WIDE, {"score:big": [1.0, 1.5, 0.0]}, "row 1: score:big is outside"),
        (WIDE, {"score:small": [0.0, 0.0, -0.1]}, "row 2: score:small is outside"),
        (WIDE, {"prompt": ["one?", "two?", None]}, "row 2: prompt is None"),
        (WIDE, {"prompt": ["one?", " \n", "x"]}, "row 1: prompt is"),
        (WIDE, {"prompt_id": ["a", "b", "a"]}, "row 2: prompt_id 'a' occurs twice"),
        (WIDE, {"resp_chars:big": [1, 2, -7]}, "row 2: resp_chars:big is outside"),
        (WIDE, {"cost_est:big": [0.0, float("inf"), 0.0]}, "row 1: cost_est:big is not finite"),
        (WIDE, {"score:big": ["x", "y", "z"]}, "column 'score:big' is not numeric"),
        (LONG, {"score": [1.0, None, 0.0]}, "row 1: score is missing"),
        (LONG, {"score": [1.0, 0.0, 2.0]}, "row 2: score is outside"),
        (LONG, {"model": ["big", "big", "big"]}, "row 1: prompt_id 'a' has model 'big' twice"),
        (LONG, {"prompt": ["one?", "uno?", "two?"]}, "row 1: prompt or domain differs"),
        (LONG, {"model": ["big", "small", ""]}, "row 2: model is ''"),
        (LONG, {"output_tokens": [1, 2, -3]}, "row 2: output_tokens is outside"),
    ],
)
def test_refusals_name_the_row(
    tmp_path: Path, base: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(OutcomeError) as caught:
        read(tmp_path, {**base, **change})
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("column", ["prompt_id", "prompt"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    columns = {name: values for name, values in WIDE.items() if name != column}
    with pytest.raises(OutcomeError, match=f"column '{column}' is missing"):
        read(tmp_path, columns)


def test_a_table_without_models_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutcomeError, match="score:<model>"):
        read(tmp_path, {"prompt_id": ["a"], "prompt": ["one?"]})


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.parquet"
    path.write_bytes(b"no parquet")
    with pytest.raises(OutcomeError, match="not a readable parquet"):
        read_outcomes(path, name="broken", licence="MIT")


def test_merging_keeps_gaps_and_the_order_of_models(tmp_path: Path) -> None:
    wide = read(tmp_path, WIDE, "wide")
    long = read(tmp_path, {**LONG, "model": ["new", "small", "small"]}, "long")
    merged = merge_outcomes([wide, long])
    assert merged.models == ("big", "small", "new")
    assert np.isnan(merged.scores[:3, 2]).all()
    np.testing.assert_array_equal(merged.scores[3:], [[NAN, 0.25, 1.0], [NAN, 0.0, NAN]])
    # The two sources ask "two?" too, and "one?" and "two?" are one question by dup_group.
    assert merged.buckets[0] == merged.buckets[1] == merged.buckets[3] == merged.buckets[4]
    assert [source.name for source in merged.sources] == ["wide", "long"]
