"""Objectives, weights of outcomes and resampled members."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from routoo_export.network.network import Member, predict
from routoo_export.training.heads.convex import minimise
from routoo_export.training.heads.objectives import Objective, SoftLabels, cell_losses
from routoo_export.training.heads.rows import Rows
from routoo_export.training.heads.topics import Topics, topic_model_logits
from routoo_export.training.heads.train import MemberTask, fit, fit_member

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from routoo_export.outcomes.outcomes import Outcomes
    from routoo_export.training.heads.train import TrainConfig

OBJECTIVES: tuple[Objective, ...] = get_args(Objective)


@pytest.fixture(scope="module")
def rows(synthetic_outcomes: Outcomes) -> Rows:
    """Features of the domain, with noise."""
    law = [[float(domain == "law")] for domain in synthetic_outcomes.domains]
    noise = torch.randn(len(law), 5, generator=torch.Generator().manual_seed(0))
    features = torch.cat([torch.tensor(law), noise], dim=1)
    return Rows(synthetic_outcomes, features, features.unsqueeze(0).repeat(2, 1, 1), groups=(6,))


@pytest.fixture(scope="module")
def lone_config(quick_config: TrainConfig) -> TrainConfig:
    """A configuration with one member and no left-out topics: only the loss is tested here."""
    return replace(quick_config, members=1, epochs=20, shrink_groups=0)


def trained(rows: Rows, config: TrainConfig) -> NDArray[np.float32]:
    known = rows.outcomes.buckets < 7
    weights = fit(rows.where(known), rows.where(~known), config)
    return predict(weights, rows.features)[0]


def test_both_objectives_are_as_steep_at_one_half() -> None:
    curvatures = []
    for objective in OBJECTIVES:
        logit = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        half = torch.full((1,), 0.5, dtype=torch.float64)
        slope = torch.autograd.grad(
            cell_losses(objective, logit, half).sum(), logit, create_graph=True
        )[0]
        curvatures.append(float(torch.autograd.grad(slope.sum(), logit)[0]))
    assert curvatures == pytest.approx([0.25, 0.25])


@given(
    scores=st.lists(st.floats(-3.0, 4.0), min_size=2, max_size=20),
    seed=st.integers(0, 1_000),
    objective=st.sampled_from(OBJECTIVES),
)
def test_the_best_constant_is_the_weighted_mean_of_pseudo_outcomes_too(
    scores: list[float], seed: int, objective: Objective
) -> None:
    weights = np.random.default_rng(seed).uniform(0.1, 3.0, (len(scores), 1))
    targets = np.array(scores)[:, None]
    # The mean is a valid score, but its parts need not be.
    mean = float((weights * targets).sum() / weights.sum())
    targets += np.clip(mean, 0.2, 0.8) - mean
    labels = SoftLabels.of(targets, weights, objective)
    logit = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    minimise(lambda: labels.loss_sum(logit.expand(len(scores), 1)) / len(scores), [logit])
    want = float((weights * targets).sum() / weights.sum())
    assert float(torch.sigmoid(logit.detach())) == pytest.approx(want, abs=1e-3)


def test_either_objective_learns_and_they_differ(rows: Rows, lone_config: TrainConfig) -> None:
    log_loss, squared = (
        trained(rows, replace(lone_config, objective=objective)) for objective in OBJECTIVES
    )
    law = torch.tensor([domain == "law" for domain in rows.outcomes.domains]).numpy()
    for scores in (log_loss, squared):
        assert (scores[law].mean(axis=0) - scores[~law].mean(axis=0)).min() > 0.1
    assert 1e-4 < np.abs(log_loss - squared).mean() < 0.05


def test_outcomes_of_no_weight_do_not_count(rows: Rows, lone_config: TrainConfig) -> None:
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 2, rows.outcomes.scores.shape).astype(np.float64)
    changed = np.where(weights == 0.0, 1.0 - rows.outcomes.scores, rows.outcomes.scores)
    other = replace(rows, outcomes=replace(rows.outcomes, scores=changed), weights=weights)
    same = trained(replace(rows, weights=weights), lone_config)
    np.testing.assert_array_equal(trained(other, lone_config), same)
    assert np.abs(trained(replace(other, weights=None), lone_config) - same).max() > 0.05


def test_weights_turn_the_scores_towards_what_weighs_more(
    rows: Rows, lone_config: TrainConfig
) -> None:
    wins = np.nan_to_num(rows.outcomes.scores)
    base = trained(replace(rows, weights=np.ones_like(wins)), lone_config)
    tilted = trained(replace(rows, weights=1.0 + 3.0 * wins), lone_config)
    p = base.mean(axis=0)
    np.testing.assert_allclose(tilted.mean(axis=0), 4.0 * p / (1.0 + 3.0 * p), atol=0.07)


def test_a_topic_cell_counts_a_weight_of_two_as_two_prompts() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 2, (40, 3)).astype(np.float64)
    labels = rng.integers(0, 4, 40)
    names = tuple("abcd")
    weights = rng.integers(0, 3, 40)
    twice = np.repeat(np.arange(40), weights)
    repeated = topic_model_logits(scores[twice], Topics(names, labels[twice]), 10.0)
    cells = np.repeat(weights[:, None], 3, axis=1).astype(np.float64)
    weighted = topic_model_logits(scores, Topics(names, labels), 10.0, cells)
    np.testing.assert_allclose(weighted, repeated, atol=1e-5)
    plain = topic_model_logits(scores, Topics(names, labels), 10.0)
    assert np.abs(weighted - plain).max() > 0.05


def test_pseudo_outcomes_leave_finite_topic_cells() -> None:
    scores = np.array([[5.0, -4.0], [0.5, 0.5], [1.0, 0.0]])
    table = topic_model_logits(scores, Topics(("a", "b"), np.array([0, 1, 1])), 1.0)
    assert np.isfinite(table).all()
    assert table[0, 0] > table[0, 1]


@pytest.mark.parametrize("bootstrap", [False, True])
def test_each_member_draws_its_own_prompts_once(
    quick_config: TrainConfig, *, bootstrap: bool
) -> None:
    examples, epochs = 600, 3
    config = replace(quick_config, bootstrap=bootstrap, epochs=epochs)
    seen: list[list[int]] = [[], []]

    def member(k: int) -> None:
        def loss(trainee: Member, index: Tensor, _: Tensor) -> Tensor:
            seen[k].extend(index.tolist())
            logits: Tensor = trainee(torch.ones(len(index), 4))[0]
            return logits.square().mean()

        table = np.zeros((2, 3), dtype=np.float32)
        fit_member(MemberTask(examples, 4, table, loss), config, k, None)

    member(0)
    member(1)
    counts = [np.bincount(one, minlength=examples) for one in seen]
    for count in counts:
        assert count.sum() == epochs * examples
        # A member sees its resample in every epoch.
        assert (count % epochs == 0).all()
        drawn = (count > 0).mean()
        assert drawn == pytest.approx(1.0 - np.exp(-1.0) if bootstrap else 1.0, abs=0.06)
    assert (counts[0] == counts[1]).all() != bootstrap
    assert seen[0] != seen[1]
