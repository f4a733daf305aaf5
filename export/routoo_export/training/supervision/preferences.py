"""Preference battles: two models answered one prompt, and a judge said whose answer is better.

Bradley and Terry (1952): P[a beats b] = sigmoid(z_a - z_b), a tie counts half. The strengths z come
from the same members as scores do (``network.Member``), so they depend on the prompt.

Battles say which model is better, not whether a model is good: z is known only up to a constant per
prompt. It is fixed so that the z of all models sum to zero on every prompt. A score then is the
chance to beat an opponent drawn uniformly from the other models of the pool. An average model of
the pool has 0.5 on every prompt: scores rank models on one prompt, as a router needs, and must not
be compared between prompts or pools.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn import functional

from routoo_export.errors import OutcomeError
from routoo_export.network.network import (
    FloatArray,
    Member,
    Network,
    Weights,
    merge_members,
    predict_raw,
)
from routoo_export.network.ood import fit_ood
from routoo_export.outcomes.bad_rows import BadRows
from routoo_export.outcomes.columns import Columns, OutcomeGrid, by_appearance
from routoo_export.outcomes.outcomes import Outcomes, Source, from_grid, read_table
from routoo_export.training.heads.calibration import PlattPrior, platt
from routoo_export.training.heads.convex import minimise
from routoo_export.training.heads.objectives import SoftLabels
from routoo_export.training.heads.rows import Rows
from routoo_export.training.heads.topics import Topics, assign_topics
from routoo_export.training.heads.train import (
    MemberTask,
    Progress,
    TrainConfig,
    fit_member,
    standardise,
)

COLUMNS: Final = ("prompt_id", "prompt", "model_a", "model_b", "score_a")
_VERDICTS: Final = (0.0, 0.5, 1.0)
_STRENGTH_RIDGE: Final = 1.0e-2
"""Keeps the strength of a model that has never lost finite; worth a twelfth of a battle."""


@dataclass(frozen=True, slots=True)
class Battles:
    """b battles on n prompts among m models.

    Attributes:
        outcomes: The prompts and the models, without any score.
        prompt: Row of each battle's prompt, int64 [b].
        first: Column of model a, int64 [b].
        second: Column of model b, int64 [b].
        score_a: Result, float64 [b]: 1 = a won, 0.5 = tie, 0 = b won.
    """

    outcomes: Outcomes
    prompt: NDArray[np.int64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    score_a: NDArray[np.float64]

    def where(self, keep: NDArray[np.bool_]) -> "Battles":
        """The battles on the prompts of the mask ``keep`` [n]."""
        fought = keep[self.prompt]
        row = np.cumsum(keep) - 1
        return Battles(
            self.outcomes.rows(keep),
            row[self.prompt[fought]],
            self.first[fought],
            self.second[fought],
            self.score_a[fought],
        )


def read_battles(path: Path, *, name: str, licence: str, bad: BadRows | None = None) -> Battles:
    """Read a parquet of one row per battle: COLUMNS, and optionally domain.

    score_a is 0, 0.5 or 1. A prompt may have several battles under one prompt_id.

    Raises:
        OutcomeError: the file cannot be read, or a row does not fit; the message has file and row.
    """
    table = read_table(path)
    columns = Columns(table, str(path), lambda row: f"{path}: row {row}", bad or BadRows())
    columns.require(COLUMNS)
    ids, prompts, model_a, model_b = (columns.text(column) for column in COLUMNS[:4])
    domains = columns.optional_text("domain")
    scores = columns.numbers("score_a", 1.0)
    columns.drop(
        ~np.isin(scores, _VERDICTS),
        "score_a is not 0, 0.5 or 1",
        lambda row: f" ({scores[row]:g})",
    )
    models = tuple(sorted({*model_a.values, *model_b.values}))
    index = {model: j for j, model in enumerate(models)}
    a, b = (
        np.array([index[value] for value in side.values], dtype=np.int64)[side.codes]
        for side in (model_a, model_b)
    )
    columns.drop(a == b, "a model fights itself", lambda row: f" ({model_a[row]!r})")
    good = np.flatnonzero(columns.good)
    if not len(good):
        raise OutcomeError(f"{path}: no battle is left; training needs some")
    firsts, place = by_appearance(ids.codes[good])
    rows, shown = good[firsts], good[firsts][place]
    for column in (prompts, domains):
        differs = np.flatnonzero(column.codes[good] != column.codes[shown])
        if len(differs):
            row, other = good[differs[0]], shown[differs[0]]
            raise OutcomeError(f"{path}: row {row}: prompt or domain differs from row {other}'s")
    missing = np.full((len(rows), len(models)), np.nan)
    grid = OutcomeGrid(
        prompt_ids=tuple(str(value) for value in ids.at(rows)),
        prompts=tuple(str(value) for value in prompts.at(rows)),
        models=models,
        scores=missing,
        output_tokens=missing,
        cost_usd=missing,
        input_tokens=None,
        latency_ms=None,
        domains=domains.at(rows),
        groups=(None,) * len(rows),
        cost_kind="none",
    )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    source = Source(name, licence, table.num_rows, digest)
    return Battles(from_grid(grid, source), place, a[good], b[good], scores[good])


def fit_battles(
    train: Rows,
    train_battles: Battles,
    validation: Rows,
    validation_battles: Battles,
    config: TrainConfig,
    progress: Progress | None = None,
) -> Weights:
    """Fit the heads on battles, as ``train.fit`` does on graded outcomes.

    A topic's strengths are pulled towards the overall ones with the weight of
    ``config.topic_pseudo_count`` even battles. The temperature is fitted on the validation battles.
    Scores are not shrunk where ood is high. Battles say nothing of lengths: every output_tokens is
    1.

    Args:
        train: Rows of the prompts of ``train_battles``.
        train_battles: Battles to train on.
        validation: Rows of the prompts of ``validation_battles``.
        validation_battles: Battles to calibrate on.
        config: Settings of the training.
        progress: Called with the number of epochs just done.

    Raises:
        OutcomeError: the models fall into groups that never met in training.
    """
    _check_connected(train_battles)
    outcomes = train_battles.outcomes
    topics = assign_topics(outcomes, train.features, config.seed)
    table = topic_strengths(train_battles, topics, config.topic_pseudo_count)
    standard = standardise(train.features, train.groups, outcomes.scores)
    views = standard.apply(torch.cat([train.features.unsqueeze(0), train.variants]))
    pairs = _Pairs.of(train_battles)
    labels = torch.from_numpy(topics.labels)

    def loss(member: Member, index: Tensor, variant: Tensor) -> Tensor:
        prompt = pairs.prompt[index]
        logits, shares, _ = member(views[variant[index], prompt])
        rows = torch.arange(len(index))
        drawn = _Pairs(rows, pairs.first[index], pairs.second[index], pairs.score_a[index])
        topic_loss = functional.cross_entropy(shares, labels[prompt])
        shrinkage = member.deviation.weight.square().sum()
        return (
            drawn.loss_sum(logits) / len(index)
            + config.topic_weight * topic_loss
            + config.deviation_penalty * shrinkage
        )

    task = MemberTask(len(train_battles.score_a), views.shape[2], table, loss)
    members = [fit_member(task, config, k, progress) for k in range(config.members)]
    weights = _realign(merge_members(members, standard), train, train_battles, config.realign_ridge)
    weights = _calibrate(_centre(weights), validation, validation_battles)
    with torch.inference_mode():
        energy = Network(weights).members(validation.features).energy
    ood = fit_ood(train.features, validation.features, energy, train.groups)
    return replace(weights, ood=ood)


def topic_strengths(battles: Battles, topics: Topics, pseudo_count: float) -> FloatArray:
    """Bradley-Terry strengths float32 [t, m] of each model per topic; they sum to 0 over models."""
    pairs = _Pairs.of(battles)
    topic = torch.from_numpy(topics.labels)[pairs.prompt]
    models = len(battles.outcomes.models)
    overall = torch.zeros(models, dtype=torch.float64, requires_grad=True)
    change = torch.zeros(len(topics.names), models, dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        fit = replace(pairs, prompt=topic).loss_sum(overall + change)
        # As in ``calibration.platt``: an even battle has an information of 1/4.
        held = pseudo_count / 8.0 * change.square().sum()
        return (fit + held + _STRENGTH_RIDGE * overall.square().sum()) / len(topic)

    minimise(loss, [overall, change])
    strengths = (overall + change).detach()
    strengths -= strengths.mean(1, keepdim=True)
    table: FloatArray = strengths.numpy().astype(np.float32)
    return table


def win_rates(strengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Chance [n, m] of each model to beat one of the others, drawn uniformly; strengths [n, m]."""
    chances = 1.0 / (1.0 + np.exp(strengths[:, None, :] - strengths[:, :, None]))
    rates: NDArray[np.float64] = (chances.sum(axis=2) - 0.5) / (strengths.shape[1] - 1)
    return rates


