"""The figures that training on own outcomes is judged by: a mix of sources, few labels, told tasks.

``label_curve`` draws so many prompts from one source, or from several that are made into one, fits
to them, and judges on the others whose question was not drawn. The artifact's own scores are left
out as a prior, because its catalogue has seen some of the sources.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo.predictor.artifact import Artifact
from routoo_export.evaluation.bootstrap import Estimate
from routoo_export.evaluation.metrics import weighted_auc
from routoo_export.evaluation.own.judge import RECOGNISED, THIS, predict_held_out
from routoo_export.outcomes.outcomes import merge_outcomes
from routoo_export.outcomes.sources import read_source, split_together
from routoo_export.outcomes.splits import questions
from routoo_export.progress import Advance, nothing
from routoo_export.training.own.train import OwnPrompts

FloatArray = NDArray[np.float64]

MIX: Final = ("routerdc", "lookahead_mix", "kor_bench", "reasoning_gym_hard", "bfcl_v1")
LABELS: Final = (150, 500, 1500)
DRAWS: Final = 6
_MOST_SHARE: Final = 0.8


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """Figures of one method at one number of labels; errors are over the draws.

    Attributes:
        auc: Mean AUC of the models over all prompts.
        points: Mean score of the choice less that of the source's best single model among the
            prompts that were drawn, in points (1/100).
        gain: ``points`` less those of the plain recipe of the same draw.
    """

    auc: Estimate
    points: Estimate
    gain: Estimate


def read_mix(data: Path, names: Sequence[str], artifact: Artifact) -> OwnPrompts:
    """Read sources as one set of outcomes, each with its own models.

    Raises:
        OutcomeError: a file is missing or does not fit.
    """
    parts = split_together([read_source(data, name) for name in names])
    return OwnPrompts.read(merge_outcomes([part.outcomes for part in parts]), artifact)


def label_curve(
    own: OwnPrompts,
    labels: Sequence[int] = LABELS,
    draws: int = DRAWS,
    advance: Advance = nothing,
) -> dict[int, dict[str, LabelFigures]]:
    """Judge the trained rows and the plain recipe at each number of labels.

    Args:
        own: Prompts and outcomes.
        labels: Numbers of prompts to draw; at most four fifths of all.
        draws: Random draws of each.
        advance: Called after each draw.
    """
    n = len(own.outcomes.prompts)
    asked_of = questions(own.outcomes.prompts, own.outcomes.duplicate_groups)[0]
    found = {}
    for count in labels:
        seen: dict[str, list[tuple[float, float]]] = {THIS: [], RECOGNISED: []}
        for draw in range(draws):
            random = np.random.default_rng(draw)
            train = np.sort(random.permutation(n)[: min(count, int(_MOST_SHARE * n))])
            asked = np.flatnonzero(~np.isin(asked_of, asked_of[train]))
            part, rest = _asked_models(own.rows(train), own.rows(asked))
            held = predict_held_out(part, rest, prior=False)
            for method, figures in seen.items():
                figures.append(_figures(part, rest, held.scores[method]))
            advance(1)
        plain = np.array(seen[RECOGNISED])
        found[count] = {
            method: LabelFigures(
                _over_draws(np.array(figures)[:, 0]),
                _over_draws(np.array(figures)[:, 1]),
                _over_draws(np.array(figures)[:, 1] - plain[:, 1]),
            )
            for method, figures in seen.items()
        }
    return found


def _asked_models(train: OwnPrompts, rest: OwnPrompts) -> tuple[OwnPrompts, OwnPrompts]:
    """Both without the models of which no score was drawn."""
    known = np.asarray((~np.isnan(train.outcomes.scores)).any(axis=0), np.bool_)
    return train.models(known), rest.models(known)


def _figures(train: OwnPrompts, rest: OwnPrompts, predicted: FloatArray) -> tuple[float, float]:
    scores = rest.outcomes.scores
    ones = np.ones((1, len(scores)), np.float32)
    areas = []
    for column in range(scores.shape[1]):
        known = ~np.isnan(scores[:, column])
        truth, said = scores[known, column], predicted[known, column]
        areas.append(float(weighted_auc(truth, said, ones[:, known])[0]))
    gaps = []
    names = np.array(rest.outcomes.source_names)
    drawn = np.array(train.outcomes.source_names)
    for name in np.unique(drawn).tolist():
        of_source, of_drawn = names == name, train.outcomes.scores[drawn == name]
        count = (~np.isnan(of_drawn)).sum(axis=0)
        means = np.where(np.isnan(of_drawn), 0.0, of_drawn).sum(axis=0) / np.maximum(count, 1)
        best = int(np.where(count > 0, means, -np.inf).argmax())
        real, said = scores[of_source], predicted[of_source]
        known = ~np.isnan(real)
        rows = np.flatnonzero(known[:, best])
        choice = np.where(known, said, -np.inf)[rows].argmax(axis=1)
        gaps.append(real[rows, choice] - real[rows, best])
    return float(np.nanmean(areas)), 100.0 * float(np.concatenate(gaps).mean())


def _over_draws(values: FloatArray) -> Estimate:
    error = float(values.std(ddof=1)) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    mean = float(values.mean())
    return Estimate(mean, error, float(values.min()), float(values.max()))
