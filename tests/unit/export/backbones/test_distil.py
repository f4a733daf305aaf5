"""The distilled token table: it imitates its teacher and does not use held-out prompts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from routoo_export.backbones import distil as module
from routoo_export.backbones.config import BackboneConfig
from routoo_export.backbones.distil import MAP_RIDGE, TOKEN_RIDGE, distil, pooling_matrix
from routoo_export.backbones.pretrained import load_pretrained
from routoo_export.backbones.static import StaticBackbone
from routoo_export.backbones.token_vectors import TokenVectors
from routoo_export.outcomes.folds import stem_folds
from routoo_export.outcomes.splits import TEST_BUCKETS, TRAIN_BUCKETS, in_buckets
from routoo_export.training import pipeline
from routoo_export.training.pipeline import Recipe, Workplace, fold_rows, train_predictor
from support.artifacts.tiny_transformers import save_tiny_encoder

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from routoo_export.backbones.base import Backbone
    from routoo_export.outcomes.outcomes import Outcomes
    from routoo_export.training.heads.train import TrainConfig

VOCABULARY = 40
WIDTH = 6
WORDS = ["court", "statute", "integral", "matrix"]


def random_vectors(rng: np.random.Generator) -> TokenVectors:
    return TokenVectors(
        table=rng.standard_normal((VOCABULARY, WIDTH)).astype(np.float32),
        token_classes=np.zeros((VOCABULARY, 4), dtype=np.float32),
        tokenizer_json="{}",
    )


def random_ids(rng: np.random.Generator, rows: int) -> list[list[int]]:
    """Prompts of 5 to 30 tokens, none of which is the last one of the vocabulary."""
    return [
        rng.integers(1, VOCABULARY - 1, length).tolist() for length in rng.integers(5, 30, rows)
    ]


def test_pooling_weighs_each_token_of_a_prompt_by_the_logarithm_of_its_count() -> None:
    found = pooling_matrix([[3, 3, 1], [2]], 4).toarray()
    two, one = np.log(3.0), np.log(2.0)
    want = [[0, one, 0, two], [0, 0, one, 0]] / np.array([[one + two], [one]])
    np.testing.assert_allclose(found, want, rtol=1e-6)


def test_the_table_solves_both_least_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEPS", 200)
    rng = np.random.default_rng(0)
    vectors, ids = random_vectors(rng), random_ids(rng, 150)
    states = rng.standard_normal((150, 3)).astype(np.float32)
    found = distil(vectors, ids, states).table.astype(np.float64)

    pooling = pooling_matrix(ids, VOCABULARY).toarray().astype(np.float64)
    centred = states - states.mean(axis=0, dtype=np.float64)
    own = vectors.table / vectors.table.std(dtype=np.float64)
    pooled = pooling @ own
    centre = pooled.mean(axis=0)
    gram = (pooled - centre).T @ (pooled - centre)
    gram += MAP_RIDGE * np.trace(gram) / WIDTH * np.eye(WIDTH)
    mapped = (own - centre) @ np.linalg.solve(gram, (pooled - centre).T @ centred)
    held = pooling.T @ pooling + TOKEN_RIDGE * np.eye(VOCABULARY)
    want = mapped + np.linalg.solve(held, pooling.T @ (centred - pooling @ mapped))
    # The table is on the teacher's principal directions: equal up to a rotation.
    np.testing.assert_allclose(found @ found.T, want @ want.T, atol=1e-4)
    # A token that no prompt contains gets the mapped vector alone.
    np.testing.assert_allclose(np.linalg.norm(found[-1]), np.linalg.norm(mapped[-1]), rtol=1e-4)


def test_the_table_imitates_a_teacher_on_prompts_that_it_was_not_shown() -> None:
    rng = np.random.default_rng(1)
    vectors = random_vectors(rng)
    ids = random_ids(rng, 600)
    # One part is linear in the vectors, the other is each token's own and not in the vectors.
    secret = vectors.table @ rng.standard_normal((WIDTH, 4)) + rng.standard_normal((VOCABULARY, 4))
    states = (pooling_matrix(ids, VOCABULARY) @ secret).astype(np.float32)
    shown, held = ids[:500], ids[500:]

    def unlike(table: NDArray[np.float32]) -> float:
        """Share of the held-out states' variance that no linear map of the means explains."""
        fits = [
            np.c_[pooling_matrix(part, VOCABULARY) @ table, np.ones(len(part))]
            for part in (shown, held)
        ]
        weights = np.linalg.lstsq(fits[0], states[:500], rcond=None)[0]
        missed = states[500:] - fits[1] @ weights
        return float(missed.var() / states[500:].var())

    assert unlike(distil(vectors, shown, states[:500]).table) < 0.02 < unlike(vectors.table)


@pytest.fixture
def tiny_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A teacher of two layers, which replaces the packaged one."""
    folder = str(save_tiny_encoder(tmp_path / "bert", WORDS))

    def tiny(config: BackboneConfig) -> object:
        return load_pretrained(replace(config, model=folder, max_tokens=24))

    monkeypatch.setattr(pipeline, "load_pretrained", tiny)


@pytest.mark.usefixtures("tiny_teacher")
def test_training_distils_on_the_training_prompts_and_folds_on_their_own(
    synthetic_outcomes: Outcomes, quick_config: TrainConfig
) -> None:
    config = replace(quick_config, members=1, epochs=1, shrink_groups=0)
    recipe = Recipe(BackboneConfig(width=8, teacher_layer=2), config)
    tested = in_buckets(synthetic_outcomes.buckets, TEST_BUCKETS)
    trained = in_buckets(synthetic_outcomes.buckets, TRAIN_BUCKETS)

    def codes(backbone: Backbone) -> NDArray[np.int8]:
        assert isinstance(backbone, StaticBackbone)
        return backbone.table.codes

    checkpoint = train_predictor(synthetic_outcomes, recipe)
    first = codes(checkpoint.backbone)
    plain = StaticBackbone.fit(synthetic_outcomes.rows(trained).prompts, 8, 512)
    assert not np.array_equal(codes(plain), first)
    # Of the test split, training sees neither outcomes nor prompts.
    untested = train_predictor(synthetic_outcomes.rows(~tested), recipe)
    np.testing.assert_array_equal(codes(untested.backbone), first)

    rows_of = fold_rows(checkpoint, synthetic_outcomes, Workplace())
    fold = stem_folds(synthetic_outcomes)[0]
    shared, own = rows_of(None).features, rows_of(fold).features
    assert not torch.equal(shared, own)
    kept = ~fold.held
    without = fold_rows(checkpoint, synthetic_outcomes.rows(kept), Workplace())
    smaller = replace(
        fold, held=fold.held[kept], train=fold.train[kept], validation=fold.validation[kept]
    )
    torch.testing.assert_close(without(smaller).features, own[torch.from_numpy(kept)])
