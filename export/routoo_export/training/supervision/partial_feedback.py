"""Partial feedback: logs in which only the chosen model's outcome is known.

A production log has the outcome of the chosen model and the probability with which it was chosen
(the propensity), but not the outcomes that the other models would have had. The logging policy may
use information that the features lack, for example users who send hard prompts to the expensive
model. The models' logged means are then of different prompts, and training on the log as it is
learns that the expensive model is bad. Three methods:

- unweighted: outcomes as they are; right only if the features explain the policy's choices.
- inverse_propensity: each outcome has the weight 1 / propensity (Horvitz and Thompson, 1952),
  truncated at sqrt(n) times the mean weight, which bounds the variance for a bias that vanishes
  with n (Ionides, 2008).
- doubly_robust: every model gets a pseudo-outcome on every prompt: a cross-fitted direct prediction
  plus the inverse-propensity correction where an outcome is known (Dudik et al., arXiv 1103.4601).
  Its mean is right if the propensities or the direct predictions are. Pseudo-outcomes outside
  [0, 1] are not clipped: clipping each one would turn each known outcome into a weight of one and
  so undo the correction. Both objectives accept them (see ``objectives``).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from routoo.telemetry.decision_log.off_policy.feedback import effective_sample_size
from routoo_export.errors import OutcomeError
from routoo_export.network.network import predict
from routoo_export.outcomes.bad_rows import BadRows
from routoo_export.outcomes.columns import Columns, first_rows
from routoo_export.outcomes.outcomes import Outcomes, read_outcomes, read_table
from routoo_export.training.heads.rows import Rows
from routoo_export.training.heads.topics import Topics, assign_topics
from routoo_export.training.heads.train import Progress, TrainConfig, fit_uncalibrated

FloatArray = NDArray[np.float64]
LogMethod = Literal["unweighted", "inverse_propensity", "doubly_robust"]

CROSS_FITS: Final = 2
BAD_PROPENSITY: Final = "propensity is not in (0, 1], the chance that this choice had"


@dataclass(frozen=True, slots=True)
class LoggedOutcomes:
    """n logged decisions.

    Attributes:
        outcomes: Outcomes whose scores [n, m] are NaN except for the chosen model's.
        chosen: Column of the chosen model, int64 [n].
        propensities: Probability with which the logging policy made this choice, float64 [n] in
            (0, 1].
    """

    outcomes: Outcomes
    chosen: NDArray[np.int64]
    propensities: FloatArray

    def __post_init__(self) -> None:
        if self.chosen.shape != self.propensities.shape:
            raise OutcomeError(
                f"{self.chosen.shape} choices do not fit {self.propensities.shape} propensities"
            )
        known = np.zeros(self.outcomes.scores.shape, dtype=np.bool_)
        known[np.arange(len(self.chosen)), self.chosen] = True
        _refuse_first(
            (known == np.isnan(self.outcomes.scores)).any(axis=1),
            "an outcome is known for the chosen model, and for no other",
        )
        fits = (self.propensities > 0.0) & (self.propensities <= 1.0)
        _refuse_first(~fits, BAD_PROPENSITY)

    @property
    def scores(self) -> FloatArray:
        """Scores of the chosen models, float64 [n]."""
        scores: FloatArray = self.outcomes.scores[np.arange(len(self.chosen)), self.chosen]
        return scores

    def where(self, keep: NDArray[np.bool_]) -> "LoggedOutcomes":
        """The decisions on the prompts of the mask ``keep`` [n]."""
        return LoggedOutcomes(self.outcomes.rows(keep), self.chosen[keep], self.propensities[keep])


def read_logged(path: Path, *, name: str, licence: str) -> LoggedOutcomes:
    """Read a parquet of one row per decision.

    Columns: prompt_id (unique), prompt, model, score in [0, 1], propensity in (0, 1]; those that
    ``read_outcomes`` takes besides (domain, cost_usd, output_tokens) are optional.

    Raises:
        OutcomeError: the file cannot be read, or a row does not fit; the message has file and row.
    """
    columns = Columns(read_table(path), str(path), lambda row: f"{path}: row {row}", BadRows())
    columns.require(("prompt_id", "prompt", "model", "score", "propensity"))
    ids = columns.text("prompt_id").codes
    columns.drop(first_rows(ids) != np.arange(columns.rows), "prompt_id occurs a second time")
    propensities = columns.numbers("propensity", 1.0)
    columns.drop(~(propensities > 0.0), BAD_PROPENSITY, lambda row: f" ({propensities[row]:g})")
    outcomes = read_outcomes(path, name=name, licence=licence)
    return LoggedOutcomes(outcomes, (~np.isnan(outcomes.scores)).argmax(axis=1), propensities)


def draw_log(outcomes: Outcomes, policy: FloatArray, rng: np.random.Generator) -> LoggedOutcomes:
    """Draw the log that ``policy`` [n, m] would have left of fully known ``outcomes``.

    The rows of ``policy`` sum to 1. Output tokens, costs and latencies of models that were not
    chosen are blanked as well.
    """
    cumulative = policy.cumsum(axis=1)
    drawn = (rng.random(len(policy))[:, None] * cumulative[:, -1:] >= cumulative).sum(axis=1)
    chosen = np.minimum(drawn, policy.shape[1] - 1)
    shown = np.zeros(policy.shape, dtype=np.bool_)
    shown[np.arange(len(policy)), chosen] = True
    logged = replace(
        outcomes,
        scores=np.where(shown, outcomes.scores, np.nan),
        output_tokens=np.where(shown, outcomes.output_tokens, np.nan),
        cost_usd=np.where(shown, outcomes.cost_usd, np.nan),
        latency_ms=(
            None if outcomes.latency_ms is None else np.where(shown, outcomes.latency_ms, np.nan)
        ),
    )
    return LoggedOutcomes(logged, chosen, policy[shown])


@dataclass(frozen=True, slots=True)
class LogWeights:
    """Truncated inverse propensities.

    Attributes:
        values: The weights, float64 [n].
        effective_sample_size: Kish's effective sample size of the weights.
        truncated_share: Share of the weights that were truncated.
    """

    values: FloatArray
    effective_sample_size: float
    truncated_share: float

    @classmethod
    def of(
        cls,
        propensities: FloatArray,
        *,
        usual: FloatArray | None = None,
        largest: float | None = None,
        self_normalised: bool = False,
    ) -> "LogWeights":
        """Compute the weights of n decisions.

        Args:
            propensities: Probabilities of the choices, [n].
            usual: Share of the same choice among similar prompts, [n], which stabilises the
                weights: they are usual / propensity, and 1 where the choice was made as on any
                similar prompt (Robins, Hernan and Brumback, 2000); None = 1.
            largest: Weight above which weights are truncated; None = sqrt(n) times the mean.
            self_normalised: Scale to a mean of 1, which cancels the noise in the weights' sum.
        """
        raw = (1.0 if usual is None else usual) / propensities
        limit = float(np.sqrt(len(raw)) * raw.mean()) if largest is None else largest
        values = np.minimum(raw, limit)
        size = effective_sample_size(values)
        truncated = float((raw > limit).mean())
        return cls(values / values.mean() if self_normalised else values, size, truncated)


def doubly_robust_scores(
    log: LoggedOutcomes, direct: FloatArray, weights: FloatArray
) -> FloatArray:
    """Pseudo-outcomes float64 [n, m], outside [0, 1] where weights are large.

    Args:
        log: The logged decisions.
        direct: Scores [n, m] predicted by a model that was not trained on these rows.
        weights: Weights of the decisions, [n].
    """
    scores = direct.copy()
    at = (np.arange(len(log.chosen)), log.chosen)
    scores[at] += weights * (log.scores - direct[at])
    return scores


def weighted_rows(rows: Rows, log: LoggedOutcomes, seed: int) -> Rows:
    """``rows`` of ``log.outcomes`` with inverse-propensity weights, stabilised by topic.

    A predictor knows the topics, so a policy that uses nothing but topics needs no weights, and all
    of its weights are 1. The weights of each model sum to their effective sample size, so that
    ridges and pseudo-counts are balanced against the actual evidence. ``seed`` draws clusters where
    there are no domains.
    """
    topics = assign_topics(log.outcomes, rows.features, seed)
    counts = _cell_sums(topics, log, np.ones(len(log.chosen)))
    usual = (counts / counts.sum(axis=1, keepdims=True))[topics.labels, log.chosen]
    values = LogWeights.of(log.propensities, usual=usual).values
    models = log.outcomes.scores.shape[1]
    first, second = (
        np.bincount(log.chosen, weights=power, minlength=models)
        for power in (values, np.square(values))
    )
    weights = np.zeros(log.outcomes.scores.shape)
    evidence = values * first[log.chosen] / second[log.chosen]
    weights[np.arange(len(log.chosen)), log.chosen] = evidence
    return replace(rows, outcomes=log.outcomes, weights=weights)


def doubly_robust_rows(
    rows: Rows, log: LoggedOutcomes, config: TrainConfig, progress: Progress | None = None
) -> Rows:
    """``rows`` of ``log.outcomes`` with a pseudo-outcome for every prompt and model.

    The direct predictions for the questions of one half of the buckets come from a predictor that
    was trained on the other half with inverse-propensity weights. The weight of a pseudo-outcome
    follows its variance: the mean of a model's pseudo-outcomes over a topic of n prompts has the
    variance of the mean of n^2 / sum of w^2 outcomes.

    Raises:
        OutcomeError: all prompts fall into one bucket, which leaves no other half.
    """
    buckets, order = np.unique(log.outcomes.buckets, return_inverse=True)
    if len(buckets) < CROSS_FITS:
        raise OutcomeError("the logged prompts are too few to be halved; bring more")
    weighted = weighted_rows(rows, log, config.seed)
    direct = np.empty(log.outcomes.scores.shape)
    for half in range(CROSS_FITS):
        held = order % CROSS_FITS == half
        weights = fit_uncalibrated(weighted.where(~held), config, progress)
        direct[held] = predict(weights, rows.where(held).features)[0]
    values = LogWeights.of(log.propensities).values
    topics = assign_topics(log.outcomes, rows.features, config.seed)
    squares = _cell_sums(topics, log, np.square(values))
    prompts = np.bincount(topics.labels)[:, None]
    worth = np.divide(prompts, squares, out=np.zeros(squares.shape), where=squares > 0.0)
    return replace(
        rows,
        outcomes=replace(log.outcomes, scores=doubly_robust_scores(log, direct, values)),
        weights=np.minimum(worth, 1.0)[topics.labels],
    )


def _cell_sums(topics: Topics, log: LoggedOutcomes, values: FloatArray) -> FloatArray:
    """Sums [t, m] of ``values`` [n] over the decisions of each topic and model."""
    sums = np.zeros((len(topics.names), log.outcomes.scores.shape[1]))
    np.add.at(sums, (topics.labels, log.chosen), values)
    return sums


def logged_rows(
    rows: Rows,
    log: LoggedOutcomes,
    method: LogMethod,
    config: TrainConfig,
    progress: Progress | None = None,
) -> Rows:
    """``rows`` with the outcomes of ``log`` as ``method`` weighs them, for ``train.fit``.

    ``rows`` and ``log`` have the same prompts in the same order: those of the training and the
    validation split together, without the test split.
    """
    if method == "inverse_propensity":
        return weighted_rows(rows, log, config.seed)
    if method == "doubly_robust":
        return doubly_robust_rows(rows, log, config, progress)
    return replace(rows, outcomes=log.outcomes)


def _refuse_first(bad: NDArray[np.bool_], reason: str) -> None:
    if bad.any():
        raise OutcomeError(f"the log: row {int(np.argmax(bad))}: {reason}")
