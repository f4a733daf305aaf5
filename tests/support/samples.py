"""Calibration samples with figures that the tests choose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from routoo.calibration.sample import PromptSample

if TYPE_CHECKING:
    from routoo.selector.arrays import FloatArray


def sample_of(
    scores: FloatArray,
    costs_usd: FloatArray,
    *,
    true_scores: FloatArray | None = None,
    signals: dict[str, FloatArray] | None = None,
) -> PromptSample:
    """Makes a sample without constraints; figures and signals are float64 [n, m]."""
    unknown = np.full(scores.shape, np.nan)
    return PromptSample(
        file="prompts.jsonl",
        sha256="0" * 64,
        line_numbers=list(range(1, len(scores) + 1)),
        scores=scores,
        costs_usd=costs_usd,
        mask=np.ones(scores.shape, np.bool_),
        true_scores=unknown if true_scores is None else true_scores,
        true_costs_usd=unknown,
        signals=signals or {},
    )
