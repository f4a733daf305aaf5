"""Expected lengths of answers, and ranks of unusual prompts, on made-up figures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routoo_export.recogniser.evaluate import LengthFigures
from routoo_export.recogniser.lengths import LENGTH_TRAITS, TOKENS_PER_WRITTEN, LengthModel
from routoo_export.recogniser.network import TRAITS
from routoo_export.recogniser.ood import KNOTS, OodRanks, unit_vectors
from routoo_export.recogniser.vocabulary import make_vocabulary


def made_up(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tasks, traits and lengths that follow from both."""
    random = np.random.default_rng(seed)
    tasks = np.eye(3, dtype=np.float32)[random.integers(0, 3, n)]
    traits = random.uniform(-0.5, 0.5, (n, len(TRAITS))).astype(np.float32)
    at = int(np.flatnonzero(LENGTH_TRAITS)[0])
    log_tokens = tasks @ [3.0, 5.0, 7.0] + traits[:, at] + random.normal(0.0, 0.1, n)
    return tasks, traits, np.maximum(np.exp(log_tokens), 1.0).astype(np.int64)


@settings(max_examples=20)
@given(seed=st.integers(0, 1000))
def test_lengths_follow_the_task_and_the_traits_of_length(seed: int) -> None:
    tasks, traits, tokens = made_up(400, seed)
    model = LengthModel.fit(tasks, traits, tokens)
    assert model.by_task.dtype == model.by_trait.dtype == np.float32
    assert not model.by_trait[~LENGTH_TRAITS].any()
    found = model.tokens(tasks, traits)
    # The sum is right, with the tokens that writers do not count.
    assert found.sum() == pytest.approx(TOKENS_PER_WRITTEN * tokens.sum(), rel=1e-3)
    steps = np.diff(model.by_task)
    assert steps == pytest.approx(np.array([2.0, 2.0]), abs=0.15)
    judged = LengthFigures.of(found, tokens)
    assert judged.within_factor > 0.95
    assert judged.within_factor >= judged.constant_within_factor


def directions(n: int, seed: int, *, towards: int) -> np.ndarray:
    """Hidden units of n prompts that are much alike."""
    random = np.random.default_rng(seed)
    return (np.eye(8)[towards] * 3.0 + random.uniform(0.0, 0.5, (n, 8))).astype(np.float32)


def test_prompts_unlike_the_others_have_high_ranks() -> None:
    trained, others = directions(300, 0, towards=0), directions(200, 1, towards=0)
    weights = np.eye(3, 8, dtype=np.float32) * 2.0
    ranks = OodRanks.fit(trained, others, others @ weights.T, prototypes=16)
    assert ranks.prototypes.shape == (8, 16)
    assert ranks.knots.shape == (2, KNOTS + 1)
    assert (np.diff(ranks.knots, axis=1) > 0.0).all()
    usual = ranks.ranks(ranks.measures(others, others @ weights.T))
    assert ((usual >= 0.0) & (usual <= 1.0)).all()
    # Each of the two measures is uniform on ordinary prompts; the larger of them is told.
    assert 0.5 <= usual.mean() <= 0.75
    strange = directions(50, 2, towards=7)
    assert ranks.ranks(ranks.measures(strange, strange @ weights.T)).min() > 0.95


def test_equal_measures_still_make_steps() -> None:
    same = np.ones((40, 8), np.float32)
    ranks = OodRanks.fit(same, same, np.zeros((40, 3), np.float32), prototypes=8)
    assert (np.diff(ranks.knots, axis=1) > 0.0).all()
    assert np.isfinite(ranks.ranks(ranks.measures(same, np.zeros((40, 3), np.float32)))).all()


def test_no_vector_is_divided_by_zero() -> None:
    np.testing.assert_array_equal(unit_vectors(np.zeros((1, 3), np.float32)), np.zeros((1, 3)))


def test_a_vocabulary_has_words_of_several_prompts_and_signs_first() -> None:
    texts = ["Sum 12, please", "sum 99, now", "Sum? once", "x" * 50, "x" * 50]
    vocabulary = make_vocabulary(texts, pairs=8, pieces=8)
    assert vocabulary.words == (",", "sum", "#2")
    assert vocabulary.punctuation == 1
    assert vocabulary == make_vocabulary(reversed(texts), pairs=8, pieces=8)
    assert make_vocabulary(texts, pairs=8, pieces=8, most_words=1).words == ("sum",)
    assert "role:user" in vocabulary.marks
