"""Reading of the sources: LiveBench's releases, outcomes, names; and the evaluation."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo_export.catalogue.build import build_catalogue
from routoo_export.catalogue.estimator import estimate
from routoo_export.catalogue.evaluate import leave_one_source_out, spearman
from routoo_export.catalogue.livebench import livebench_tests, read_releases
from routoo_export.catalogue.measurements import gather, read_evidence
from routoo_export.catalogue.names import parse_name
from routoo_export.catalogue.outcome_tests import item_variances
from routoo_export.catalogue.reference import REFERENCE_MODELS, REFERENCE_SCORES
from routoo_export.errors import OutcomeError

if TYPE_CHECKING:
    from pathlib import Path

    from routoo_export.catalogue.measurements import Measurements

MODELS = ("gpt-4o-2024-05-13", "claude-3-opus-20240229", "gemma-2-9b-it")


def write_release(data: Path, date: str, columns: dict[str, tuple[object, ...]]) -> None:
    folder = data / "livebench"
    folder.mkdir(exist_ok=True)
    with (folder / f"table_{date}.csv").open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["model", *columns])
        lines.writerows(
            [model, *row] for model, *row in zip(MODELS, *columns.values(), strict=True)
        )
    categories = json.dumps({"All": list(columns)})
    (folder / f"categories_{date}.json").write_text(categories, encoding="utf-8")


def test_releases_with_the_same_questions_are_one_test(tmp_path: Path) -> None:
    write_release(tmp_path, "2024_06_24", {"typos": (50, 40, 30), "olympiad": (60, 50, 40)})
    write_release(tmp_path, "2024_07_26", {"typos": (50, 40, 30), "olympiad": (20, 15, 10)})
    tests = {test.name: test for test in livebench_tests(read_releases(tmp_path))}
    assert set(tests) == {
        "livebench_2024_06_24.typos",
        "livebench_2024_06_24.olympiad",
        "livebench_2024_07_26.olympiad",
    }
    assert tests["livebench_2024_06_24.typos"].models == (
        "openai/gpt-4o-2024-05-13",
        "anthropic/claude-3-opus-20240229",
        "google/gemma-2-9b-it",
    )


def test_a_missing_average_is_no_measurement(tmp_path: Path) -> None:
    write_release(tmp_path, "2024_06_24", {"typos": (50, "", 30)})
    (test,) = livebench_tests(read_releases(tmp_path))
    assert len(test.models) == len(test.mean) == 2


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutcomeError, match="no tables found"):
        read_releases(tmp_path)


@given(seed=st.integers(0, 10_000))
def test_item_variances_leave_out_the_prompts_difficulty(seed: int) -> None:
    rng = np.random.default_rng(seed)
    models = rng.random(4)
    easy = np.repeat(rng.random((200, 1)), 4, axis=1) + models
    np.testing.assert_allclose(item_variances(easy), 0.0, atol=1e-12)
    noise = rng.normal(0.0, 0.1, (4000, 4))
    found = item_variances(np.repeat(rng.random((4000, 1)), 4, axis=1) + models + noise)
    np.testing.assert_allclose(found, 0.01, rtol=0.15)


@pytest.mark.parametrize(
    ("name", "base", "effort", "level"),
    [
        ("openai/gpt-4o-2024-08-06", "openai/gpt-4o-2024-08-06", "", 0.0),
        ("openai/gpt-5-2025-08-07@high", "openai/gpt-5-2025-08-07", "high", 0.9),
        ("openai/gpt-5-2025-08-07", "openai/gpt-5-2025-08-07", "", 0.7),
        ("openai/gpt-5-chat-latest", "openai/gpt-5-chat-latest", "", 0.0),
        ("x-ai/grok-4-1-fast@nothink", "x-ai/grok-4-1-fast", "nothink", 0.0),
        ("meta-llama/llama-4-maverick@fp8", "meta-llama/llama-4-maverick", "", 0.0),
        ("anthropic/claude-x@thinking-low", "anthropic/claude-x", "thinking-low", 0.4),
        ("anthropic/claude-x@nothink-high", "anthropic/claude-x", "nothink-high", 0.0),
    ],
)
def test_a_name_is_taken_apart(name: str, base: str, effort: str, level: float) -> None:
    parsed = parse_name(name)
    assert (parsed.base, parsed.effort, parsed.level) == (base, effort, level)


def test_a_left_out_source_is_predicted_from_the_others(measured: Measurements) -> None:
    whole = estimate(measured, steps=40)
    found = leave_one_source_out(measured, whole, "source2")
    assert found.models == 24
    assert found.spearman > 0.9
    assert found.covered_known > 0.8
    assert np.isnan(found.spearman_livebench)


def test_spearman_is_that_of_ranks() -> None:
    assert spearman(np.array([1.0, 2.0, 9.0]), np.array([0.1, 0.2, 0.3])) == pytest.approx(1.0)
    assert np.isnan(spearman(np.array([1.0, 2.0]), np.array([1.0, 2.0])))


@pytest.mark.data
def test_the_catalogue_of_the_real_data_is_as_described(outcome_data_dir: Path) -> None:
    catalogue = build_catalogue(outcome_data_dir)
    recent = catalogue.release >= 2025.0
    assert recent.sum() >= 100
    assert sum("@" in name for name in catalogue.names) >= 80
    assert np.all((catalogue.score_mean > 0.0) & (catalogue.score_mean < 0.99))
    rows = [catalogue.row(name) for name in REFERENCE_MODELS]
    wanted = np.array([REFERENCE_SCORES[task] for task in catalogue.tasks])
    assert np.abs(catalogue.score_mean[rows].mean(axis=0) - wanted).max() < 0.05
    assert {"mmlu_pro", "kor_bench", "livebench_2026_06_25.Mathematics"} < {*catalogue.test_name}
    # An order that nobody doubts.
    names = ("openai/gpt-5.5-2026-04-23@xhigh", "openai/gpt-4o-2024-08-06", "google/gemma-2-9b-it")
    best, middle, worst = (catalogue.score_mean[catalogue.row(name)] for name in names)
    assert np.all(best > middle)
    assert np.mean(middle > worst) == 1.0
    efforts = [f"openai/gpt-5.2-2025-12-11@{effort}" for effort in ("nothink", "low", "high")]
    hard = catalogue.score_mean[[catalogue.row(name) for name in efforts]]
    assert np.all(np.diff(hard[:, catalogue.tasks.index("math_hard")]) > 0.0)


@pytest.mark.data
def test_kor_bench_is_predicted_from_all_other_sources(outcome_data_dir: Path) -> None:
    evidence = read_evidence(outcome_data_dir, shipping=True)
    data = gather(evidence.tests, evidence.facts)
    found = leave_one_source_out(data, estimate(data, steps=100), "kor_bench")
    assert found.spearman > max(0.85, found.spearman_z)
    assert found.covered_known > 0.85
