"""The row of a new model: what fitted rows of the table tell of it, and how tables grow."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from routoo_export.artifact.new_row import GradedFile, NewcomerEvidence, new_row
from routoo_export.artifact.table_artifact import PromptVectors
from routoo_export.artifact.table_file import artifact_catalogue, with_row
from routoo_export.catalogue.placement import Likeness
from routoo_export.errors import CatalogueError, ExportError
from routoo_export.outcomes.outcomes import Outcomes
from routoo_export.recogniser.network import TRAITS
from support.tables.small_catalogue import small_catalogue, small_measurements
from support.tables.tiny_model_table import tiny_model_table, write_table_folder

if TYPE_CHECKING:
    from pathlib import Path

    from routoo.predictor.model_table import ModelTable
    from routoo_export.catalogue.table import Catalogue

TASK = 12
"""The kind of task of all prompts here."""


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return small_catalogue(small_measurements())


@pytest.fixture(scope="session")
def table(catalogue: Catalogue) -> ModelTable:
    m, t, r = len(catalogue.names), len(catalogue.tasks), len(TRAITS)
    of_task, of_trait = np.full((m, t), 0.5, np.float32), np.zeros((m, r), np.float32)
    return tiny_model_table(
        names=catalogue.names,
        aliases={},
        tasks=catalogue.tasks,
        traits=TRAITS,
        task_rows=np.zeros((t, 4), np.float32),
        score_mean=of_task,
        score_var=of_task / 50,
        weights=of_trait,
        weights_var=of_trait,
        log_tokens=of_task * 10,
        token_weights=of_trait,
        reasoning_share=of_task * 0,
        evidence=of_task * 0,
        benchmarks=of_task * 0,
    )


def graded(share: float, *, count: int = 40, trait: float = 0.0, seed: int = 0) -> GradedFile:
    """Prompts of one kind, answered well in so many of them, and better where a trait is high."""
    rng = np.random.default_rng(seed)
    traits = np.zeros((count, len(TRAITS)), np.float32)
    traits[:, 0] = rng.uniform(-0.5, 0.5, count)
    tasks = np.zeros((count, 25), np.float32)
    tasks[:, TASK] = 1.0
    right = rng.random(count) < np.clip(share + trait * traits[:, 0], 0.0, 1.0)
    nan = np.full((count, 1), np.nan)
    ids = tuple(map(str, range(count)))
    outcomes = Outcomes(
        prompt_ids=ids,
        prompts=ids,
        models=("me",),
        scores=right[:, None].astype(np.float64),
        output_tokens=nan,
        cost_usd=nan,
        domains=(None,) * count,
        duplicate_groups=(None,) * count,
        buckets=np.zeros(count, np.int64),
        source_names=("file",) * count,
        sources=(),
    )
    return GradedFile(outcomes, 0, PromptVectors(tasks, traits, np.zeros(count, np.float32)))


def test_what_fitted_rows_have_in_common_is_where_a_new_model_starts(
    table: ModelTable, catalogue: Catalogue
) -> None:
    few = NewcomerEvidence(graded=graded(0.3, count=10))
    bare = new_row(table, catalogue, "new", few, force=False)
    assert abs(bare.figures["weights"][0]) < 0.05
    grown = table
    for seed, name in enumerate(("lab/m03", "lab/m04", "ours/a", "ours/b")):
        many = NewcomerEvidence(graded=graded(0.3, count=2000, trait=0.6, seed=seed + 1))
        grown = with_row(grown, new_row(table, catalogue, name, many, force=False))
    assert grown.names == (*table.names, "ours/a", "ours/b")
    after = new_row(grown, catalogue, "new", few, force=False)
    # One trait of 72 matters, so it is shrunk with the others.
    assert 0.2 < after.figures["weights"][0] < 0.6
    assert after.figures["score_mean"][TASK] == pytest.approx(0.3, abs=0.08)
    assert after.figures["score_var"][TASK] < bare.figures["score_var"][TASK]


def test_more_prompts_make_a_row_surer(table: ModelTable, catalogue: Catalogue) -> None:
    deviations = [
        new_row(table, catalogue, "new", NewcomerEvidence(graded=graded(0.6, count=k)), force=False)
        .figures["score_var"][TASK]
        for k in (5, 50, 500)
    ]  # fmt: skip
    assert deviations[0] > 2 * deviations[1] > 4 * deviations[2]


def test_a_similar_model_gives_its_lengths_and_no_evidence(
    table: ModelTable, catalogue: Catalogue
) -> None:
    weights = table.token_weights.copy()
    weights[3] = 0.25
    changed = replace(table, token_weights=weights)
    like = NewcomerEvidence(similar=Likeness(table.names[3], 0.3))
    figures = new_row(changed, catalogue, "new", like, force=False).figures
    assert (figures["token_weights"] == 0.25).all()
    assert not figures["evidence"].any()
    assert not figures["benchmarks"].any()
    assert {name: values.dtype for name, values in figures.items()} == dict.fromkeys(
        figures, np.dtype(np.float32)
    )


def test_nothing_known_is_refused(table: ModelTable, catalogue: Catalogue) -> None:
    with pytest.raises(CatalogueError, match="no evidence"):
        new_row(table, catalogue, "new", NewcomerEvidence(release=2026.0), force=False)


def test_an_artifact_without_a_catalogue_places_nobody(tmp_path: Path) -> None:
    from routoo.predictor.artifact import load_artifact

    with pytest.raises(ExportError, match=r"has no catalogue\.npz to place models by"):
        artifact_catalogue(load_artifact(write_table_folder(tmp_path / "1")))
