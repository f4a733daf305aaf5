"""Cross-validation folds: the rows held out, trained on and calibrated on, disjoint by question."""

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo_export.outcomes.outcomes import Outcomes
from routoo_export.outcomes.splits import (
    BUCKETS,
    FOLDS,
    VALIDATION_BUCKETS,
    in_buckets,
    question_stem,
)

DOMAIN_GROUPS: Final = 5

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Holdout:
    """One fold, as masks [n] over the outcomes.

    Attributes:
        held: Rows that are predicted.
        train: Rows that are trained on.
        validation: Rows that are calibrated on.
    """

    held: Mask
    train: Mask
    validation: Mask


def stem_folds(outcomes: Outcomes) -> list[Holdout]:
    """Folds by question: fold k holds out the buckets k mod 5, and one more bucket calibrates."""
    folds = []
    for fold in range(FOLDS):
        held = outcomes.buckets % FOLDS == fold
        validation = in_buckets(outcomes.buckets, ((fold + 1) % BUCKETS,))
        folds.append(Holdout(held, ~held & ~validation, validation))
    return folds


def domain_folds(outcomes: Outcomes, source: str) -> list[Holdout]:
    """Five folds, each of which holds out a group of the domains of ``source``.

    The questions of held-out prompts are left out of training in the other sources too. Domains are
    dealt to the groups in the order of the sha1 of their names.
    """
    of_source = np.array([name == source for name in outcomes.source_names])
    domains = {d for d, own in zip(outcomes.domains, of_source, strict=True) if own and d}
    dealt = sorted(domains, key=lambda d: hashlib.sha1(d.encode(), usedforsecurity=False).digest())
    group_of = {domain: i % DOMAIN_GROUPS for i, domain in enumerate(dealt)}
    groups = np.array([group_of.get(domain or "", -1) for domain in outcomes.domains])
    stems = [question_stem(prompt) for prompt in outcomes.prompts]
    calibrating = in_buckets(outcomes.buckets, VALIDATION_BUCKETS)
    folds = []
    for group in range(DOMAIN_GROUPS):
        held = of_source & (groups == group)
        asked = {stem for stem, out in zip(stems, held, strict=True) if out}
        rest = np.array([stem not in asked for stem in stems])
        folds.append(Holdout(held, rest & ~calibrating, rest & calibrating))
    return folds
