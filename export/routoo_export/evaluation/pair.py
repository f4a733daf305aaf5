"""RouteLLM's figures of a weak and a strong model, on held-out prompts and held-out domains."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from routoo_export.evaluation.baselines import folded_domain_prior, nearest_neighbours
from routoo_export.evaluation.bootstrap import FloatArray, Resamples
from routoo_export.evaluation.cross_validation import CrossPrediction, cross_predict
from routoo_export.evaluation.pool import Expected, Mask
from routoo_export.evaluation.protocol import Pair
from routoo_export.evaluation.summary import (
    Figures,
    pair_differences,
    pair_figures,
    score_figures,
    shrinking_figures,
    unusual_figures,
)
from routoo_export.outcomes.folds import Holdout, domain_folds, stem_folds
from routoo_export.outcomes.splits import FOLDS, TEST_BUCKETS, in_buckets
from routoo_export.training.heads.rows import Rows
from routoo_export.training.heads.train import Progress, TrainConfig
from routoo_export.training.pipeline import FoldRows


@dataclass(frozen=True, slots=True)
class PairJudge:
    """The prompts on which a weak and a strong model are compared.

    Attributes:
        rows: All n prompts.
        pair: The two models and their source.
        columns: Columns of the weak and of the strong model.
        keep: Mask [n] of the prompts that are compared.
        resamples: Resamples of all prompts.
    """

    rows: Rows
    pair: Pair
    columns: tuple[int, int]
    keep: Mask
    resamples: Resamples

    @classmethod
    def of(cls, rows: Rows, pair: Pair, seed: int) -> "PairJudge":
        """Compare on the prompts of the pair's source for which both outcomes are known."""
        models = rows.outcomes.models
        columns = (models.index(pair.weak), models.index(pair.strong))
        of_source = np.array([name == pair.source for name in rows.outcomes.source_names])
        keep: Mask = of_source & ~np.isnan(rows.outcomes.scores[:, columns]).any(axis=1)
        return cls(rows, pair, columns, keep, Resamples.draw(len(keep), seed))

    def figures(self, keep: Mask, scores: FloatArray) -> Figures:
        """Figures of the pair and of each model, from predicted ``scores`` [n, m] on ``keep``."""
        truth = self.rows.outcomes.scores[keep][:, self.columns]
        judged, resamples = scores[keep][:, self.columns], self.resamples.of(keep)
        return {
            "prompts": int(keep.sum()),
            **pair_figures(truth, judged, resamples),
            **{
                model: score_figures(truth[:, k], judged[:, k], resamples)
                for k, model in enumerate((self.pair.weak, self.pair.strong))
            },
        }

    def against(self, keep: Mask, ours: FloatArray, other: FloatArray) -> Figures:
        """Figures of the scores ``other``, and those of ``ours`` minus them."""
        truth = self.rows.outcomes.scores[keep][:, self.columns]
        one, two = ours[keep][:, self.columns], other[keep][:, self.columns]
        resamples = self.resamples.of(keep)
        return {
            **pair_figures(truth, two, resamples),
            "predictor_minus_this": pair_differences(truth, one, two, resamples),
        }


@dataclass(frozen=True, slots=True)
class PairJudgement:
    """The figures of a weak and a strong model.

    Attributes:
        figures: Nested figures by name.
        folds: The folds by question.
        folded: Predictions in ``folds`` for the prompts of all sources; None = no folds.
    """

    figures: Figures
    folds: Sequence[Holdout] = ()
    folded: CrossPrediction | None = None


def judge_pair(
    judge: PairJudge,
    expected: Expected,
    rows_of: FoldRows,
    config: TrainConfig,
    folds: int,
    progress: Progress | None,
) -> PairJudgement:
    """Judge the checkpoint on the test split, and its training over the first ``folds`` of five."""
    outcomes, pair = judge.rows.outcomes, judge.pair
    test = judge.keep & in_buckets(outcomes.buckets, TEST_BUCKETS)
    figures: Figures = {
        "source": pair.source,
        "weak": pair.weak,
        "strong": pair.strong,
        "prompts": outcomes.source_names.count(pair.source),
        "folds": min(folds, FOLDS),
        "test_split": judge.figures(test, expected.scores),
    }
    by_stem = stem_folds(outcomes)[:folds]
    if not by_stem:
        return PairJudgement(figures)
    folded = cross_predict(by_stem, rows_of, config, progress)
    seen = judge.keep & ~np.isnan(folded.ood)
    figures["five_folds"] = judge.figures(seen, folded.scores)
    figures["baselines"] = _baselines(judge, by_stem, seen, folded)
    by_domain = [fold for fold in domain_folds(outcomes, pair.source) if fold.held.any()]
    # With a single domain, leaving it out would leave no prompt of the source to train on.
    if len(by_domain) > 1:
        apart = cross_predict(by_domain[:folds], rows_of, config, progress)
        unseen = judge.keep & ~np.isnan(apart.ood)
        figures["domains_left_out"] = judge.figures(unseen, apart.scores)
        figures["knowing_what_it_does_not_know"] = _unusual(judge, folded, apart)
    return PairJudgement(figures, by_stem, folded)


def _baselines(
    judge: PairJudge, folds: list[Holdout], keep: Mask, folded: CrossPrediction
) -> Figures:
    outcomes, rows = judge.rows.outcomes, judge.rows
    near = np.full(outcomes.scores.shape, np.nan)
    for fold in folds:
        held, train = fold.held & judge.keep, ~fold.held & judge.keep
        features = rows.features.numpy()
        near[held] = nearest_neighbours(outcomes, features, rows.groups, train, held).scores[held]
    priors = folded_domain_prior(outcomes, judge.keep, folds).scores
    return {
        "domain_prior": judge.against(keep, folded.scores, priors),
        "nearest_neighbours": judge.against(keep, folded.scores, near),
        "oracle": judge.against(keep, folded.scores, outcomes.scores),
        "random_apgr": 0.5,
    }


def _unusual(judge: PairJudge, folded: CrossPrediction, apart: CrossPrediction) -> Figures:
    """Figures of the same prompts with their domain in the training and without it."""
    both = judge.keep & ~np.isnan(folded.ood) & ~np.isnan(apart.ood)
    truth = judge.rows.outcomes.scores[both][:, judge.columns]
    resamples = judge.resamples.of(both)

    def shrinking(one: CrossPrediction) -> Figures:
        with_it, without = (s[both][:, judge.columns] for s in (one.scores, one.unshrunk))
        return shrinking_figures(truth, with_it, without, resamples)

    return {
        **unusual_figures(folded.ood[both], apart.ood[both], resamples),
        "shrinking_in_domain": shrinking(folded),
        "shrinking_domains_left_out": shrinking(apart),
    }
