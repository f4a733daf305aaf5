"""``routoo-export catalogue place``: its output and errors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from routoo_export.catalogue.measurements import REGRESSORS
from routoo_export.catalogue.table import Catalogue, write_catalogue
from routoo_export.cli.app import main
from routoo_export.outcomes.kinds import TASK_KINDS

if TYPE_CHECKING:
    from pathlib import Path

TASKS = len(TASK_KINDS)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    one = np.zeros((1, TASKS))
    catalogue = Catalogue(
        names=("lab/known",),
        tasks=TASK_KINDS,
        release=np.array([2025.5]),
        score_mean=one + 0.5,
        score_var=one + 0.01,
        log_tokens=one + 5.0,
        log_reasoning_tokens=one,
        log_tokens_std=one + 0.3,
        prompts=one,
        benchmarks=one.astype(np.int64),
        ability_mean=one,
        ability_cov=np.eye(TASKS, dtype=np.float32)[None],
        test_name=("source.math_hard",),
        test_weights=np.eye(TASKS)[[TASK_KINDS.index("math_hard")]],
        test_intercept=np.zeros(1),
        test_slope=np.ones(1),
        test_misfit=np.zeros(1),
        test_measured=np.ones(1, dtype=np.bool_),
        prior_mean=one,
        prior_cov=np.eye(TASKS),
        prior_coefficients=np.zeros((len(REGRESSORS), TASKS)),
        reference_offset=np.zeros(TASKS),
        reference_slope=1.0,
        transfer_var=0.1,
        effort_share=0.8,
    )
    path = tmp_path / "catalogue.npz"
    write_catalogue(path, catalogue)
    return path


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[object, str, str]:
    command = ["routoo-export", "catalogue", "place", *(str(one) for one in arguments)]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as caught:
        main()
    captured = capsys.readouterr()
    return caught.value.code, captured.out, captured.err


def test_a_model_is_placed(
    table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evidence = ["--benchmark", "source.math_hard=90", "--graded", "sql_data=0.2/40"]
    options = [*evidence, "--release", 2026.0, "--catalogue", table, "--json"]
    code, out, error = run(monkeypatch, capsys, "new/model", *options)
    assert code == 0, error
    scores = json.loads(out)
    assert scores["math_hard"]["value"] > 0.8
    assert scores["sql_data"]["value"] == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--benchmark", "source.math_hard"], "source.math_hard: give NAME=VALUE"),
        (["--benchmark", "source.math_hard=good"], "'good' is not a number"),
        (["--graded", "sql_data=0.5"], "give the mean score and the number of prompts"),
        (["--similar", "lab/knwn"], "the nearest are lab/known"),
        ([], "no evidence"),
    ],
)
def test_a_mistake_is_one_line(
    table: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    code, _, error = run(monkeypatch, capsys, "new/model", *options, "--catalogue", table)
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
