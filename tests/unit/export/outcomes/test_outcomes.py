"""Reading outcomes: rows that fit are read unchanged, others are refused with their number."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routoo_export.errors import OutcomeError
from routoo_export.outcomes.bad_rows import BadRows
from routoo_export.outcomes.columns import OutcomeGrid
from routoo_export.outcomes.outcomes import Outcomes, merge_outcomes, read_grid, read_outcomes
from routoo_export.outcomes.splits import stem_bucket
from routoo_export.outcomes.write import write_grid

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
    # 400 characters are 100 tokens; missing stays missing; half a token becomes one.
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
    # The split follows the question; the file's own split is ignored.
    assert outcomes.buckets.tolist() == [stem_bucket("one"), stem_bucket("two")]


@pytest.mark.parametrize(
    ("base", "change", "message"),
    [
        (WIDE, {"score:big": [1.0, 1.5, 0.0]}, "row 1: score:big is outside [0, 1] (1.5)"),
        (WIDE, {"score:small": [0.0, 0.0, -0.1]}, "row 2: score:small is outside [0, 1] (-0.1)"),
        (WIDE, {"prompt": ["one?", "two?", None]}, "row 2: prompt is empty (None)"),
        (WIDE, {"prompt": ["one?", " \n", "x"]}, "row 1: prompt is empty"),
        (WIDE, {"prompt_id": ["a", "b", "a"]}, "row 2: prompt_id occurs twice"),
        (WIDE, {"resp_chars:big": [1, 2, -7]}, "row 2: resp_chars:big is outside [0, inf)"),
        (WIDE, {"cost_est:big": [0.0, float("inf"), 0.0]}, "row 1: cost_est:big is outside"),
        (WIDE, {"score:big": ["x", "y", "z"]}, "column 'score:big' is not numeric"),
        (WIDE, {"prompt": [0.5, 0.5, 0.5]}, "column 'prompt' is double, not text"),
        (LONG, {"score": [1.0, None, 0.0]}, "row 1: score is missing"),
        (LONG, {"score": [1.0, 0.0, 2.0]}, "row 2: score is outside [0, 1] (2)"),
        (LONG, {"prompt": ["one?", "uno?", "two?"]}, "row 1: prompt differs"),
        (LONG, {"domain": ["math", "law", None]}, "row 1: domain differs"),
        (LONG, {"model": ["big", "small", ""]}, "row 2: model is empty ('')"),
        (LONG, {"output_tokens": [1, 2, -3]}, "row 2: output_tokens is outside"),
        (LONG, {"latency_ms": [1, float("inf"), 3]}, "row 1: latency_ms is outside"),
    ],
)
def test_refusals_name_the_row(
    tmp_path: Path, base: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(OutcomeError) as caught:
        read(tmp_path, {**base, **change})
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_contradiction_names_both_rows(tmp_path: Path) -> None:
    with pytest.raises(OutcomeError) as caught:
        read(tmp_path, {**LONG, "model": ["big", "big", "big"]})
    message = str(caught.value)
    assert f"{tmp_path / 'source.parquet'}: row 1: the same prompt and model" in message
    assert "score 0.25" in message
    assert (
        f"score 1, cost_usd 0.1, output_tokens 10 in {tmp_path / 'source.parquet'}: row 0"
        in message
    )
    assert "--skip-bad" in message


def test_identical_duplicates_are_dropped_and_counted(tmp_path: Path) -> None:
    for columns in (WIDE, LONG):
        twice = {name: [*values, values[1]] for name, values in columns.items()}
        pq.write_table(pa.table(twice), tmp_path / "twice.parquet")
        bad = BadRows()
        outcomes = read_outcomes(tmp_path / "twice.parquet", name="source", licence="MIT", bad=bad)
        once = read(tmp_path, columns)
        assert bad.duplicates == 1
        assert outcomes.prompts == once.prompts
        np.testing.assert_array_equal(outcomes.scores, once.scores)


def test_skipping_counts_by_reason_and_keeps_the_rest(tmp_path: Path) -> None:
    columns = {
        "prompt_id": ["a", "a", "b", "b", "b", "c", "c", "d"],
        "prompt": ["one?", "one?", "two?", "two?", "two?", "", "three?", "four?"],
        "model": ["big", "small", "big", "small", "small", "big", "small", "big"],
        "score": [1.0, 0.5, 1.0, 0.0, 1.0, 1.0, 1.0, 7.0],
    }
    pq.write_table(pa.table(columns), tmp_path / "bad.parquet")
    bad = BadRows(skip=True)
    outcomes = read_outcomes(tmp_path / "bad.parquet", bad=bad)
    assert bad.skipped == {
        "prompt is empty": 1,
        "score is outside [0, 1]": 1,
        "the same prompt and model have another outcome in an earlier row": 2,
    }
    assert outcomes.prompt_ids == ("a", "b", "c")
    np.testing.assert_array_equal(outcomes.scores, [[1.0, 0.5], [1.0, NAN], [NAN, 1.0]])


def test_skipping_in_a_wide_file_drops_cells_not_prompts(tmp_path: Path) -> None:
    pq.write_table(pa.table({**WIDE, "score:big": [1.0, 9.0, 0.5]}), tmp_path / "bad.parquet")
    bad = BadRows(skip=True)
    outcomes = read_outcomes(tmp_path / "bad.parquet", bad=bad)
    assert bad.skipped == {"score:big is outside [0, 1]": 1}
    np.testing.assert_array_equal(outcomes.scores, [[1.0, 0.0], [NAN, 1.0], [0.5, NAN]])


def test_nothing_left_is_an_error_even_when_skipping(tmp_path: Path) -> None:
    for columns in (WIDE, LONG):
        pq.write_table(pa.table({**columns, "prompt": ["", "", ""]}), tmp_path / "bad.parquet")
        with pytest.raises(OutcomeError, match="no row fits"):
            read_outcomes(tmp_path / "bad.parquet", bad=BadRows(skip=True))


def test_true_costs_are_preferred_and_never_mixed_with_estimates(tmp_path: Path) -> None:
    true = read(tmp_path, {**WIDE, "cost:small": [1.0, 2.0, 3.0]})
    np.testing.assert_array_equal(true.cost_usd, [[NAN, 1.0], [NAN, 2.0], [NAN, 3.0]])
    assert true.sources[0].costs == "true"
    assert read(tmp_path, WIDE).sources[0].costs == "estimated"
    assert read(tmp_path, LONG).sources[0].costs == "true"
    assert read(tmp_path, {**LONG, "cost_usd": [None] * 3}).sources[0].costs == "none"


def test_the_other_figures_of_the_contract(tmp_path: Path) -> None:
    wide = {
        **WIDE,
        "in_tokens:big": [1, 2, 3],
        "out_tokens:big": [4, 5, 6],
        "latency_ms:small": [7, 8, 9],
    }
    outcomes = read(tmp_path, wide)
    np.testing.assert_array_equal(outcomes.input_tokens, [[1, NAN], [2, NAN], [3, NAN]])
    np.testing.assert_array_equal(outcomes.output_tokens[:, 0], [4, 5, 6])
    np.testing.assert_array_equal(outcomes.latency_ms, [[NAN, 7], [NAN, 8], [NAN, 9]])
    long = read(
        tmp_path, {**LONG, "input_tokens": [5, 6, None], "latency_ms": [7.5, None, None]}, "b"
    )
    np.testing.assert_array_equal(long.input_tokens, [[5, 6], [NAN, NAN]])
    np.testing.assert_array_equal(long.latency_ms, [[7.5, NAN], [NAN, NAN]])
    plain = read(tmp_path, LONG, "c")
    assert plain.input_tokens is None
    assert merge_outcomes([plain, plain]).latency_ms is None
    merged = merge_outcomes([long, plain])
    np.testing.assert_array_equal(merged.latency_ms, [[7.5, NAN], *[[NAN, NAN]] * 3])
    np.testing.assert_array_equal(merged.rows(np.array([1, 0])).input_tokens, [[NAN, NAN], [5, 6]])


def test_the_question_stands_for_a_prompt_with_demonstrations(tmp_path: Path) -> None:
    shots = "Is 1 odd?\nA. yes\nB. no\nAnswer: A\n\n"
    questions = [f"Is {n} odd?\nA. yes\nB. no\nAnswer:" for n in range(60)]
    columns = {
        "prompt_id": [str(n) for n in range(60)],
        "prompt": [shots + question for question in questions],
        "question": questions,
        "eval_name": ["parity"] * 60,
        "score:m": [1.0] * 60,
    }
    outcomes = read(tmp_path, columns)
    assert outcomes.prompts == tuple(questions)
    assert outcomes.domains == ("parity",) * 60
    assert len(set(outcomes.buckets)) > 1


def test_whole_numbers_are_ids(tmp_path: Path) -> None:
    assert read(tmp_path, {**WIDE, "prompt_id": [7, 8, 9]}).prompt_ids == ("7", "8", "9")


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


TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8).filter(str.strip)
FIGURE = st.none() | st.floats(0.0, 1e6, width=32)


@st.composite
def grids(draw: st.DrawFn) -> OutcomeGrid:
    """Outcomes that the long form can hold: all prompts and figures belong to a graded call."""
    models = draw(
        st.lists(TEXT.filter(lambda t: ":" not in t), min_size=1, max_size=3, unique=True)
    )
    ids = draw(st.lists(TEXT, min_size=1, max_size=4, unique=True))
    shape = (len(ids), len(models))

    def matrix(cells: st.SearchStrategy[float | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
        rows = draw(
            st.lists(
                st.lists(cells, min_size=shape[1], max_size=shape[1]),
                min_size=shape[0],
                max_size=shape[0],
            )
        )
        return np.array(rows, dtype=np.float64)

    scores = matrix(st.none() | st.floats(0.0, 1.0))
    # A prompt or a model without any score has no row in the long form.
    scores[np.isnan(scores).all(axis=1), 0] = 1.0
    scores[0, np.isnan(scores).all(axis=0)] = 0.0
    graded = np.where(np.isnan(scores), np.nan, 0.0)
    figures = [graded + matrix(FIGURE) for _ in range(4)]
    optional = [None if np.isnan(figure).all() else figure for figure in figures[2:]]
    domains = st.lists(st.none() | TEXT, min_size=shape[0], max_size=shape[0])
    return OutcomeGrid(
        prompt_ids=tuple(ids),
        prompts=tuple(draw(st.lists(TEXT, min_size=shape[0], max_size=shape[0]))),
        models=tuple(models),
        scores=scores,
        output_tokens=np.maximum(figures[0], 1.0),
        cost_usd=figures[1],
        input_tokens=optional[0],
        latency_ms=optional[1],
        domains=tuple(draw(domains)),
        groups=tuple(draw(domains)),
        cost_kind="none"
        if np.isnan(figures[1]).all()
        else draw(st.sampled_from(["true", "estimated"])),
    )


def wide_table(grid: OutcomeGrid) -> pa.Table:
    cost = "cost" if grid.cost_kind == "true" else "cost_est"
    figures = {
        "score": grid.scores,
        "out_tokens": grid.output_tokens,
        cost: grid.cost_usd,
        "in_tokens": grid.input_tokens,
        "latency_ms": grid.latency_ms,
    }
    columns: dict[str, Any] = {
        "prompt_id": list(grid.prompt_ids),
        "prompt": list(grid.prompts),
        "domain": pa.array(grid.domains, pa.string()),
        "dup_group": pa.array(grid.groups, pa.string()),
    }
    for name, figure in figures.items():
        if figure is not None:
            columns |= {f"{name}:{model}": figure[:, j] for j, model in enumerate(grid.models)}
    return pa.table(columns)


def assert_same(read_back: OutcomeGrid, grid: OutcomeGrid) -> None:
    """Compare outcomes up to the order of models, which in a long file follows the first scores."""
    assert sorted(read_back.models) == sorted(grid.models)
    order = [read_back.models.index(model) for model in grid.models]
    for name in ("scores", "output_tokens", "cost_usd", "input_tokens", "latency_ms"):
        found, wanted = getattr(read_back, name), getattr(grid, name)
        assert (found is None) == (wanted is None), name
        if wanted is not None:
            np.testing.assert_array_equal(found[:, order], wanted, name)
    for name in ("prompt_ids", "prompts", "domains", "groups", "cost_kind"):
        assert getattr(read_back, name) == getattr(grid, name), name


@given(grids())
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=60,
)
def test_long_and_wide_carry_the_same(tmp_path: Path, grid: OutcomeGrid) -> None:
    wide, long = tmp_path / "wide.parquet", tmp_path / "long.parquet"
    pq.write_table(wide_table(grid), wide)
    from_wide = read_grid(wide, BadRows())
    assert from_wide.models == grid.models
    assert_same(from_wide, grid)
    write_grid(from_wide, long, name="any", licence="MIT")
    assert_same(read_grid(long, BadRows()), grid)


def test_a_file_says_where_it_is_from(tmp_path: Path) -> None:
    pq.write_table(pa.table(WIDE), tmp_path / "wide.parquet")
    grid = read_grid(tmp_path / "wide.parquet", BadRows())
    write_grid(grid, tmp_path / "long.parquet", name="ours", licence="MIT")
    source = read_outcomes(tmp_path / "long.parquet").sources[0]
    assert (source.name, source.licence, source.costs) == ("ours", "MIT", "estimated")
    # The caller's values take precedence.
    named = read_outcomes(tmp_path / "long.parquet", name="mine", licence="CC0-1.0").sources[0]
    assert (named.name, named.licence) == ("mine", "CC0-1.0")
    bare = read_outcomes(tmp_path / "wide.parquet").sources[0]
    assert (bare.name, bare.licence) == ("wide", "unknown")


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(pa.table(WIDE), tmp_path / "wide.parquet")
    grid = read_grid(tmp_path / "wide.parquet", BadRows())
    out = tmp_path / "out.parquet"
    write_grid(grid, out, name="ours", licence="MIT")
    before = out.read_bytes()

    def full(_: pa.Table, path: Path, **__: object) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OutcomeError, match="No space left"):
        write_grid(grid, out, name="ours", licence="MIT")
    assert out.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.parquet", "wide.parquet"]


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


@pytest.mark.data
def test_demonstrations_do_not_make_one_question_of_many(outcome_data_dir: Path) -> None:
    outcomes = read_outcomes(outcome_data_dir / "routerbench.parquet")
    assert outcomes.sources[0].costs == "true"
    shares = np.bincount(outcomes.buckets, minlength=10) / len(outcomes.prompts)
    # All 5-shot prompts of an eval have the same beginning; split by it, a bucket would hold 40 %.
    assert shares.max() < 0.13
