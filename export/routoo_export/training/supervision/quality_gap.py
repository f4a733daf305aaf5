"""Hybrid LLM's labels: the chance that the small model answers as well as the large one.

Ding et al., "Hybrid LLM", arXiv 2404.14618. With q the quality of an answer and H = q(large) -
q(small) the gap, over all pairs of the answers sampled from the two models for a prompt:

- deterministic (section 3.1): 1[H <= 0], one answer each;
- probabilistic (3.2): P[H <= 0], several answers each;
- transformed (3.3): P[H <= t] with a relaxation t >= 0, which spreads the labels out where the
  small model is hardly ever as good. The paper's t maximises the mean absolute difference between
  the labels of two prompts.

A router trained on them sends a prompt to the small model where its label exceeds a threshold. Here
the label is the small model's score and the large model's score is 1, so the ordinary rule, highest
score minus price times cost, is that threshold: label > 1 - price * (cost of large - cost of
small). The threshold is the same for all prompts with the same difference of cost.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo_export.errors import OutcomeError
from routoo_export.network.network import Weights
from routoo_export.outcomes.bad_rows import BadRows
from routoo_export.outcomes.columns import Columns
from routoo_export.outcomes.outcomes import Outcomes, read_table
from routoo_export.outcomes.splits import TRAIN_BUCKETS, in_buckets

FloatArray = NDArray[np.float64]

MOST_RELAXATIONS: Final = 200
"""Most relaxations that are tried; if there are more distinct gaps, they are thinned out evenly."""
CERTAIN_LOGIT: Final = 20.0
"""Its sigmoid is 1 in float32."""


@dataclass(frozen=True, slots=True)
class QualityGapLabels:
    """Outcomes of two models as Hybrid LLM labels them.

    Attributes:
        outcomes: Outcomes of the prompts with a label; the scores are the labels of the small model
            and 1 for the large model.
        relaxation: The t of the labels.
    """

    outcomes: Outcomes
    relaxation: float


def gap_labels(small: FloatArray, large: FloatArray, relaxation: float = 0.0) -> FloatArray:
    """Labels float64 [n] in [0, 1] from sampled qualities, small [n, k] and large [n, l].

    NaN = no such sample; a prompt without a sample of either model has a label of NaN.
    """
    gaps = _gaps(small, large)
    known = ~np.isnan(gaps)
    pairs = known.sum(axis=1)
    good = (known & (gaps <= relaxation)).sum(axis=1)
    labels = np.full(len(pairs), np.nan)
    np.divide(good, pairs, out=labels, where=pairs > 0)
    return labels


def choose_relaxation(small: FloatArray, large: FloatArray) -> float:
    """Choose the t >= 0 with the largest mean absolute difference between two prompts' labels.

    Labels change only where t passes a gap, so only gaps (and 0) are tried. Of several best ones
    the least is taken.

    Raises:
        OutcomeError: no prompt has a sample of both models.
    """
    gaps = _gaps(small, large)
    known = gaps[~np.isnan(gaps)]
    if not known.size:
        raise OutcomeError("no prompt has an outcome of both models; name two that share prompts")
    tried = np.unique(np.append(0.0, known[known > 0.0]))
    if len(tried) > MOST_RELAXATIONS:
        tried = tried[np.linspace(0, len(tried) - 1, MOST_RELAXATIONS).round().astype(np.int64)]
    spreads = [_mean_difference(gap_labels(small, large, float(t))) for t in tried]
    return float(tried[int(np.argmax(spreads))])


def quality_gap_outcomes(
    outcomes: Outcomes,
    small: str,
    large: str,
    *,
    samples: Mapping[str, FloatArray] | None = None,
    relaxation: float | None = None,
) -> QualityGapLabels:
    """Label the outcomes of two models as Hybrid LLM does.

    Args:
        outcomes: Of both models, and any others.
        small: The cheap model.
        large: The expensive model.
        samples: Several scores of a model per prompt, [n, k] with NaN = none, in the order of
            ``outcomes``; a model that is not in it has its one score.
        relaxation: The t; None = chosen as in the paper, on the training buckets.

    Raises:
        OutcomeError: a model is unknown, both are the same, t is negative, or no prompt has both.
    """
    for model in (small, large):
        if model not in outcomes.models:
            known = ", ".join(outcomes.models)
            raise OutcomeError(f"the outcomes have no model {model!r}; they have {known}")
    if small == large:
        raise OutcomeError(f"{small!r} is both the small and the large model; name two")
    if relaxation is not None and not relaxation >= 0.0:
        raise OutcomeError(f"the relaxation is {relaxation}; it must be at least 0")
    columns = [outcomes.models.index(model) for model in (small, large)]
    given = samples or {}
    of_small, of_large = (
        given.get(model, outcomes.scores[:, [column]])
        for model, column in zip((small, large), columns, strict=True)
    )
    train = in_buckets(outcomes.buckets, TRAIN_BUCKETS)
    chosen = relaxation
    if chosen is None:
        chosen = choose_relaxation(of_small[train], of_large[train])
    labels = gap_labels(of_small, of_large, chosen)
    labelled = ~np.isnan(labels)
    if not labelled.any():
        raise OutcomeError(f"no prompt has an outcome of both {small!r} and {large!r}")

    def pick(values: FloatArray | None) -> FloatArray | None:
        return None if values is None else values[:, columns]

    pair = replace(
        outcomes,
        models=(small, large),
        scores=np.stack([labels, np.ones(len(labels))], axis=1),
        output_tokens=outcomes.output_tokens[:, columns],
        cost_usd=outcomes.cost_usd[:, columns],
        input_tokens=pick(outcomes.input_tokens),
        latency_ms=pick(outcomes.latency_ms),
    )
    return QualityGapLabels(pair.rows(labelled), chosen)


def read_samples(path: Path, outcomes: Outcomes) -> dict[str, FloatArray]:
    """Read several scores per prompt and model, for ``quality_gap_outcomes``.

    The parquet file has one row per sampled answer: prompt_id, model, score in [0, 1]. Prompts that
    ``outcomes`` lack are left out.

    Raises:
        OutcomeError: the file cannot be read, or a row does not fit; the message has file and row.
    """
    columns = Columns(read_table(path), str(path), lambda row: f"{path}: row {row}", BadRows())
    columns.require(("prompt_id", "model", "score"))
    prompts, models = columns.text("prompt_id"), columns.text("model")
    scores = columns.numbers("score", 1.0)
    columns.drop(np.isnan(scores), "score is missing")
    row_of = {prompt_id: i for i, prompt_id in enumerate(outcomes.prompt_ids)}
    place = np.array([row_of.get(prompt_id, -1) for prompt_id in prompts.values])[prompts.codes]
    samples = {}
    for code, model in enumerate(models.values):
        own = np.flatnonzero((models.codes == code) & (place >= 0))
        own = own[np.argsort(place[own], kind="stable")]
        counts = np.bincount(place[own], minlength=len(row_of))
        within = np.arange(len(own)) - np.repeat(np.cumsum(counts) - counts, counts)
        values = np.full((len(row_of), max(1, counts.max(initial=0))), np.nan)
        values[place[own], within] = scores[own]
        samples[model] = values
    return samples


def pin_score(weights: Weights, column: int) -> Weights:
    """``weights`` with a score of exactly 1 in ``column`` on every prompt: the large model's."""
    arrays = {}
    for name, value in (("slope", 0.0), ("intercept", CERTAIN_LOGIT), ("anchor", CERTAIN_LOGIT)):
        array = getattr(weights, name).copy()
        array[column] = value
        arrays[name] = array
    return replace(weights, **arrays)


def _gaps(small: FloatArray, large: FloatArray) -> FloatArray:
    """q(large) - q(small) of all pairs of samples, [n, k * l]."""
    gaps = large[:, None, :] - small[:, :, None]
    return gaps.reshape(len(gaps), -1)


def _mean_difference(labels: FloatArray) -> float:
    """Mean of |y_i - y_j| over all pairs of known labels, i = j included."""
    y = np.sort(labels[~np.isnan(labels)])
    ranks = 2.0 * np.arange(len(y)) - len(y) + 1.0
    return float(2.0 * (ranks @ y) / len(y) ** 2)
