"""The tests of a source of outcomes: mean scores and lengths on its prompts of each kind."""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo_export.catalogue.scores import MeanLengths, MeanScores
from routoo_export.outcomes.kinds import NO_KIND, TASK_KINDS
from routoo_export.outcomes.outcomes import Outcomes
from routoo_export.outcomes.sources import SourceOutcomes, read_source

# Domains of exams that measure more than that one can sit exams.
_EXAM_DOMAINS: Final = {
    "mmlu_pro": {
        "biology": "science_exam",
        "chemistry": "science_exam",
        "physics": "science_exam",
        "engineering": "science_exam",
        "math": "math_hard",
        "law": "medical_legal_finance",
        "health": "medical_legal_finance",
        "business": "medical_legal_finance",
        "economics": "medical_legal_finance",
    }
}
# The kinds of prompts of sources that hold all kinds of users' questions.
_MIXED: Final[dict[str, dict[str, float]]] = {
    "lookahead_arena_hard": {
        "code_generate": 0.4,
        "code_fix_debug": 0.2,
        "explanation": 0.2,
        "advice": 0.2,
    },
}
_GENERAL_MIX: Final[dict[str, float]] = {
    "explanation": 0.25,
    "advice": 0.25,
    "factual_qa": 0.15,
    "brainstorm_creative": 0.15,
    "long_writing": 0.1,
    "rewrite_edit": 0.1,
}
# ExpectedLengths counted in visible characters; the other kind holds hidden reasoning.
_VISIBLE: Final = "resp_chars"
_FEWEST_PROMPTS: Final = 5
_FEWEST_MODELS: Final = 2


def outcome_tests(data: Path, name: str) -> tuple[list[MeanScores], list[MeanLengths]]:
    """Turn a source of the registry into tests, one per kind of task, and their visible lengths.

    Args:
        data: The data folder.
        name: Name of the source.

    Raises:
        OutcomeError: the source cannot be read.
    """
    read = read_source(data, name)
    kinds = finer_kinds(read)
    tests, lengths = [], []
    for kind in np.unique(kinds):
        picked = kinds == kind
        if kind == NO_KIND:
            if (kinds != NO_KIND).any():
                continue
            label, weights = "mixed", _MIXED.get(name, _GENERAL_MIX)
        else:
            label = TASK_KINDS[kind]
            weights = {label: 1.0}
        scores = read.outcomes.scores[picked]
        prompts = np.isfinite(scores).sum(axis=0)
        enough = prompts >= _FEWEST_PROMPTS
        if enough.sum() < _FEWEST_MODELS:
            continue
        tests.append(
            MeanScores(
                name=f"{name}.{label}",
                weights=weights,
                source=name,
                family=name,
                ships=read.source.ships,
                models=tuple(np.array(read.outcomes.models)[enough].tolist()),
                mean=np.nanmean(scores[:, enough], axis=0),
                prompts=prompts[enough],
                item_variance=item_variances(scores[:, enough]),
                graded=True,
            )
        )
        if read.source.lengths == _VISIBLE and kind != NO_KIND:
            lengths.append(_lengths(tests[-1].name, label, read.outcomes, picked))
    return tests, [one for one in lengths if one.models]


def _lengths(name: str, task: str, outcomes: Outcomes, picked: NDArray[np.bool_]) -> MeanLengths:
    tokens = outcomes.output_tokens[picked]
    enough = np.isfinite(tokens).sum(axis=0) >= _FEWEST_PROMPTS
    return MeanLengths(
        name=name,
        task=task,
        models=tuple(np.array(outcomes.models)[enough].tolist()),
        log_tokens=np.nanmean(np.log(tokens[:, enough]), axis=0),
    )


def finer_kinds(read: SourceOutcomes) -> NDArray[np.int64]:
    """The kinds of a source's prompts, those of exams by their subjects, int64 [n]."""
    subjects = _EXAM_DOMAINS.get(read.source.name, {})
    codes = [
        TASK_KINDS.index(subjects[one]) if one in subjects else NO_KIND
        for one in map(str, read.outcomes.domains)
    ]
    finer = np.array(codes, dtype=np.int64)
    return np.where(finer == NO_KIND, read.kinds, finer)


def item_variances(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The variance of each model's scores about the additive effects of prompt and model.

    Prompts are common to the models, so their difficulty does not blur a comparison.

    Args:
        scores: Scores in [0, 1], NaN where missing, float64 [n, m], m at least 2.

    Returns:
        Variances with n - 1 degrees of freedom, float64 [m].
    """
    centred = scores - np.nanmean(scores, axis=0)
    seen = np.isfinite(centred)
    count = np.maximum(seen.sum(axis=1, keepdims=True), 1)
    centred = centred - np.nansum(centred, axis=1, keepdims=True) / count
    # The prompt's mean holds 1/count of each model's own deviation.
    scale = count / np.maximum(count - 1, 1)
    squares = np.where(seen, centred**2 * scale, 0.0).sum(axis=0)
    variances: NDArray[np.float64] = squares / np.maximum(seen.sum(axis=0) - 1, 1)
    return variances
