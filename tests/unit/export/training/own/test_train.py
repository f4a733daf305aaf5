"""Training on own outcomes: what is read off the graph, learnt, and served by the graph."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from routoo.predictor.artifact import load_artifact
from routoo.predictor.onnx import OnnxPredictor
from routoo.telemetry.decision_log.prompts.lines import PromptLines
from routoo_export.artifact.own_artifact import write_own_artifact
from routoo_export.errors import ExportError, OutcomeError
from routoo_export.evaluation.own.judge import (
    RECOGNISED,
    SINGLE,
    THIS,
    THIS_TOLD,
    cross_validate,
    judge,
    true_costs,
)
from routoo_export.graph.table_graph import shrunk_traits
from routoo_export.outcomes.feature_prompts import (
    feature_prompt,
    read_features,
    require_texts,
)
from routoo_export.training.own.choice import SURE, least_gain
from routoo_export.training.own.fit import Strength
from routoo_export.training.own.prompt_reader import PromptReader
from routoo_export.training.own.train import OwnPrompts, train_own
from support.tables.random_table import TRAITS, tiny_parts

if TYPE_CHECKING:
    from pathlib import Path

    from routoo_export.outcomes.outcomes import Outcomes

UNKNOWN = "xyzzy"


def test_hidden_units_tasks_and_traits_are_those_of_the_recogniser(
    base: Path, own_outcomes: Outcomes
) -> None:
    parts, vocabulary = tiny_parts(own_outcomes.prompts)
    texts = [*own_outcomes.prompts[:9], UNKNOWN]
    reader = PromptReader(load_artifact(base))
    read = reader.encode(texts)
    pooled = parts.recogniser.pooled(vocabulary, texts)
    expected = parts.recogniser.hidden_units(pooled)
    hidden = reader.hidden_units(read)
    np.testing.assert_allclose(hidden, expected, atol=1e-2)
    tasks, traits = parts.recogniser.recognise(expected)
    found = reader.vectors(read, parts.recogniser.tasks.astype(np.float64))
    np.testing.assert_allclose(found.tasks, tasks, atol=2e-3)
    ood = parts.ood.ranks(parts.ood.measures(pooled, expected @ parts.recogniser.tasks.T))
    shrunk = shrunk_traits(traits - parts.trait_means, ood)
    np.testing.assert_allclose(found.traits, shrunk, atol=2e-2)


def logged_prompts(base: Path, texts: tuple[str, ...]) -> tuple[str, ...]:
    """Returns what a decision log keeps of prompts instead of their texts."""
    lines = PromptLines("features", b"k" * 32)
    lines.reader = PromptReader(load_artifact(base))
    tokens = lines.reader.encode(texts).input_tokens.tolist()
    fields = lines.fields(texts)
    return tuple(
        feature_prompt(one["features"], length) for one, length in zip(fields, tokens, strict=True)
    )


def test_features_of_a_log_train_as_their_texts_do(base: Path, own_outcomes: Outcomes) -> None:
    kept = replace(own_outcomes, prompts=logged_prompts(base, own_outcomes.prompts))
    artifact = load_artifact(base)
    texts, features = OwnPrompts.read(own_outcomes, artifact), OwnPrompts.read(kept, artifact)
    for name, atol in (("hidden", 0.02), ("traits", 0.02), ("kinds", 0.02)):
        np.testing.assert_allclose(
            getattr(features.features, name), getattr(texts.features, name), atol=atol
        )
    np.testing.assert_array_equal(features.input_tokens, texts.input_tokens)
    by_text, by_features = train_own(texts), train_own(features)
    shares = by_text.scores.predict(texts.features)
    np.testing.assert_allclose(by_features.scores.predict(texts.features), shares, atol=0.05)


def test_features_of_another_graph_and_mixed_ones_are_refused(
    base: Path, own_outcomes: Outcomes
) -> None:
    prompts = logged_prompts(base, own_outcomes.prompts)
    with pytest.raises(OutcomeError, match="of one kind"):
        read_features([*prompts[:3], "a text"], "0" * 64)
    with pytest.raises(OutcomeError, match="--artifact"):
        read_features(prompts, "0" * 64)
    with pytest.raises(OutcomeError, match="damaged"):
        read_features([prompts[0][:-3]], "0" * 64)
    with pytest.raises(OutcomeError, match="without --backbone"):
        require_texts(prompts)
    assert read_features(["a text"], "0" * 64) is None


@pytest.fixture(scope="module")
def own(base: Path, own_outcomes: Outcomes) -> OwnPrompts:
    return OwnPrompts.read(own_outcomes, load_artifact(base))


def test_the_graph_serves_what_was_learnt(base: Path, own: OwnPrompts, tmp_path: Path) -> None:
    trained = train_own(own)
    folder = tmp_path / "predictor" / "1"
    write_own_artifact(folder, load_artifact(base), trained, own, {})
    artifact = load_artifact(folder)
    prompts, domains = own.outcomes.prompts, own.outcomes.domains
    assert (folder / "model.onnx").read_bytes() == (base / "model.onnx").read_bytes()
    assert artifact.models == ("small", "large")
    served = OnnxPredictor(artifact)
    seen = served.predict(prompts)
    np.testing.assert_allclose(seen.scores, trained.scores.predict(own.features), atol=1e-4)
    np.testing.assert_allclose(seen.output_tokens, trained.tokens(own.features), rtol=1e-3)
    told = [domain or "" for domain in domains]
    seen = served.predict(prompts, told=told)
    expected = trained.scores.predict_told(told, own.features)
    np.testing.assert_allclose(seen.scores, expected, atol=1e-3)
    # Each model is preferred where it is good, also if only the wording tells, of which the tiny
    # recogniser knows little: half would be chance.
    better = trained.scores.predict(own.features).argmax(axis=1)
    right = np.array([("small", "large").index("small" if d == "sums" else "large") for d in told])
    assert (better == right).mean() > 0.8
    sample = artifact.calibration_sample()
    assert sample.scores.shape == (len(prompts), 2)
    assert {"sums", "poems", "chat_smalltalk"} <= set(served.graph.tasks)
    with pytest.raises(ExportError, match="exists already"):
        write_own_artifact(folder, artifact, trained, own, {})


def test_it_is_judged_against_plain_means_and_one_model(own: OwnPrompts) -> None:
    found = judge(own, cross_validate(own), true_costs(own, None))
    assert {THIS, THIS_TOLD, RECOGNISED, SINGLE} <= set(found)
    this = found[THIS]
    assert this.auc is not None
    assert this.auc.value > 0.6
    assert this.points is not None
    assert this.points.value > 5.0
    assert this.half_cost_points is not None
    assert this.ece is not None
    assert found[SINGLE].points is not None
    assert found[SINGLE].points.value == 0.0


def test_models_that_do_not_differ_are_not_told_apart(base: Path, own: OwnPrompts) -> None:
    random = np.random.default_rng(3)
    scores = (random.random((300, 2)) < [0.6, 0.7]).astype(float)
    trained = train_own(replace(own, outcomes=replace(own.outcomes, scores=scores)))
    gaps = np.diff(trained.scores.predict(own.features), axis=1)
    assert np.abs(gaps - gaps.mean()).max() < 0.15


def test_lengths_come_from_the_artifact_or_the_outcomes_and_cost_no_auc(own: OwnPrompts) -> None:
    without = train_own(own)
    assert without.lengths.assumed.tolist() == [0, 1]
    assert (without.tokens(own.features) > 10.0).all()
    lengths = np.tile([20.0, 700.0], (300, 1))
    known = train_own(replace(own, outcomes=replace(own.outcomes, output_tokens=lengths)))
    tokens = known.tokens(own.features).mean(axis=0)
    assert known.lengths.assumed.size == 0
    assert 18.0 < tokens[0] < 25.0
    assert 600.0 < tokens[1] < 750.0
    np.testing.assert_array_equal(
        known.scores.predict(own.features), without.scores.predict(own.features)
    )
    # Costs stand for lengths where prices are known.
    priced = train_own(own, np.array([[0.0, 1.0], [0.0, 1.0]]))
    assert 8.0 < priced.tokens(own.features)[:, 0].mean() < 16.0


def test_partial_outcomes_train(base: Path, own: OwnPrompts) -> None:
    scores = own.outcomes.scores.copy()
    scores[::3, 0], scores[1::3, 1] = np.nan, np.nan
    trained = train_own(replace(own, outcomes=replace(own.outcomes, scores=scores)))
    assert np.isfinite(trained.scores.predict(own.features)).all()
    assert trained.packed(own).weights.shape == (2, TRAITS)


def test_of_many_equal_models_the_best_one_is_taken(own: OwnPrompts) -> None:
    """Sixty models that do not differ by topic: what seems to differ is chance."""
    random = np.random.default_rng(5)
    n, m = len(own.outcomes.prompts), 60
    levels = np.full(m, 0.9)
    levels[7] = 0.93
    names = tuple(f"model-{at}" for at in range(m))
    many = replace(
        own.outcomes,
        models=names,
        scores=(random.random((n, m)) < levels).astype(float),
        output_tokens=np.full((n, m), np.nan),
        cost_usd=np.full((n, m), np.nan),
    )
    trained = train_own(replace(own, outcomes=many), prior=False)
    best = int(trained.scores.levels.mean.argmax())
    choices = trained.scores.predict(own.features).argmax(axis=1)
    assert levels[choices].mean() >= levels[best] - 0.001
    told = trained.scores.predict_told([d or "" for d in many.domains], own.features)
    assert levels[told.argmax(axis=1)].mean() >= levels[best] - 0.001
    # The likeliest penalties alone leave enough of the chance to follow it.
    full = Strength(topics=1.0, sides=1.0, told=1.0, traits=1.0)
    ungated = replace(trained.scores, strength=full)
    assert (ungated.predict(own.features).argmax(axis=1) != best).any()


def test_held_back_no_model_is_above_the_best_single_one_and_told_ones_apart(
    own: OwnPrompts,
) -> None:
    trained = train_own(own).scores
    told = [domain or "" for domain in own.outcomes.domains]
    best = int(trained.levels.mean.argmax())
    free = replace(trained.strength, topics=1.0, told=1.0, traits=0.0)
    for scores in (
        replace(trained, strength=replace(free, above=False)).predict(own.features),
        replace(trained, strength=replace(free, told_above=False)).predict_told(told, own.features),
    ):
        assert (scores.argmax(axis=1) == best).all()
        # What is behind it still differs by topic.
        assert np.ptp(scores[:, 1 - best]) > 0.05
    lifted = replace(trained, strength=free).predict_told(told, own.features)
    assert (lifted.argmax(axis=1) != best).any()


def test_of_more_ways_the_luckiest_has_to_gain_more() -> None:
    assert least_gain(1) == pytest.approx(SURE)
    found = [least_gain(tried) for tried in (1, 3, 6)]
    assert found == sorted(found)
    # Of six without merit, one is as seldom above as a single one is above one standard error.
    draws = np.random.default_rng(0).normal(size=(100_000, 6)).max(axis=1)
    single = np.random.default_rng(1).normal(size=100_000)
    assert (draws > found[2]).mean() == pytest.approx((single > SURE).mean(), abs=0.01)