@dataclass(frozen=True, slots=True)
class _Pairs:
    prompt: Tensor
    first: Tensor
    second: Tensor
    score_a: Tensor

    @classmethod
    def of(cls, battles: Battles) -> "_Pairs":
        return cls(
            torch.from_numpy(battles.prompt),
            torch.from_numpy(battles.first),
            torch.from_numpy(battles.second),
            torch.from_numpy(battles.score_a),
        )

    def loss_sum(self, logits: Tensor) -> Tensor:
        """Sum the log-loss of all battles; ``prompt`` are indices of the rows of ``logits``."""
        margin = logits[self.prompt, self.first] - logits[self.prompt, self.second]
        return functional.binary_cross_entropy_with_logits(
            margin, self.score_a.to(margin.dtype), reduction="sum"
        )


def _realign(weights: Weights, rows: Rows, battles: Battles, ridge: float) -> Weights:
    """Refit the topic table and the intercepts on battles, as ``calibration.realign`` does."""
    raw = predict_raw(weights, rows.features)
    shares, logits = torch.from_numpy(raw.topics).double(), torch.from_numpy(raw.logits).double()
    pairs = _Pairs.of(battles)
    change = torch.zeros(weights.split[:2], dtype=torch.float64, requires_grad=True)
    shift = torch.zeros(logits.shape[1], dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        fit = pairs.loss_sum(logits + shift + shares @ change)
        held = ridge * change.square().sum() + _STRENGTH_RIDGE * shift.square().sum()
        return (fit + held) / len(pairs.score_a)

    minimise(loss, [change, shift])
    topics, models, _ = weights.split
    bias = weights.heads_bias.copy()
    bias[..., topics : topics + models] += shift.detach().numpy().astype(np.float32)
    table = weights.topic_logits + change.detach().numpy().astype(np.float32)
    return replace(weights, heads_bias=bias, topic_logits=table)


def _centre(weights: Weights) -> Weights:
    """Shift the logits to a sum of 0 over the models on every prompt; output tokens become 1."""
    topics, models, _ = weights.split
    scores, tokens = slice(topics, topics + models), slice(topics + models, None)
    heads, bias = weights.heads.copy(), weights.heads_bias.copy()
    for array in (heads, bias):
        array[..., scores] -= array[..., scores].mean(axis=-1, keepdims=True)
        array[..., tokens] = 0.0
    table = weights.topic_logits - weights.topic_logits.mean(axis=-1, keepdims=True)
    return replace(weights, heads=heads, heads_bias=bias, topic_logits=table)


def _calibrate(weights: Weights, rows: Rows, battles: Battles) -> Weights:
    """Fit slope and intercept per model so that scores are win rates at the fitted temperature."""
    raw = predict_raw(weights, rows.features)
    logits = torch.from_numpy(raw.logits).double()
    pairs = _Pairs.of(battles)
    sharpness = torch.ones(1, dtype=torch.float64, requires_grad=True)
    minimise(lambda: pairs.loss_sum(sharpness * logits) / len(pairs.score_a), [sharpness])
    rates = win_rates((sharpness.detach() * logits).numpy())
    # The rates are exact, so no regularisation is needed.
    return platt(weights, raw, SoftLabels.of(rates), PlattPrior(slope=0.0, intercept=0.0))


def _check_connected(battles: Battles) -> None:
    models = battles.outcomes.models
    met = coo_array(
        (np.ones(len(battles.first)), (battles.first, battles.second)),
        shape=(len(models), len(models)),
    )
    groups, of_model = connected_components(met, directed=False)
    if groups > 1:
        other = models[int(np.argmax(of_model != of_model[0]))]
        raise OutcomeError(
            f"no chain of training battles links {models[0]!r} and {other!r}; their strengths"
            " cannot be compared: bring battles between them, or leave one group out"
        )
