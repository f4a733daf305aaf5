"""Checks of outcomes: counts of what they hold, and whether a predictor can be trained on them."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from routoo_export.errors import OutcomeError
from routoo_export.outcomes.long import LONG_COLUMNS
from routoo_export.outcomes.outcomes import Outcomes
from routoo_export.outcomes.splits import (
    TEST_BUCKETS,
    TRAIN_BUCKETS,
    VALIDATION_BUCKETS,
    in_buckets,
    question_stem,
)
from routoo_export.outcomes.wide import FIGURES, WIDE_COLUMNS

FEWEST_MODELS: Final = 2
FEWEST_TRAIN_PROMPTS: Final = 20
FEWEST_VALIDATION_PROMPTS: Final = 5
_ENOUGH_PROMPTS: Final = 100
"""With this many prompts, a split falls below the two limits above once in thousands of cases."""


def require_trainable(outcomes: Outcomes) -> None:
    """Refuse outcomes on which training or calibration would be meaningless.

    Raises:
        OutcomeError: fewer than two models, too few prompts on a side of the split, or a model
            without any outcome to train on; the message says how many are needed.
    """
    if len(outcomes.models) < FEWEST_MODELS:
        named = ", ".join(outcomes.models)
        raise OutcomeError(
            f"the outcomes are of one model only ({named}); training needs at least"
            f" {FEWEST_MODELS}: add a file with another model's outcomes"
        )
    sizes = split_sizes(outcomes)
    if sizes["train"] < FEWEST_TRAIN_PROMPTS or sizes["validation"] < FEWEST_VALIDATION_PROMPTS:
        raise OutcomeError(
            f"too few prompts: of {len(outcomes.prompts)}, {sizes['train']} train and"
            f" {sizes['validation']} validate; training needs at least {FEWEST_TRAIN_PROMPTS} and"
            f" {FEWEST_VALIDATION_PROMPTS}, so bring about {_ENOUGH_PROMPTS} or more"
        )
    train = in_buckets(outcomes.buckets, TRAIN_BUCKETS)
    untrained = np.isnan(outcomes.scores[train]).all(axis=0)
    if untrained.any():
        raise OutcomeError(
            f"model {outcomes.models[int(np.argmax(untrained))]!r} has no outcome on a training"
            " prompt; bring some, or leave the model out"
        )


def split_sizes(outcomes: Outcomes) -> dict[str, int]:
    """Count the prompts on each side of the split."""
    sides = {"train": TRAIN_BUCKETS, "validation": VALIDATION_BUCKETS, "test": TEST_BUCKETS}
    return {
        side: int(in_buckets(outcomes.buckets, buckets).sum()) for side, buckets in sides.items()
    }


def ignored_columns(names: Sequence[str], models: Sequence[str]) -> dict[str, int]:
    """Count the columns of a file that are not read; a ``split`` column of the file is one of them.

    Columns with one figure per model count together under their prefix, for example "raw:".
    """
    wide = {f"{prefix}{model}" for prefix in FIGURES for model in models}
    read = set(LONG_COLUMNS) if "model" in names else wide | set(WIDE_COLUMNS)
    figures = ("".join(name.partition(":")[:2]) for name in names if name not in read)
    return dict(Counter(figures))


def describe(outcomes: Outcomes) -> dict[str, Any]:
    """Count what the outcomes hold, what is missing, and what repeats.

    The count repeated_questions is of prompts whose question stem another prompt has too (they are
    on the same side of the split). The count contradicting_prompts is of prompts with the same text
    as another prompt and a different score of the same model; both are kept, as two samples.
    """
    known = ~np.isnan(outcomes.scores)
    cells = int(known.sum())
    stems = Counter(question_stem(prompt) for prompt in outcomes.prompts)
    return {
        "prompts": len(outcomes.prompts),
        "models": len(outcomes.models),
        "cells": cells,
        "coverage": cells / known.size,
        "least_covered": _least_covered(outcomes, known.sum(axis=0)),
        "prompts_without_outcome": int((~known.any(axis=1)).sum()),
        "domains": len({domain for domain in outcomes.domains if domain is not None}),
        "costs": "+".join(sorted({source.costs for source in outcomes.sources})),
        "repeated_questions": sum(count for count in stems.values() if count > 1),
        "contradicting_prompts": _contradicting(outcomes),
        "split": split_sizes(outcomes),
    }


def _least_covered(outcomes: Outcomes, counts: NDArray[np.int64], most: int = 3) -> dict[str, int]:
    """The models with the fewest outcomes, if outcomes of them are missing."""
    fewest = np.argsort(counts, kind="stable")[:most]
    return {outcomes.models[j]: int(counts[j]) for j in fewest if counts[j] < len(outcomes.prompts)}


def _contradicting(outcomes: Outcomes) -> int:
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, prompt in enumerate(outcomes.prompts):
        rows[prompt].append(row)
    found = 0
    for same_text in rows.values():
        if len(same_text) > 1:
            scores = outcomes.scores[same_text]
            seen = scores[:, (~np.isnan(scores)).any(axis=0)]
            differs = np.nanmax(seen, axis=0) > np.nanmin(seen, axis=0)
            found += len(same_text) if differs.any() else 0
    return found
