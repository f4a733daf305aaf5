"""One source to judge a shipped predictor on: prompts that it has not read, and a pool."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo_export.errors import OutcomeError
from routoo_export.evaluation.bootstrap import FloatArray
from routoo_export.evaluation.traffic.seen import SeenTexts
from routoo_export.outcomes.kinds import NO_KIND, TASK_KINDS
from routoo_export.outcomes.outcomes import Outcomes
from routoo_export.outcomes.sources import read_source

MOST_PROMPTS: Final = 2000
FEWEST_PROMPTS: Final = 20
FEWEST_MODELS: Final = 2
COVERAGE: Final = 0.9
"""Share of the prompts that a model of the pool has to have been asked."""


@dataclass(frozen=True, slots=True)
class JudgedSource:
    """The prompts of one source with the outcomes of a pool that answered all of them.

    Attributes:
        name: Name of the source.
        outcomes: Outcomes of n prompts and m models, without missing scores.
        told: Place of each prompt's kind of task in TASK_KINDS, NO_KIND = not known, int64 [n].
        counts_visible: Whether recorded lengths are those of what was seen, without reasoning.
    """

    name: str
    outcomes: Outcomes
    told: NDArray[np.int64]
    counts_visible: bool

    @property
    def has_costs(self) -> bool:
        """Whether every call's cost is known."""
        return not bool(np.isnan(self.outcomes.cost_usd).any())

    def told_shares(self, recognised: FloatArray) -> FloatArray:
        """Probabilities [n, t]: 1 for the kind that is told, else those that were recognised."""
        shares = recognised.copy()
        known = self.told != NO_KIND
        shares[known] = np.eye(len(TASK_KINDS))[self.told[known]]
        return shares


def read_judged(
    data: Path, name: str, models: Collection[str], seen: SeenTexts, seed: int = 0
) -> JudgedSource:
    """Read a source: a draw of at most MOST_PROMPTS prompts that no recogniser was trained on.

    Args:
        data: The data folder.
        name: Name of the source.
        models: Models that the predictor knows without this source; others are left out.
        seen: Texts that the recogniser was trained on, which are left out.
        seed: Of the draw.

    Raises:
        OutcomeError: the source cannot be read, or too little of it is left.
    """
    read = read_source(data, name)
    outcomes = read.outcomes
    fresh = np.array([prompt not in seen for prompt in outcomes.prompts])
    asked = ~np.isnan(outcomes.scores)
    known = np.array([model in models for model in outcomes.models], dtype=np.bool_)
    if fresh.any():
        known &= asked[fresh].mean(axis=0) >= COVERAGE
    whole = np.flatnonzero(fresh & asked[:, known].all(axis=1))
    if known.sum() < FEWEST_MODELS or len(whole) < FEWEST_PROMPTS:
        raise OutcomeError(
            f"{name}: {len(whole)} prompts of {int(known.sum())} models that the predictor knows"
            " are left to judge on; take it out of the mix"
        )
    rows = np.sort(np.random.default_rng(seed).permutation(whole)[:MOST_PROMPTS])
    kept = replace(
        outcomes.rows(rows),
        models=tuple(np.array(outcomes.models)[known].tolist()),
        scores=outcomes.scores[rows][:, known],
        output_tokens=outcomes.output_tokens[rows][:, known],
        cost_usd=outcomes.cost_usd[rows][:, known],
        input_tokens=None,
        latency_ms=None,
    )
    return JudgedSource(name, kept, read.kinds[rows], read.source.lengths == "resp_chars")
