"""The heads: numpy, torch and ONNX agree; uncertainty rises with the distance from the data."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from routoo_export.graph.heads import OUTPUT_NAMES
from routoo_export.graph.parity import open_session
from routoo_export.network.network import Network, NetworkPrediction, Weights, predict
from routoo_export.network.ood import OodWeights, fit_ood
from support.random_heads import heads_graph, random_features, random_heads, random_newcomer

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHAPES = {
    "seed": st.integers(0, 10_000),
    "members": st.integers(1, 4),
    "models": st.integers(1, 6),
    "topics": st.integers(1, 6),
    "added": st.integers(0, 3),
}


def sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1.0 / (1.0 + np.exp(-values))


def by_hand(weights: Weights, features: NDArray[np.float64]) -> NetworkPrediction:
    """The formulas of the docstrings, in float64, model by model."""
    topics, models, _ = weights.split
    hidden = np.maximum(features @ weights.hidden + weights.hidden_bias, 0.0)
    parts = np.split(hidden, len(weights.heads), axis=1)
    logits, shares, tokens, energies = [], [], [], []
    for k, part in enumerate(parts):
        heads = part @ weights.heads[k] + weights.heads_bias[k]
        topic = heads[:, :topics]
        share = np.exp(topic - topic.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        residual = heads[:, topics : topics + models]
        raw = share @ weights.topic_logits[k] + residual
        logits.append(weights.slope * raw + weights.intercept)
        shares.append(share)
        tokens.append(heads[:, topics + models :])
        energies.append(-(share * topic).sum(axis=1))
    ood, known = weights.ood, np.mean(tokens, axis=0)
    length = ((features @ ood.whiten + ood.whiten_bias) ** 2).sum(axis=1)
    signs = [
        (sign - place) * gain
        for sign, place, gain in zip(
            (np.mean(energies, axis=0), length), ood.location, ood.gain, strict=True
        )
    ]
    distance = signs[0] + np.maximum(signs[1] - 1.0, 0.0)
    levels = np.append(0.0, np.cumsum(ood.steps))
    unusual = np.interp(distance, ood.knots, levels)
    certainty = 1.0 / (1.0 + weights.shrink[0] * unusual[:, None] ** 8)

    def shrunk(logit: NDArray[np.float64], anchor: NDArray[np.float32]) -> NDArray[np.float64]:
        return sigmoid(anchor + certainty * (logit - anchor))

    scores = [shrunk(np.mean(logits, axis=0), weights.anchor)]
    lengths = [np.exp(known)]
    deviations = [weights.spread * np.std(sigmoid(np.stack(logits)), axis=0)]
    added = weights.added
    for j in range(added.models):
        inputs = np.concatenate([np.stack(logits), np.stack(shares)], axis=2)
        outcome = inputs @ added.columns[j] + added.bias[j]
        mean = outcome[..., :1].mean(axis=0)
        of_column = (outcome[..., 1:].mean(axis=0) ** 2).sum(axis=1, keepdims=True)
        steepness = sigmoid(mean) * (1.0 - sigmoid(mean))
        of_members = added.spread[j] * np.std(sigmoid(outcome[..., :1]), axis=0)
        scores.append(shrunk(mean, added.anchor[j : j + 1]))
        typical = np.log(np.exp(known).mean(axis=1, keepdims=True))
        lengths.append(np.exp(added.token_power[j] * typical + added.log_token_factor[j]))
        deviations.append(np.sqrt(of_members**2 + of_column * steepness**2))
    return NetworkPrediction(
        *(
            np.concatenate(part, axis=1).astype(np.float32)
            for part in (scores, lengths, deviations)
        ),
        unusual.astype(np.float32),
    )


@settings(max_examples=25)
@given(**SHAPES)
def test_numpy_torch_and_onnx_agree(
    seed: int, members: int, models: int, topics: int, added: int
) -> None:
    weights = random_heads(seed, members=members, models=models, topics=topics, added=added)
    features = random_features(seed + 3, 20)
    want = by_hand(weights, features.numpy().astype(np.float64))
    found = predict(weights, features)
    served = open_session(heads_graph(weights)).run(
        list(OUTPUT_NAMES), {"features": features.numpy()}
    )
    for name, hand, torch_one, onnx_one in zip(OUTPUT_NAMES, want, found, served, strict=True):
        np.testing.assert_allclose(torch_one, hand, rtol=2e-4, atol=2e-5, err_msg=name)
        np.testing.assert_allclose(onnx_one, torch_one, rtol=2e-5, atol=1e-5, err_msg=name)


@settings(max_examples=25)
@given(**SHAPES)
def test_outputs_keep_their_ranges(
    seed: int, members: int, models: int, topics: int, added: int
) -> None:
    weights = random_heads(seed, members=members, models=models, topics=topics, added=added)
    far = 10.0 * random_features(seed + 4, 5)
    found = predict(weights, torch.cat([random_features(seed + 3, 20), far, torch.zeros(1, 12)]))
    assert all(np.isfinite(part).all() for part in found)
    assert ((found.scores >= 0.0) & (found.scores <= 1.0)).all()
    assert (found.output_tokens >= 0.0).all()
    assert (found.score_std >= 0.0).all()
    assert ((found.ood >= 0.0) & (found.ood <= 1.0)).all()


@pytest.mark.parametrize("rows", [4, 8, 12, 64])
def test_a_prompts_bits_do_not_depend_on_its_batch(rows: int) -> None:
    session = open_session(heads_graph(random_heads(0, members=6, models=33, topics=71, added=2)))
    features = random_features(1, 64).numpy()
    whole = session.run(None, {"features": features})
    part = session.run(None, {"features": features[:rows]})
    for name, a, b in zip(OUTPUT_NAMES, whole, part, strict=True):
        np.testing.assert_array_equal(a[:rows], b, err_msg=name)


@pytest.mark.parametrize("shape", [(6, 33, 71), (2, 3, 4)])
@pytest.mark.parametrize("rows", [4, 8, 64])
def test_one_more_model_changes_no_bit_of_the_others(
    shape: tuple[int, int, int], rows: int
) -> None:
    members, models, topics = shape
    weights = random_heads(3, members=members, models=models, topics=topics)
    features = random_features(4, rows).numpy()
    rng = np.random.default_rng(5)
    before = open_session(heads_graph(weights)).run(None, {"features": features})
    for _ in range(3):
        weights = replace(weights, added=weights.added.with_one(random_newcomer(rng, weights)))
        after = open_session(heads_graph(weights)).run(None, {"features": features})
        for name, was, now in zip(OUTPUT_NAMES, before, after, strict=True):
            kept = now[:, : was.shape[1]] if was.ndim == 2 else now
            np.testing.assert_array_equal(kept, was, err_msg=name)
        assert after[0].shape == (rows, weights.models)
        before = after


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), low=st.floats(0.0, 5.0), high=st.floats(0.0, 5.0))
def test_scores_move_towards_the_anchor_as_shrink_grows(seed: int, low: float, high: float) -> None:
    low, high = sorted((low, high))
    weights, features = random_heads(seed, added=1), random_features(seed + 3, 30)
    anchors = sigmoid(np.append(weights.anchor, weights.added.anchor).astype(np.float64))
    away = [
        predict(replace(weights, shrink=np.array([s], dtype=np.float32)), features).scores - anchors
        for s in (0.0, low, high)
    ]
    assert (np.abs(away[2]) <= np.abs(away[1]) + 1e-6).all()
    assert (np.abs(away[1]) <= np.abs(away[0]) + 1e-6).all()
    # Shrinkage does not move a score across the anchor.
    assert (away[2] * away[0] >= -1e-6).all()


def test_without_shrink_nothing_depends_on_ood() -> None:
    weights, features = random_heads(0), random_features(1, 30)
    unshrunk = replace(weights, shrink=np.zeros(1, dtype=np.float32))
    typical = replace(weights, ood=OodWeights.none(features.shape[1]))
    np.testing.assert_allclose(
        predict(unshrunk, features).scores, predict(typical, features).scores, atol=1e-6
    )
    assert predict(typical, features).ood.max() == 0.0


def test_shrinking_leaves_the_spread_alone() -> None:
    weights, features = random_heads(0, added=2), random_features(1, 30)
    strong = replace(weights, shrink=np.array([50.0], dtype=np.float32))
    np.testing.assert_array_equal(
        predict(weights, features).score_std, predict(strong, features).score_std
    )


def test_arrays_come_back_as_they_were() -> None:
    weights = random_heads(0, added=2)
    again = Weights.of(weights.arrays())
    for name, array in weights.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array, err_msg=name)
    arrays = weights.arrays()
    del arrays["ood.knots"]
    with pytest.raises(KeyError):
        Weights.of(arrays)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 60), distinct=st.integers(1, 60))
def test_ood_is_the_share_of_in_domain_prompts_that_are_nearer(
    seed: int, rows: int, distinct: int
) -> None:
    rng = np.random.default_rng(seed)
    train = torch.from_numpy(rng.normal(size=(50, 6)).astype(np.float32))
    validation = torch.from_numpy(rng.normal(size=(rows, 6)).astype(np.float32))
    energy = torch.from_numpy(rng.integers(0, distinct, rows).astype(np.float32))
    fitted = fit_ood(train, validation, energy, (4, 1, 1))
    assert (np.diff(fitted.knots) > 0.0).all()
    assert fitted.steps.sum() == pytest.approx(1.0, abs=1e-5)
    weights = replace(random_heads(0), ood=fitted)
    found = Network(weights).ood(validation, energy).numpy()
    distance = Network(weights).ood.distance(validation, energy).numpy()
    order = np.argsort(distance)
    assert (np.diff(found[order]) >= -1e-5).all()
    beyond = Network(weights).ood(1e3 + validation, energy + 1e3).numpy()
    assert beyond == pytest.approx(1.0 if fitted.gain.any() else 0.0, abs=1e-5)


def test_prompts_of_another_kind_are_found_unusual() -> None:
    rng = np.random.default_rng(0)
    # Directions of very different size: the weak ones count only if standardised.
    scale = np.array([10.0, 5.0, 1.0, 0.1, 3.0, 3.0])
    train, inside = (torch.from_numpy(scale * rng.normal(size=(500, 6))).float() for _ in range(2))
    outside = inside + torch.tensor([0.0, 0.0, 0.0, 1.5, 0.0, 0.0])
    energy = torch.zeros(500)
    weights = replace(random_heads(0), ood=fit_ood(train, inside, energy, (1,) * 6))
    ood = Network(weights).ood
    assert float(ood(outside, energy).mean()) > 0.95
    assert float(ood(inside, energy + 5.0).mean()) == pytest.approx(
        float(ood(inside, energy).mean())
    )


def test_constant_features_and_no_topics_are_typical() -> None:
    constant = torch.ones(20, 3)
    weights = fit_ood(constant, constant, torch.zeros(20), (2, 1))
    assert Network(replace(random_heads(0), ood=weights)).ood(constant, torch.zeros(20)).max() == 0
