"""The predictor: from prompt features to calibrated scores, output tokens and uncertainty.

Each member k of the ensemble, on its own hidden units:

    hidden = relu(features W1 + b1)
    logits = slope * (softmax(hidden Wt + bt) A + hidden Wr + br) + intercept
    log_tokens = hidden Wo + bo

and of all members together:

    certainty = 1 / (1 + shrink * ood ** 8)
    scores = sigmoid(anchor + certainty * (mean of logits - anchor))
    score_std = spread * deviation over the members of sigmoid(logits)
    output_tokens = exp(mean of log_tokens)

A holds each topic's model means, Wr the residual; slope and intercept are those of Platt scaling,
per model; anchor is the logit of the model's mean score over its training rows. The module ``ood``
defines ood, ``added_models`` the models that were added later. The members are trained one by one
(``Member``), then stacked with their hidden units side by side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from routoo_export.network.added_models import AddedWeights
from routoo_export.network.ood import Ood, OodWeights

FloatArray = NDArray[np.float32]

ADDED_DIRECTIONS: Final = 8
"""Directions of uncertainty kept of an added model."""


class Member(nn.Module):
    """One trainable MLP with three heads: topic logits, score residual, standardised log tokens.

    The residual is one shared difficulty direction plus a deviation per model; the deviation starts
    at zero and is shrunk in training, which keeps noise out of the differences between models.
    """

    topic_logits: Tensor

    def __init__(
        self,
        *,
        features: int,
        hidden: int,
        topic_logits: FloatArray,
        dropout: float,
        input_dropout: float,
    ) -> None:
        super().__init__()
        topics, models = topic_logits.shape
        self.hidden = nn.Linear(features, hidden)
        self.dropout = nn.Dropout(dropout)
        self.input_dropout = nn.Dropout(input_dropout)
        self.topic = nn.Linear(hidden, topics)
        self.difficulty = nn.Linear(hidden, 1)
        self.deviation = nn.Linear(hidden, models)
        self.log_tokens = nn.Linear(hidden, models)
        nn.init.zeros_(self.deviation.weight)
        nn.init.zeros_(self.deviation.bias)
        self.register_buffer("topic_logits", torch.from_numpy(topic_logits))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Score logits [n, m], topic logits [n, t], standardised log tokens [n, m]."""
        hidden = self.dropout(functional.relu(self.hidden(self.input_dropout(features))))
        topic = self.topic(hidden)
        mixture = functional.softmax(topic, dim=1) @ self.topic_logits
        logits = mixture + self.difficulty(hidden) + self.deviation(hidden)
        return logits, topic, self.log_tokens(hidden)


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of the predictor, all float32.

    There are f features, k members of h hidden units, t topics and m trained models.

    Attributes:
        hidden: Weights of the hidden units, members side by side, [f, k * h].
        hidden_bias: Their biases, [k * h].
        heads: Weights of topic logits, score residual and log output tokens, side by side,
            [k, h, t + m + m].
        heads_bias: Their biases, [k, t + m + m].
        topic_logits: Each model's mean logit per topic, [k, t, m].
        slope: Slope of each model's calibration, [m].
        intercept: Intercept of each model's calibration, [m].
        spread: Factor of the members' deviation, [m].
        anchor: The logit towards which scores of unusual prompts shrink, [m].
        shrink: Strength of that shrinkage, [1], at least 0.
        ood: Weights of the measure of unusual prompts.
        added: Weights of added models, which follow the trained models in every output.
    """

    hidden: FloatArray
    hidden_bias: FloatArray
    heads: FloatArray
    heads_bias: FloatArray
    topic_logits: FloatArray
    slope: FloatArray
    intercept: FloatArray
    spread: FloatArray
    anchor: FloatArray
    shrink: FloatArray
    ood: OodWeights
    added: AddedWeights

    @property
    def split(self) -> tuple[int, int, int]:
        """Widths of the three heads: t, m, m."""
        _, topics, models = self.topic_logits.shape
        return topics, models, models

    @property
    def models(self) -> int:
        """Number of models in the outputs, added models included."""
        return len(self.slope) + self.added.models

    def scaled_tokens(self, factor: FloatArray) -> "Weights":
        """Multiply the output tokens of each trained model by ``factor`` [m]."""
        bias = self.heads_bias.copy()
        bias[:, -len(factor) :] += np.log(factor)
        return replace(self, heads_bias=bias)

    def arrays(self) -> dict[str, FloatArray]:
        """Every array by its name; arrays of ``ood`` and ``added`` as "part.name"."""
        arrays: dict[str, FloatArray] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, OodWeights | AddedWeights):
                arrays |= {f"{field.name}.{name}": part for name, part in value.arrays().items()}
            else:
                arrays[field.name] = value
        return arrays

    @classmethod
    def of(cls, arrays: Mapping[str, FloatArray]) -> "Weights":
        """Weights from the arrays that ``arrays`` returned.

        Raises:
            KeyError: an array is missing.
        """
        values: dict[str, Any] = {
            "ood": OodWeights(**{f.name: arrays[f"ood.{f.name}"] for f in fields(OodWeights)}),
            "added": AddedWeights(
                **{f.name: arrays[f"added.{f.name}"] for f in fields(AddedWeights)}
            ),
        }
        for field in fields(cls):
            if field.name not in values:
                values[field.name] = arrays[field.name]
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Standardisation:
    """Means and standard deviations over the training rows.

    Attributes:
        feature_mean: Mean of each feature, [f].
        feature_deviation: Standard deviation of each feature, [f].
        token_mean: Mean log output tokens of each model, [m].
        token_deviation: Standard deviation of the log output tokens of each model, [m].
    """

    feature_mean: FloatArray
    feature_deviation: FloatArray
    token_mean: FloatArray
    token_deviation: FloatArray

    def apply(self, features: Tensor) -> Tensor:
        """Standardised features [..., f]."""
        centred = features - torch.from_numpy(self.feature_mean)
        return centred / torch.from_numpy(self.feature_deviation)


def merge_members(members: Sequence[Member], standard: Standardisation) -> Weights:
    """Merge ``members`` into one network, with the standardisation folded into its layers.

    The result is not calibrated: slopes are 1, intercepts 0, every prompt is typical, and no score
    is shrunk.
    """
    hidden = torch.cat([m.hidden.weight for m in members]).detach().numpy().T
    hidden = hidden / standard.feature_deviation[:, None]
    bias = torch.cat([m.hidden.bias for m in members]).detach().numpy()
    heads, heads_bias = [], []
    for member in members:
        residual = member.deviation.weight + member.difficulty.weight
        tokens = member.log_tokens.weight.detach().numpy().T * standard.token_deviation
        topic = member.topic.weight.detach().numpy().T
        heads.append(np.concatenate([topic, residual.detach().numpy().T, tokens], axis=1))
        token_bias = member.log_tokens.bias.detach().numpy() * standard.token_deviation
        heads_bias.append(
            np.concatenate(
                [
                    member.topic.bias.detach().numpy(),
                    (member.deviation.bias + member.difficulty.bias).detach().numpy(),
                    token_bias + standard.token_mean,
                ]
            )
        )
    topic_logits = np.stack([member.topic_logits.numpy() for member in members])
    _, topics, models = topic_logits.shape
    return Weights(
        hidden=hidden.astype(np.float32),
        hidden_bias=(bias - standard.feature_mean @ hidden).astype(np.float32),
        heads=np.stack(heads).astype(np.float32),
        heads_bias=np.stack(heads_bias).astype(np.float32),
        topic_logits=topic_logits,
        slope=np.ones(models, dtype=np.float32),
        intercept=np.zeros(models, dtype=np.float32),
        spread=np.ones(models, dtype=np.float32),
        anchor=np.zeros(models, dtype=np.float32),
        shrink=np.zeros(1, dtype=np.float32),
        ood=OodWeights.none(len(hidden)),
        added=AddedWeights.none(models + topics, ADDED_DIRECTIONS),
    )


class Outputs(NamedTuple):
    """Outputs of the network for n prompts and m models, float32.

    Attributes:
        scores: Scores in (0, 1), [n, m].
        output_tokens: Expected output tokens, > 0, [n, m].
        score_std: Standard deviation of the score over trainings on other samples of the same size,
            >= 0, [n, m]; the noise of an outcome itself is not part of it.
        ood: Share of in-domain prompts that are nearer to the training prompts, [n] in [0, 1].
    """

    scores: Tensor
    output_tokens: Tensor
    score_std: Tensor
    ood: Tensor


class NetworkPrediction(NamedTuple):
    """``Outputs`` as numpy arrays."""

    scores: FloatArray
    output_tokens: FloatArray
    score_std: FloatArray
    ood: FloatArray


class RawPrediction(NamedTuple):
    """Means over the members before calibration, float32.

    Attributes:
        logits: Logits before slope and intercept, [n, m].
        topics: Topic shares, [n, t].
        output_tokens: Expected output tokens, [n, m].
    """

    logits: FloatArray
    topics: FloatArray
    output_tokens: FloatArray


class Members(NamedTuple):
    """Outputs of each of the k members, float32.

    Attributes:
        logits: Logits before slope and intercept, [k, n, m].
        shares: Topic shares, [k, n, t].
        log_tokens: Log output tokens, [k, n, m].
        energy: Mean over the members of the energy of the topic logits, [n].
    """

    logits: Tensor
    shares: Tensor
    log_tokens: Tensor
    energy: Tensor


class Network(nn.Module):
    """``Weights`` as a torch module: features float32 [n, f] -> ``Outputs``."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.split = weights.split
        self.added_models = weights.added.models
        self.ood = Ood(weights.ood)
        for name, array in weights.arrays().items():
            buffer = torch.from_numpy(np.ascontiguousarray(array))
            self.register_buffer(name.replace(".", "_") + "_", buffer)

    def forward(self, features: Tensor) -> Outputs:
        members = self.members(features)
        ood = self.ood(features, members.energy)
        certainty = 1.0 / (1.0 + self.get_buffer("shrink_") * ood.pow(8)).unsqueeze(1)
        logits = self.get_buffer("slope_") * members.logits + self.get_buffer("intercept_")
        trained = Outputs(
            scores=_shrunk(logits.mean(0), self.get_buffer("anchor_"), certainty),
            output_tokens=torch.exp(members.log_tokens.mean(0)),
            score_std=self.get_buffer("spread_") * _deviation(torch.sigmoid(logits)),
            ood=ood,
        )
        if not self.added_models:
            return trained
        added = self._added(torch.cat([logits, members.shares], dim=2), certainty, trained)
        scores, output_tokens, score_std = (
            torch.cat(pair, dim=1) for pair in zip(trained[:3], added, strict=True)
        )
        return Outputs(scores, output_tokens, score_std, ood)

    def members(self, features: Tensor) -> Members:
        """Outputs of each member, on which the calibration is fitted."""
        weight, bias = self.get_buffer("heads_"), self.get_buffer("heads_bias_")
        hidden = functional.relu(
            torch.addmm(self.get_buffer("hidden_bias_"), features, self.get_buffer("hidden_"))
        )
        by_member = hidden.reshape(len(features), *weight.shape[:2]).transpose(0, 1)
        heads = torch.baddbmm(bias.unsqueeze(1), by_member, weight)
        topic, residual, log_tokens = torch.split(heads, list(self.split), dim=2)
        shares = functional.softmax(topic, dim=2)
        return Members(
            logits=shares @ self.get_buffer("topic_logits_") + residual,
            shares=shares,
            log_tokens=log_tokens,
            energy=-(shares * topic).sum(2).mean(0),
        )

    def _added(
        self, inputs: Tensor, certainty: Tensor, trained: Outputs
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, output tokens and score_std of the added models, [n, a] each.

        Args:
            inputs: Each member's logits and topic shares, [k, n, d].
            certainty: How much of a score remains after shrinkage, [n, 1].
            trained: Outputs of the trained models.
        """
        columns, bias = self.get_buffer("added_columns_"), self.get_buffer("added_bias_")
        parts = inputs @ columns.unsqueeze(1) + bias.unsqueeze(1).unsqueeze(1)
        logits = parts[..., 0].permute(1, 2, 0)
        mean = logits.mean(0)
        scores = torch.sigmoid(mean)
        of_column = parts[..., 1:].mean(1).square().sum(-1).T * (scores * (1.0 - scores)).square()
        of_members = self.get_buffer("added_spread_") * _deviation(torch.sigmoid(logits))
        log_tokens = torch.log(trained.output_tokens.mean(1, keepdim=True))
        power, factor = (
            self.get_buffer("added_token_power_"),
            self.get_buffer("added_log_token_factor_"),
        )
        return (
            _shrunk(mean, self.get_buffer("added_anchor_"), certainty),
            torch.exp(log_tokens * power + factor),
            torch.sqrt(of_members.square() + of_column),
        )


def _shrunk(logits: Tensor, anchor: Tensor, certainty: Tensor) -> Tensor:
    """Scores [n, m]: ``logits`` [n, m] shrunk to ``anchor`` [m] where ``certainty`` [n, 1] < 1."""
    return torch.sigmoid(anchor + certainty * (logits - anchor))


def _deviation(values: Tensor) -> Tensor:
    """Standard deviation over the first axis."""
    return (values - values.mean(0)).square().mean(0).sqrt()


def predict(weights: Weights, features: Tensor) -> NetworkPrediction:
    """Predict from features float32 [n, f]."""
    with torch.inference_mode():
        outputs = Network(weights)(features)
    return NetworkPrediction(*(output.numpy() for output in outputs))


def predict_raw(weights: Weights, features: Tensor) -> RawPrediction:
    """Predict what calibration and realignment are fitted on, from features float32 [n, f]."""
    with torch.inference_mode():
        members = Network(weights).members(features)
        tokens = torch.exp(members.log_tokens.mean(0))
    return RawPrediction(
        members.logits.mean(0).numpy(), members.shares.mean(0).numpy(), tokens.numpy()
    )
