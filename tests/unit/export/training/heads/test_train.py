"""Training: missing outcomes do not count, shrinkage works, the seed decides the result."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from routoo_export.backbones.static import StaticBackbone
from routoo_export.backbones.token_table import pooled_mean
from routoo_export.backbones.tokens import cut_middle
from routoo_export.evaluation.metrics import auc
from routoo_export.network.network import (
    Member,
    RawPrediction,
    Standardisation,
    Weights,
    merge_members,
    predict,
    predict_raw,
)
from routoo_export.training.heads.calibration import PlattPrior, platt, token_factors
from routoo_export.training.heads.objectives import SoftLabels
from routoo_export.training.heads.rows import VARIANTS, make_rows
from routoo_export.training.heads.topics import Topics, assign_topics, topic_model_logits
from routoo_export.training.heads.train import fit, token_targets
from routoo_export.training.pipeline import train_predictor

if TYPE_CHECKING:
    from routoo_export.outcomes.outcomes import Outcomes
    from routoo_export.training.checkpoint import Checkpoint
    from routoo_export.training.heads.train import TrainConfig
    from routoo_export.training.pipeline import Recipe

NAN = float("nan")


def test_missing_outcomes_have_no_loss_and_no_gradient() -> None:
    scores = np.array([[1.0, NAN, 0.0], [NAN, NAN, 1.0]])
    logits = torch.randn(2, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = SoftLabels.of(scores).loss_sum(logits)
    p = torch.sigmoid(logits).detach()
    want = -(p[0, 0].log() + (1 - p[0, 2]).log() + p[1, 2].log())
    assert float(loss.detach()) == pytest.approx(float(want), rel=1e-5)
    torch.autograd.backward(loss)
    assert logits.grad is not None
    assert ((logits.grad == 0).numpy() == np.isnan(scores)).all()


def test_topic_logits_shrink_to_the_additive_model_and_fill_empty_cells() -> None:
    rng = np.random.default_rng(0)
    chance = np.array([[0.3, 0.6], [0.5, 0.9]])
    labels = np.repeat([0, 1], 500)
    scores = (rng.random((1000, 2)) < chance[labels]).astype(np.float64)
    topics = Topics(("a", "b"), labels)
    sharp = 1 / (1 + np.exp(-topic_model_logits(scores, topics, 1e-6)))
    np.testing.assert_allclose(sharp[0], scores[:500].mean(axis=0), atol=1e-4)
    additive = topic_model_logits(scores, topics, 1e9)
    assert additive[0, 0] - additive[0, 1] == pytest.approx(
        additive[1, 0] - additive[1, 1], abs=1e-4
    )
    scores[500:, 1] = NAN
    filled = topic_model_logits(scores, topics, 50.0)
    assert np.isfinite(filled).all()
    assert filled[1, 1] > filled[1, 0]


def test_prompts_without_a_domain_get_learned_clusters(synthetic_outcomes: Outcomes) -> None:
    bare = replace(synthetic_outcomes, domains=(None,) * len(synthetic_outcomes.prompts))
    backbone = StaticBackbone.fit(bare.prompts, width=16, max_tokens=64)
    features = backbone.features(backbone.encode(bare.prompts))
    topics = assign_topics(bare, features, seed=1)
    assert all("/cluster-" in name for name in topics.names)
    assert 4 <= len(topics.names) <= 32
    math = np.array([domain == "math" for domain in synthetic_outcomes.domains])
    purity = [
        max(math[topics.labels == t].mean(), 1 - math[topics.labels == t].mean())
        for t in range(len(topics.names))
    ]
    assert np.mean(purity) > 0.7
    again = assign_topics(bare, features, seed=1)
    assert (again.labels == topics.labels).all()


def test_merging_members_is_their_average() -> None:
    torch.manual_seed(0)
    table = np.zeros((2, 3), dtype=np.float32)
    members = [
        Member(features=5, hidden=7, topic_logits=table, dropout=0.5, input_dropout=0.1).eval()
        for _ in range(3)
    ]
    for member in members:
        torch.nn.init.normal_(member.deviation.weight)
    rng = np.random.default_rng(0)
    standard = Standardisation(
        *(rng.random(size).astype(np.float32) + 0.5 for size in (5, 5, 3, 3))
    )
    features = torch.from_numpy(rng.random((11, 5)).astype(np.float32))
    scaled = (features - torch.from_numpy(standard.feature_mean)) / torch.from_numpy(
        standard.feature_deviation
    )
    with torch.inference_mode():
        outputs = [member(scaled) for member in members]
    raw = predict_raw(merge_members(members, standard), features)
    logits = torch.stack([output[0] for output in outputs]).mean(0).numpy()
    np.testing.assert_allclose(raw.logits, logits, atol=1e-5)
    log_tokens = torch.stack([output[2] for output in outputs]).mean(0).numpy()
    want = np.exp(log_tokens * standard.token_deviation + standard.token_mean)
    np.testing.assert_allclose(raw.output_tokens, want, rtol=1e-4)


def plain_weights(models: int) -> Weights:
    table = np.zeros((1, models), dtype=np.float32)
    member = Member(features=1, hidden=1, topic_logits=table, dropout=0.0, input_dropout=0.0)
    one, none = np.ones(models, dtype=np.float32), np.zeros(models, dtype=np.float32)
    return merge_members([member], Standardisation(none[:1], one[:1], none, one))


def test_platt_recovers_slopes_keeps_ranks_and_shares_with_the_unknown() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3)).astype(np.float32) * 2
    chance = 1 / (1 + np.exp(-(0.5 * logits + 0.3)))
    scores = (rng.random(chance.shape) < chance).astype(np.float64)
    scores[:, 2] = NAN
    raw = RawPrediction(logits, np.ones((4000, 1), dtype=np.float32), np.ones_like(logits))
    fitted = platt(plain_weights(3), raw, SoftLabels.of(scores), PlattPrior(10.0, 10.0))
    np.testing.assert_allclose(fitted.slope[:2], 0.5, atol=0.06)
    np.testing.assert_allclose(fitted.intercept[:2], 0.3, atol=0.1)
    assert fitted.slope[2] == pytest.approx(fitted.slope[:2].mean(), abs=0.03)
    assert fitted.intercept[2] == pytest.approx(0.0, abs=1e-4)
    calibrated = 1 / (1 + np.exp(-(fitted.slope * logits + fitted.intercept)))
    assert auc(scores[:, 0], calibrated[:, 0]) == pytest.approx(auc(scores[:, 0], logits[:, 0]))


def test_token_factors_match_means_and_missing_models_take_the_average() -> None:
    predicted = np.array([[2.0, 4.0, 1.0], [2.0, 4.0, 1.0]], dtype=np.float32)
    actual = np.array([[3.0, NAN, NAN], [5.0, 4.0, NAN]])
    np.testing.assert_allclose(token_factors(predicted, actual), [2.0, 1.0, 1.5])


def test_token_targets_of_a_model_without_lengths(synthetic_outcomes: Outcomes) -> None:
    column = synthetic_outcomes.models.index("gpt-4-1106-preview")
    assert np.isnan(synthetic_outcomes.output_tokens[:, column]).all()
    targets = token_targets(synthetic_outcomes)
    np.testing.assert_allclose(targets[0, column], np.nanmean(targets[0, :column]))
    others = np.delete(targets, column, axis=1)
    np.testing.assert_array_equal(others, np.delete(synthetic_outcomes.output_tokens, column, 1))


def test_features_pool_distinct_tokens_by_log_count() -> None:
    backbone = StaticBackbone.fit(["one two three", "four five", "six"], width=3, max_tokens=64)
    ids = [[7, 7, 7, 2000, 1015], [1014], [5, 6, 7, 8, 9, 9]]
    table = backbone.table
    features = backbone.features(ids).numpy()
    rows = table.codes.astype(np.float32) * table.scales[:, None]
    np.testing.assert_allclose(features[:, :3], pooled_mean(rows, ids), atol=1e-5)
    np.testing.assert_allclose(features[:, 3], np.log1p([5, 1, 6]), rtol=1e-6)
    np.testing.assert_allclose(features[:, 4], np.log1p([3, 1, 5]), rtol=1e-6)
    token = backbone.encode(["7"])[0][0]
    digits = backbone.features([[token, 2000]]).numpy()[0]
    # After the mean: logs of length, distinct and four classes, then the same as shares.
    assert digits[5] == pytest.approx(np.log(2.0))
    assert digits[10] == pytest.approx(0.5)


@pytest.mark.parametrize("limit", [4, 5])
def test_long_prompts_keep_both_ends(limit: int) -> None:
    cut = cut_middle(range(10), limit)
    assert len(cut) == limit
    assert cut[:2] == [0, 1]
    assert cut[-2:] == [8, 9]
    assert cut_middle(range(limit), limit) == list(range(limit))


def test_training_learns_and_the_seed_decides(
    synthetic_outcomes: Outcomes, quick_recipe: Recipe, checkpoint: Checkpoint
) -> None:
    again = train_predictor(synthetic_outcomes, quick_recipe)
    for name, array in checkpoint.weights.arrays().items():
        np.testing.assert_array_equal(array, again.weights.arrays()[name], err_msg=name)
    reseeded = replace(quick_recipe, heads=replace(quick_recipe.heads, seed=1))
    other = train_predictor(synthetic_outcomes, reseeded)
    assert np.abs(other.weights.heads - again.weights.heads).max() > 1e-3
    prior = dict(zip(checkpoint.record.models, checkpoint.record.prior_scores, strict=True))
    assert prior["small"] < prior["gpt-4o-2024-05-13"]
    assert checkpoint.record.mean_rule_models == ("gpt-4-1106-preview",)


@pytest.mark.parametrize("variant", range(len(VARIANTS)))
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_variants_are_learned_from_in_their_share(
    synthetic_outcomes: Outcomes,
    checkpoint: Checkpoint,
    quick_config: TrainConfig,
    variant: int,
    share: float,
) -> None:
    rows = make_rows(synthetic_outcomes, checkpoint.backbone, seed=0)
    shuffled = torch.randperm(len(rows.features), generator=torch.Generator().manual_seed(0))
    rows = replace(rows, features=rows.features[shuffled])
    train, held_out = rows.where(rows.outcomes.buckets < 7), rows.where(rows.outcomes.buckets >= 7)
    shares = (share, 0.0) if VARIANTS[variant] == "bare" else (0.0, share)
    config = replace(quick_config, bare_share=shares[0], fewer_share=shares[1])
    law = np.array([domain == "law" for domain in held_out.outcomes.domains], dtype=np.float64)
    raw = predict_raw(fit(train, held_out, config), held_out.variants[variant])
    found = auc(law, raw.logits.mean(axis=1).astype(np.float64))
    # With a share of 0, training sees the variants of no prompt.
    assert (found > 0.9) == (share > 0.0)


def test_variants_lack_choices(synthetic_outcomes: Outcomes, checkpoint: Checkpoint) -> None:
    rows = make_rows(synthetic_outcomes, checkpoint.backbone, seed=0)
    prompts = tuple(prompt.split("\nA. ")[0] for prompt in synthetic_outcomes.prompts)
    assert prompts[0] != synthetic_outcomes.prompts[0]
    bare = replace(synthetic_outcomes, prompts=prompts)
    again = make_rows(bare, checkpoint.backbone, seed=0)
    for found in (rows.variants[0], again.variants[0], again.variants[1]):
        torch.testing.assert_close(found, again.features, rtol=0.0, atol=1e-6)


def test_unseen_prompts_are_scored_by_their_topic(
    synthetic_outcomes: Outcomes, checkpoint: Checkpoint
) -> None:
    rows = make_rows(synthetic_outcomes, checkpoint.backbone, seed=0)
    held_out = rows.where(synthetic_outcomes.buckets >= 8)
    scores, *_ = predict(checkpoint.weights, held_out.features)
    law = np.array([domain == "law" for domain in held_out.outcomes.domains], dtype=np.float64)
    assert auc(law, scores.mean(axis=1).astype(np.float64)) > 0.9


def test_outcomes_without_any_length_train(
    synthetic_outcomes: Outcomes, quick_recipe: Recipe
) -> None:
    nothing = np.full(synthetic_outcomes.output_tokens.shape, NAN)
    outcomes = replace(synthetic_outcomes, output_tokens=nothing)
    few = replace(quick_recipe, heads=replace(quick_recipe.heads, epochs=2))
    record = train_predictor(outcomes, few).record
    assert np.isfinite(record.prior_output_tokens).all()
    assert record.mean_rule_models == record.models
