"""The predictor: prompt features in, calibrated scores and output tokens of every model out.

    hidden = relu(features W1 + b1), ensemble members side by side
    logits = softmax(hidden Wt + bt) A + hidden Wr + br
    scores = sigmoid(slope * logits + intercept)
    output_tokens = exp(hidden Wo + bo)

A holds each topic's model means, Wr the residual; slope and intercept are Platt's, per model.
The members are trained one by one (`Member`) and then merged exactly into this one wide layer,
because averaging members' linear outputs is one linear map of their hidden units side by side.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

FloatArray = NDArray[np.float32]


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
    """All float32. f features, h hidden units of all members, t topics, m models.

    hidden [f, h], hidden_bias [h]; heads [h, t + m + m] and heads_bias: topic logits, score
    residual, log output tokens, side by side; topic_logits [t, m]; slope [m], intercept [m].
    """

    hidden: FloatArray
    hidden_bias: FloatArray
    heads: FloatArray
    heads_bias: FloatArray
    topic_logits: FloatArray
    slope: FloatArray
    intercept: FloatArray

    @property
    def split(self) -> tuple[int, int, int]:
        """Widths of the three heads."""
        topics, models = self.topic_logits.shape
        return topics, models, models

    def scaled_tokens(self, factor: FloatArray) -> "Weights":
        """Output tokens of each model times `factor` [m]."""
        bias = self.heads_bias.copy()
        bias[-len(factor) :] += np.log(factor)
        return replace(self, heads_bias=bias)

    def arrays(self) -> dict[str, FloatArray]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class Standardisation:
    """Means and deviations over the training rows: features [f], log output tokens [m]."""

    feature_mean: FloatArray
    feature_deviation: FloatArray
    token_mean: FloatArray
    token_deviation: FloatArray

    def apply(self, features: Tensor) -> Tensor:
        """Standardised features [..., f]."""
        centred = features - torch.from_numpy(self.feature_mean)
        return centred / torch.from_numpy(self.feature_deviation)


def merge_members(members: Sequence[Member], standard: Standardisation) -> Weights:
    """The average of `members` as one network, with the standardisation folded into its layers."""
    count = len(members)
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
    models = len(standard.token_mean)
    return Weights(
        hidden=hidden.astype(np.float32),
        hidden_bias=(bias - standard.feature_mean @ hidden).astype(np.float32),
        heads=(np.concatenate(heads) / count).astype(np.float32),
        heads_bias=np.mean(heads_bias, axis=0).astype(np.float32),
        topic_logits=members[0].topic_logits.numpy().copy(),
        slope=np.ones(models, dtype=np.float32),
        intercept=np.zeros(models, dtype=np.float32),
    )


@dataclass(frozen=True, slots=True)
class RawPrediction:
    """Uncalibrated logits [n, m], topic shares [n, t], output tokens [n, m]; float32."""

    logits: FloatArray
    topics: FloatArray
    output_tokens: FloatArray


class Network(nn.Module):
    """`Weights` as a torch module: features [n, f] -> scores, output_tokens [n, m]; float32."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.split = weights.split
        for name, array in weights.arrays().items():
            self.register_buffer(f"{name}_", torch.from_numpy(np.ascontiguousarray(array)))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        logits, _, log_tokens = self.raw(features)
        slope, intercept = self.get_buffer("slope_"), self.get_buffer("intercept_")
        return torch.sigmoid(slope * logits + intercept), torch.exp(log_tokens)

    def raw(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Uncalibrated logits [n, m], topic shares [n, t], log output tokens [n, m]."""
        hidden = functional.relu(
            torch.addmm(self.get_buffer("hidden_bias_"), features, self.get_buffer("hidden_"))
        )
        heads = torch.addmm(self.get_buffer("heads_bias_"), hidden, self.get_buffer("heads_"))
        topic, residual, log_tokens = torch.split(heads, list(self.split), dim=1)
        shares = functional.softmax(topic, dim=1)
        return shares @ self.get_buffer("topic_logits_") + residual, shares, log_tokens


def predict(weights: Weights, features: Tensor) -> tuple[FloatArray, FloatArray]:
    """Calibrated scores and output tokens, float32 [n, m] each."""
    with torch.inference_mode():
        scores, tokens = Network(weights)(features)
    return scores.numpy(), tokens.numpy()


def predict_raw(weights: Weights, features: Tensor) -> RawPrediction:
    """What calibration and realignment are fitted on."""
    with torch.inference_mode():
        logits, shares, log_tokens = Network(weights).raw(features)
    return RawPrediction(logits.numpy(), shares.numpy(), torch.exp(log_tokens).numpy())
