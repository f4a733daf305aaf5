"""``routoo-export evaluate --own``: what training on own outcomes brings.

By number of labels, and in five folds of every source, whether it is below the best single model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routoo.errors import RoutooError
from routoo.predictor.artifact import Artifact, find_artifact, load_artifact
from routoo_export.cli.common import progress_bar
from routoo_export.errors import ExportError
from routoo_export.evaluation.bootstrap import Estimate
from routoo_export.evaluation.own.numbers import (
    DRAWS,
    LABELS,
    MIX,
    LabelFigures,
    label_curve,
    read_mix,
)
from routoo_export.evaluation.own.regret import Regret, checked_sources, regret_of
from routoo_export.progress import Advance


@dataclass(frozen=True, slots=True)
class OwnQuestion:
    """What is to be judged.

    Attributes:
        data: The data folder.
        artifact: Version folder; None = the shipped predictor.
        sources: Sources; none = by number of labels the sources of the mix and their mix, in five
            folds all that have prompts.
        labels: Numbers of prompts to draw; none = LABELS.
        draws: Random draws of each number; 0 = no figures by number of labels.
        five_folds: Whether to judge by five folds.
    """

    data: Path
    artifact: Path | None = None
    sources: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()
    draws: int = DRAWS
    five_folds: bool = True


def own_numbers(question: OwnQuestion) -> dict[str, Any]:
    """Figures by source, or a mix of sources, by number of labels; and by source in five folds.

    Raises:
        ExportError: the artifact cannot be read.
        OutcomeError: a source is not known, cannot be read, or cannot be trained on.
    """
    sources = checked_sources(question.sources)
    try:
        base = load_artifact(find_artifact(question.artifact))
    except RoutooError as error:
        raise ExportError(str(error)) from error
    labels = question.labels or LABELS
    curves = _curves(question)
    folds = sources if question.five_folds else ()
    found: dict[str, Any] = {}
    work = len(curves) * len(labels) * question.draws + len(folds)
    with progress_bar("judging", work) as advance:
        if curves:
            found["labels"] = {
                name: _curve(question, base, parts, labels, advance)
                for name, parts in curves.items()
            }
        if folds:
            found["five_folds"] = rows = {}
            for name in folds:
                rows[name] = _row(regret_of(question.data, name, base))
                advance(1)
    return found


def _curves(question: OwnQuestion) -> dict[str, tuple[str, ...]]:
    """The sources of each curve, by its name."""
    if not question.draws:
        return {}
    alone: dict[str, tuple[str, ...]] = {name: (name,) for name in question.sources or MIX}
    return alone if question.sources else {**alone, "mix": MIX}


def _curve(
    question: OwnQuestion,
    base: Artifact,
    sources: Sequence[str],
    labels: Sequence[int],
    advance: Advance,
) -> dict[str, Any]:
    own = read_mix(question.data, sources, base)
    curve = label_curve(own, labels, question.draws, advance)
    return {
        str(count): {method: _labelled(figures) for method, figures in methods.items()}
        for count, methods in curve.items()
    }


def _labelled(figures: LabelFigures) -> dict[str, Any]:
    return {
        "auc": _plain(figures.auc),
        "points": _plain(figures.points),
        "gain": _plain(figures.gain),
    }


def _row(found: Regret) -> dict[str, Any]:
    bars = {
        "over_known_single": found.over_known,
        "over_hindsight_single": found.over_hindsight,
    }
    return {
        "prompts": found.prompts,
        "models": found.models,
        "regrets": found.regrets,
        "regrets_in_hindsight": found.regrets_in_hindsight,
        **{
            bar: {
                method: {name: _plain(estimate) for name, estimate in figures.items()}
                for method, figures in methods.items()
            }
            for bar, methods in bars.items()
        },
    }


def _plain(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "se": estimate.se}
