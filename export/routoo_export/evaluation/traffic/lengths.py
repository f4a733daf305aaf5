"""Expected lengths of answers against recorded ones, by kind of task."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from routoo_export.evaluation.bootstrap import FloatArray
from routoo_export.evaluation.traffic.source import JudgedSource
from routoo_export.outcomes.kinds import NO_KIND, TASK_KINDS

FACTOR: Final = 3.0


@dataclass(frozen=True, slots=True)
class LengthError:
    """Expected lengths of answers to prompts of one kind, against recorded ones.

    Attributes:
        answers: Answers with a recorded length.
        within_factor: Share whose length is within a factor of FACTOR of the expected one.
        ratio: Expected over recorded, the geometric mean.
    """

    answers: int
    within_factor: float
    ratio: float


def length_errors(
    sources: Sequence[JudgedSource],
    recognised: Sequence[FloatArray],
    expected: Sequence[FloatArray],
) -> dict[str, LengthError]:
    """The errors by kind of task, those without any recorded length left out.

    Args:
        sources: The sources.
        recognised: Recognised probabilities of the kinds in each source, [n, t].
        expected: Expected tokens in each source as it counts them, [n, m].
    """
    logs, kinds = [], []
    for source, tasks, tokens in zip(sources, recognised, expected, strict=True):
        recorded = source.outcomes.output_tokens
        known = np.isfinite(recorded) & (recorded > 0.0) & np.isfinite(tokens)
        kind = np.where(source.told == NO_KIND, tasks.argmax(axis=1), source.told)
        logs.append(np.log(tokens[known] / recorded[known]))
        kinds.append(np.broadcast_to(kind[:, None], recorded.shape)[known])
    off, of_kind = np.concatenate(logs), np.concatenate(kinds)
    found = {}
    for at, name in enumerate(TASK_KINDS):
        part = off[of_kind == at]
        if len(part):
            near = float((np.abs(part) <= np.log(FACTOR)).mean())
            found[name] = LengthError(len(part), near, float(np.exp(part.mean())))
    return found
