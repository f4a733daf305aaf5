"""Expected lengths of answers, and ranks of unusual prompts, on made-up figures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routoo_export.recogniser.evaluate import LengthFigures
from routoo_export.recogniser.lengths import LENGTH_TRAITS, TOKENS_PER_WRITTEN, LengthModel
from routoo_export.recogniser.network import TRAITS
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


def test_a_vocabulary_has_words_of_several_prompts_and_signs_first() -> None:
    texts = ["Sum 12, please", "sum 99, now", "Sum? once", "x" * 50, "x" * 50]
    vocabulary = make_vocabulary(texts, pairs=8, pieces=8)
    assert vocabulary.words == (",", "sum", "#2")
    assert vocabulary.punctuation == 1
    assert vocabulary == make_vocabulary(reversed(texts), pairs=8, pieces=8)
    assert make_vocabulary(texts, pairs=8, pieces=8, most_words=1).words == ("sum",)
    assert "role:user" in vocabulary.marks
