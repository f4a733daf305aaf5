"""Training of the heads: a loss over the known outcomes, plus topic and output-token losses."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from routoo_export.network.network import (
    Member,
    Standardisation,
    Weights,
    merge_members,
    predict_raw,
)
from routoo_export.outcomes.outcomes import Outcomes
from routoo_export.training.heads.calibration import (
    PlattPrior,
    realign,
    resample_heads,
    token_factors,
)
from routoo_export.training.heads.objectives import Objective, SoftLabels
from routoo_export.training.heads.rows import Rows
from routoo_export.training.heads.topics import assign_topics, topic_model_logits
from routoo_export.training.heads.uncertainty import (
    left_out_topics,
    shrink_by_left_out_topics,
    with_doubts,
)

Progress = Callable[[int], None]
"""Called with the number of epochs just done."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Settings of the training of the heads.

    The strengths of the regularisation were chosen on buckets 0-7, never on the test split.

    Attributes:
        members: Members of the ensemble.
        hidden: Hidden units of each member.
        dropout: Dropout of the hidden units.
        input_dropout: Dropout of the features.
        bare_share: Share of an epoch's prompts that appear without choices (see ``rows``).
        fewer_share: Share of an epoch's prompts that appear with fewer choices.
        epochs: Passes over the prompts.
        batch_size: Prompts per step.
        learning_rate: Peak of the one-cycle learning rate.
        weight_decay: AdamW's weight decay.
        topic_weight: Weight of the topic loss.
        token_weight: Weight of the output-token loss.
        deviation_penalty: Ridge on each model's deviation from the shared difficulty.
        topic_pseudo_count: Weight of the additive model in ``topic_model_logits``, in prompts.
        realign_ridge: Ridge of ``calibration.realign``.
        platt_slope_count: ``slope`` of ``calibration.PlattPrior``.
        platt_intercept_count: ``intercept`` of ``calibration.PlattPrior``.
        shrink_groups: Trainings of one member, each without a share of the topics, from which the
            shrinkage of scores on prompts unlike the training data is fitted; 0 = no shrinkage.
        objective: Loss of the scores, in training and in calibration.
        bootstrap: Each member trains on its own resample of the prompts, so that the spread of the
            members comes from the data and not only from their seeds.
        seed: Seed of all random numbers.
    """

    members: int = 6
    hidden: int = 256
    dropout: float = 0.5
    input_dropout: float = 0.1
    bare_share: float = 0.15
    fewer_share: float = 0.15
    epochs: int = 15
    batch_size: int = 256
    learning_rate: float = 2.0e-3
    weight_decay: float = 1.0e-4
    topic_weight: float = 0.3
    token_weight: float = 1.0
    deviation_penalty: float = 1.0e-2
    topic_pseudo_count: float = 100.0
    realign_ridge: float = 30.0
    platt_slope_count: float = 500.0
    platt_intercept_count: float = 20_000.0
    shrink_groups: int = 3
    objective: Objective = "log_loss"
    bootstrap: bool = False
    seed: int = 7

    def quick(self) -> "TrainConfig":
        """A configuration small enough for a test, with the same seed."""
        return TrainConfig(
            members=2, hidden=32, epochs=10, batch_size=32, shrink_groups=2, seed=self.seed
        )


def fit(
    train: Rows, validation: Rows, config: TrainConfig, progress: Progress | None = None
) -> Weights:
    """Train the ensemble on ``train``, calibrate it on ``validation``.

    The same rows, config and seed give the same weights on one machine with one thread count.
    ``rows.weights`` count in the loss, in the table of topics and in the calibration.
    """
    topics = assign_topics(train.outcomes, train.features, config.seed)
    masks = left_out_topics(topics, config.shrink_groups, config.seed)
    lone = replace(config, members=1)
    shrink = shrink_by_left_out_topics(
        train,
        validation,
        masks,
        lambda known, held: _fit_unshrunk(known, held, lone, progress),
        config.objective,
    )
    return replace(_fit_unshrunk(train, validation, config, progress), shrink=shrink)


def refit(
    rows: Rows,
    train: NDArray[np.bool_],
    validation: NDArray[np.bool_],
    config: TrainConfig,
    progress: Progress | None = None,
) -> Weights:
    """Calibrate a single member on ``validation``, then train the ensemble on both masks [n].

    For folds, in which all prompts that are not held out may be trained on. The single member is
    trained with ``fit`` on the ``train`` prompts of ``rows``. The spread of the ensemble is not
    calibrated.
    """
    first = replace(config, members=1)
    calibrated = fit(rows.where(train), rows.where(validation), first, progress)
    weights = fit_uncalibrated(rows.where(train | validation), config, progress)
    return replace(
        weights,
        slope=calibrated.slope,
        intercept=calibrated.intercept,
        anchor=calibrated.anchor,
        shrink=calibrated.shrink,
        ood=calibrated.ood,
    )


def _fit_unshrunk(
    train: Rows, validation: Rows, config: TrainConfig, progress: Progress | None
) -> Weights:
    weights = fit_uncalibrated(train, config, progress)
    prior = PlattPrior(config.platt_slope_count, config.platt_intercept_count)
    return with_doubts(weights, train, validation, config.objective, prior, config.seed)


def fit_uncalibrated(train: Rows, config: TrainConfig, progress: Progress | None) -> Weights:
    """Train the ensemble without validation rows: slopes of 1, intercepts of 0."""
    topics = assign_topics(train.outcomes, train.features, config.seed)
    table = topic_model_logits(
        train.outcomes.scores, topics, config.topic_pseudo_count, train.weights
    )
    tokens = token_targets(train.outcomes)
    standard = standardise(train.features, train.groups, tokens)
    labels = SoftLabels.of(train.outcomes.scores, train.weights, config.objective)
    targets = _Targets.of(train, standard, tokens, topics.labels, labels)

    def loss(member: Member, index: Tensor, variant: Tensor) -> Tensor:
        return member_loss(member, targets.batch(index, variant), config)

    members = [
        fit_member(MemberTask(len(train.features), targets.width, table, loss), config, k, progress)
        for k in range(config.members)
    ]
    weights = merge_members(members, standard)
    raw = predict_raw(weights, train.features)
    weights = realign(weights, raw, labels, config.realign_ridge)
    realigned = predict_raw(weights, train.features)
    weights = resample_heads(weights, realigned, labels, config.realign_ridge, config.seed)
    return weights.scaled_tokens(token_factors(raw.output_tokens, tokens))


def token_targets(outcomes: Outcomes) -> NDArray[np.float64]:
    """Output tokens [n, m], NaN = missing.

    A model without any recorded length takes the mean of the models that have one on that prompt.
    """
    targets = outcomes.output_tokens.copy()
    present = ~np.isnan(targets)
    counts = present.sum(axis=1)
    sums = np.where(present, targets, 0.0).sum(axis=1)
    means = np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    targets[:, ~present.any(axis=0)] = means[:, None]
    return targets


@dataclass(frozen=True, slots=True)
class _Targets:
    views: Tensor
    labels: SoftLabels
    normaliser: Tensor
    topics: Tensor
    log_tokens: Tensor
    has_tokens: Tensor

    @property
    def width(self) -> int:
        """Features per prompt."""
        return self.views.shape[2]

    @classmethod
    def of(
        cls,
        rows: Rows,
        standard: Standardisation,
        tokens: NDArray[np.float64],
        topics: NDArray[np.int64],
        labels: SoftLabels,
    ) -> "_Targets":
        counted = labels.present.sum(1)
        log_tokens = (np.log(tokens) - standard.token_mean) / standard.token_deviation
        return cls(
            views=standard.apply(torch.cat([rows.features.unsqueeze(0), rows.variants])),
            labels=labels,
            # Dividing by a prompt's own sum of weights would cancel the weight of a lone outcome.
            normaliser=(
                counted.clamp(min=1.0)
                if rows.weights is None
                else torch.full_like(counted, float(counted.mean()))
            ),
            topics=torch.from_numpy(topics),
            log_tokens=torch.from_numpy(np.nan_to_num(log_tokens).astype(np.float32)),
            has_tokens=torch.from_numpy((~np.isnan(tokens)).astype(np.float32)),
        )

    def batch(self, index: Tensor, variant: Tensor) -> "_Batch":
        """The rows ``index`` [b], each in its view ``variant`` int64 [n]; 0 = the prompt itself."""
        shown = self.views[variant[index], index]
        return _Batch(
            shown,
            self.labels.rows(index),
            self.normaliser[index],
            self.topics[index],
            self.log_tokens[index],
            self.has_tokens[index],
        )


@dataclass(frozen=True, slots=True)
class _Batch:
    features: Tensor
    labels: SoftLabels
    normaliser: Tensor
    topics: Tensor
    log_tokens: Tensor
    has_tokens: Tensor


def member_loss(member: Member, batch: _Batch, config: TrainConfig) -> Tensor:
    """Mean over prompts of the mean loss of each prompt's outcomes, plus auxiliary losses.

    Where outcomes have weights, the mean is over all outcomes together instead.
    """
    logits, topics, log_tokens = member(batch.features)
    score_loss = (batch.labels.losses(logits).sum(1) / batch.normaliser).mean()
    topic_loss = functional.cross_entropy(topics, batch.topics)
    token_errors = functional.smooth_l1_loss(log_tokens, batch.log_tokens, reduction="none")
    token_loss = (token_errors * batch.has_tokens).sum() / batch.has_tokens.sum().clamp(min=1.0)
    return (
        score_loss
        + config.topic_weight * topic_loss
        + config.token_weight * token_loss
        + config.deviation_penalty * member.deviation.weight.square().sum()
    )


@dataclass(frozen=True, slots=True)
class MemberTask:
    """The examples of a member's training, and their loss.

    Attributes:
        examples: Number of examples.
        width: Number of features of each example.
        topic_logits: Each model's mean logit per topic, float32 [t, m].
        loss: Loss of the member on the examples ``index`` int64 [b]; ``variant`` int64 [examples]
            is the view in which each example appears.
    """

    examples: int
    width: int
    topic_logits: NDArray[np.float32]
    loss: Callable[[Member, Tensor, Tensor], Tensor]


def fit_member(
    task: MemberTask, config: TrainConfig, member_index: int, progress: Progress | None
) -> Member:
    """Train the member ``member_index`` of the ensemble: AdamW, one-cycle learning rate."""
    rows = task.examples
    changed = (config.bare_share, config.fewer_share)
    shares = torch.tensor([1.0 - sum(changed), *changed])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed * 1000 + member_index)
        member = Member(
            features=task.width,
            hidden=config.hidden,
            topic_logits=task.topic_logits,
            dropout=config.dropout,
            input_dropout=config.input_dropout,
        )
        optimizer = torch.optim.AdamW(
            member.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        batches = max(1, rows // config.batch_size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, config.learning_rate, total_steps=config.epochs * batches, pct_start=0.1
        )
        sample = torch.randint(rows, (rows,)) if config.bootstrap else torch.arange(rows)
        for _ in range(config.epochs):
            order = sample[torch.randperm(rows)]
            variant = torch.multinomial(shares, rows, replacement=True)
            for index in torch.tensor_split(order, batches):
                loss = task.loss(member, index, variant)
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
            if progress is not None:
                progress(1)
    return member.eval()


def standardise(
    features: Tensor, groups: tuple[int, ...], tokens: NDArray[np.float64]
) -> Standardisation:
    """Means and deviations of features [n, f] and of log output tokens [n, m].

    Features in one run of ``groups`` share a scale.
    """
    deviation = features.std(0)
    # One scale per group: a scale per direction would amplify weak directions, which are noise.
    for run in torch.split(deviation, list(groups)):
        if len(run) > 1:
            run[:] = run.square().mean().sqrt()
    logs = np.log(tokens)
    has = (~np.isnan(logs)).any(axis=0)
    token_mean = np.zeros(logs.shape[1])
    token_deviation = np.ones(logs.shape[1])
    token_mean[has] = np.nanmean(logs[:, has], axis=0)
    token_deviation[has] = np.nanstd(logs[:, has], axis=0)
    return Standardisation(
        feature_mean=features.mean(0).numpy(),
        feature_deviation=torch.where(deviation > 0, deviation, torch.ones(())).numpy(),
        token_mean=token_mean.astype(np.float32),
        token_deviation=np.where(token_deviation > 0, token_deviation, 1.0).astype(np.float32),
    )
