"""``routoo-export train`` on own outcomes: the table, the next version, errors of one line."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routoo.predictor.artifact import load_artifact
from routoo_export.cli.app import main
from support.tables.random_table import write_tiny_table_artifact

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 120


def write(path: Path, **columns: Any) -> Path:
    random = np.random.default_rng(0)
    table: dict[str, Any] = {
        "prompt_id": [str(at) for at in range(ROWS)],
        "prompt": [f"{('rose', 'sum')[at % 2]} moon {at}" for at in range(ROWS)],
        "score:small": random.integers(0, 2, ROWS).astype(float),
        "score:large": random.integers(0, 2, ROWS).astype(float),
        "cost:small": np.full(ROWS, 1e-5),
        "cost:large": np.full(ROWS, 1e-4),
    }
    table |= columns
    pq.write_table(pa.table({k: v for k, v in table.items() if v is not None}), path)
    return path


@pytest.fixture
def base(tmp_path: Path) -> Path:
    prompts = [f"{('rose', 'sum')[at % 2]} moon {at}" for at in range(ROWS)]
    return write_tiny_table_artifact(tmp_path / "base" / "predictor" / "1", prompts)


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    monkeypatch.delenv("ROUTOO_DATA", raising=False)
    monkeypatch.setattr("sys.argv", ["routoo-export", "train", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), out, err


def test_each_training_writes_the_next_version(
    tmp_path: Path,
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mine, repository = write(tmp_path / "mine.parquet"), tmp_path / "own"
    options = ("--outcomes", mine, "--artifact", base, "--repository", repository)
    code, out, err = run(monkeypatch, capsys, *options)
    assert (code, err) == (0, "")
    assert "recognised task, empirical-Bayes means" in out
    assert "no lengths of all models" in out
    code, out, _ = run(monkeypatch, capsys, *options, "--test", mine, "--json")
    assert code == 0
    assert json.loads(out)["folder"].endswith("2")
    for version in ("1", "2"):
        assert load_artifact(repository / "predictor" / version).models == ("small", "large")


def test_in_a_narrow_terminal_no_name_is_cut_and_no_line_is_too_long(
    tmp_path: Path,
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "60"}.items():
        monkeypatch.setenv(name, value)
    options = ("--artifact", base, "--repository", tmp_path / "own")
    code, out, _ = run(
        monkeypatch, capsys, "--outcomes", write(tmp_path / "mine.parquet"), *options
    )
    assert code == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", out).splitlines()
    named = [line for line in lines if line.startswith("recognised task, empirical-Bayes means")]
    assert len(named) > 1
    assert max(map(len, named)) <= 60


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"score:small": None, "score:large": None}, "score:<model>"),
        ({"score:small": [np.nan] * ROWS, "score:large": [np.nan] * ROWS}, "no score"),
        ({"score:small": None}, "one model only"),
        ({"score:small": [1.0] * ROWS, "score:large": [1.0] * ROWS}, "all scores are 1"),
    ],
)
def test_outcomes_that_tell_nothing_are_an_error_of_one_line(
    columns: dict[str, Any],
    said: str,
    tmp_path: Path,
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mine = write(tmp_path / "mine.parquet", **columns)
    code, _, err = run(monkeypatch, capsys, "--outcomes", mine, "--artifact", base)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1


def test_costs_that_are_missing_are_said_and_prices_stand_in(
    tmp_path: Path,
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mine = write(tmp_path / "mine.parquet", **{"cost:small": [np.nan] * ROWS})
    options = ("--outcomes", mine, "--artifact", base, "--repository", tmp_path / "own")
    code, out, _ = run(monkeypatch, capsys, *options)
    assert code == 0
    assert "give --prices" in out
    assert "half its cost" not in out
    prices = tmp_path / "prices.csv"
    prices.write_text("model,usd_per_1M_input,usd_per_1M_output\nsmall,1,2\n")
    code, _, err = run(monkeypatch, capsys, *options, "--prices", prices)
    assert code == 2
    assert "has no 'large'" in err
    prices.write_text(prices.read_text() + "large,10,20\n")
    code, out, _ = run(monkeypatch, capsys, *options, "--prices", prices, "--json")
    assert code == 0
    assert "half_cost_points" in json.loads(out)["figures"]["this predictor"]
