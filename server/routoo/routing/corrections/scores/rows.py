"""The rows of a batch that learned scores change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routoo.routing.corrections.scores.in_force import learned_scores, learned_std

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from routoo.routing.corrections.scores.in_force import LearnedScores
    from routoo.selector.arrays import FloatArray


def learned_rows(
    plain: FloatArray,
    std: FloatArray | None,
    tasks: NDArray[np.int64] | None,
    tenants: Sequence[str],
    learned: LearnedScores,
) -> dict[str, Any]:
    """Returns the attributes of ``Estimates`` that learned scores change, by their names.

    Args:
        plain: float64 [n, m], scores as predicted, rounded to 1e-4.
        std: float64 [n, m], their standard deviations; None: not known.
        tasks: int64 [n], the kinds of task, by their positions in those of ``learned``; None: not
            known.
        tenants: [n], whose prompts they are.
        learned: what is in force, for these m models.
    """
    odds, spread = learned.rows(tasks, tenants)
    return {
        "scores": learned_scores(plain, odds),
        "score_std": None if std is None else learned_std(std, plain, odds, spread),
        "plain_scores": plain,
        "plain_std": std,
        "score_odds": odds,
        "learned": learned,
    }
