"""Overlaps of sources: questions that occur in two of them, or twice in one."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from routoo_export.outcomes.outcomes import Outcomes
from routoo_export.outcomes.splits import (
    TRAIN_BUCKETS,
    VALIDATION_BUCKETS,
    in_buckets,
    split_stems,
)

_TRAIN, _VALIDATION, _TEST = range(3)


@dataclass(frozen=True, slots=True)
class SharedQuestions:
    """The question stems that two sources share.

    Attributes:
        sources: Names of the two.
        shared: Stems in both; the sum of the four counts below.
        train: Those that train in both.
        validation: Those that validate in both.
        test: Those that test in both.
        apart: Those that stand on different sides of the two splits, so that one source would
            train on a question that the other tests.
    """

    sources: tuple[str, str]
    shared: int
    train: int
    validation: int
    test: int
    apart: int


@dataclass(frozen=True, slots=True)
class RepeatedQuestions:
    """The question stems of one source.

    Attributes:
        source: Its name.
        prompts: Its prompts.
        stems: Its distinct question stems.
        repeated: Prompts whose stem another prompt of the source has too.
    """

    source: str
    prompts: int
    stems: int
    repeated: int


@dataclass(frozen=True, slots=True)
class _Stems:
    """The distinct stems of one source.

    Attributes:
        codes: Code of each stem, rising, int64 [k]; a stem has one code in all sources.
        sides: Side of the split of each stem's first prompt, int64 [k].
        counts: Prompts with each stem, int64 [k].
    """

    codes: NDArray[np.int64]
    sides: NDArray[np.int64]
    counts: NDArray[np.int64]


def find_overlaps(
    parts: Sequence[Outcomes],
) -> tuple[tuple[SharedQuestions, ...], tuple[RepeatedQuestions, ...]]:
    """Compare the question stems of sources, and of each source with itself.

    Args:
        parts: The outcomes of one source each, with the split that is to be judged.

    Returns:
        The pairs that share a stem, in the order of ``parts``; and the counts of each source.
    """
    if not parts:
        return (), ()
    names = [part.source_names[0] for part in parts]
    stems = _stems(parts)
    pairs = (
        _compare((names[i], names[j]), stems[i], stems[j])
        for i, j in combinations(range(len(parts)), 2)
    )
    repeats = tuple(
        RepeatedQuestions(
            source=name,
            prompts=int(of_part.counts.sum()),
            stems=len(of_part.codes),
            repeated=int(of_part.counts[of_part.counts > 1].sum()),
        )
        for name, of_part in zip(names, stems, strict=True)
    )
    return tuple(pair for pair in pairs if pair.shared), repeats


def _compare(sources: tuple[str, str], one: _Stems, other: _Stems) -> SharedQuestions:
    common, i, j = np.intersect1d(one.codes, other.codes, assume_unique=True, return_indices=True)
    a, b = one.sides[i], other.sides[j]
    train, validation, test = (
        int(((a == side) & (b == side)).sum()) for side in (_TRAIN, _VALIDATION, _TEST)
    )
    return SharedQuestions(sources, len(common), train, validation, test, int((a != b).sum()))


def _stems(parts: Sequence[Outcomes]) -> list[_Stems]:
    texts = [split_stems(part.prompts, part.duplicate_groups) for part in parts]
    # Numpy would pad all texts to the longest one, which takes gigabytes.
    every = pa.array([text for of_part in texts for text in of_part], pa.large_string())
    codes = every.dictionary_encode().indices.to_numpy()
    ends = np.cumsum([len(of_part) for of_part in texts])
    found = []
    for part, of_part in zip(parts, np.split(codes.astype(np.int64), ends[:-1]), strict=True):
        distinct, first, counts = np.unique(of_part, return_index=True, return_counts=True)
        sides = np.select(
            [in_buckets(part.buckets, TRAIN_BUCKETS), in_buckets(part.buckets, VALIDATION_BUCKETS)],
            [_TRAIN, _VALIDATION],
            _TEST,
        )
        found.append(_Stems(distinct, sides.astype(np.int64)[first], counts.astype(np.int64)))
    return found
