"""The judgement of a predictor that ships, on all sources of a mix of traffic.

Each source is judged by a table of models that was estimated without it, on prompts that the
recogniser has not read. What a single call costs is known to nobody beforehand; which model is the
best single one is known to the figures alone, so none of the methods is flattered.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from routoo.predictor.artifact import Artifact
from routoo_export.catalogue.build import score_means
from routoo_export.catalogue.estimator import FittedHierarchy, estimate
from routoo_export.catalogue.evaluate import FEWEST_OTHERS, without_source
from routoo_export.catalogue.measurements import Measurements, gather, read_evidence
from routoo_export.evaluation.bootstrap import Estimate, FloatArray, Resamples
from routoo_export.evaluation.traffic.figures import (
    FIGURES,
    MethodFigures,
    arena_figure,
    choice_points,
    curve_figures,
    pair_figures,
    single_arena,
)
from routoo_export.evaluation.traffic.lengths import LengthError, length_errors
from routoo_export.evaluation.traffic.methods import (
    METHODS,
    ORACLE,
    RANDOM,
    SINGLE,
    TableRows,
    decided,
    predictions,
    single_models,
    truth_of,
)
from routoo_export.evaluation.traffic.mix import TrafficMix
from routoo_export.evaluation.traffic.seen import SeenTexts
from routoo_export.evaluation.traffic.source import JudgedSource, read_judged
from routoo_export.progress import Advance
from routoo_export.training.own.prompt_reader import PromptReader, SeenPrompts

RESAMPLES: Final = 200


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """The figures of one source.

    Attributes:
        prompts: Prompts that are judged on.
        models: Models of the pool.
        best_single: Its best single model.
        costs: Whether the source has costs; without them the figures that need any are None.
        methods: Figures by method, in the order of METHODS.
    """

    prompts: int
    models: int
    best_single: str
    costs: bool
    methods: dict[str, MethodFigures]


@dataclass(frozen=True, slots=True)
class TrafficFigures:
    """The figures of all sources.

    Attributes:
        sources: Figures by source.
        shares: Share of each source in the mix.
        mix: The mean over the sources by method, each figure over the sources that have it.
        lengths: Errors of expected lengths by kind of task.
    """

    sources: dict[str, SourceFigures]
    shares: dict[str, float]
    mix: dict[str, MethodFigures]
    lengths: dict[str, LengthError]


@dataclass(frozen=True, slots=True)
class LeftOutTables:
    """Tables of models that were estimated without one source each.

    Attributes:
        data: The measurements of all sources that may ship.
        whole: The estimate of all of them.
    """

    data: Measurements
    whole: FittedHierarchy

    @classmethod
    def read(cls, folder: Path) -> "LeftOutTables":
        """Estimate the whole table.

        Raises:
            OutcomeError: a file of the data folder is missing or does not fit.
        """
        evidence = read_evidence(folder, shipping=True)
        data = gather(evidence.tests, evidence.facts)
        return cls(data, estimate(data))

    def without(self, source: str) -> dict[str, FloatArray]:
        """Expected scores [t] by model, of those with FEWEST_OTHERS measurements elsewhere."""
        rest, fitted = without_source(self.data, self.whole, source)
        means = score_means(rest, fitted)
        count = np.bincount(rest.row, minlength=len(rest.names))
        return {name: means[at] for at, name in enumerate(rest.names) if count[at] >= FEWEST_OTHERS}


def judge_traffic(
    data: Path,
    artifact: Artifact,
    mix: TrafficMix,
    sources: Sequence[str],
    progress: Advance | None = None,
) -> TrafficFigures:
    """Judge an artifact of format 2 on sources of a mix.

    Args:
        data: The data folder.
        artifact: The artifact; its recogniser and its lengths are judged.
        mix: The mix of traffic.
        sources: The sources of it that are judged.
        progress: Called after each source.

    Raises:
        ExportError: the artifact is of another format.
        OutcomeError: a source is missing or does not fit.
    """
    reader, seen = PromptReader(artifact), SeenTexts.of_recogniser(data)
    tables = LeftOutTables.read(data)
    read, told, tokens = [], [], []
    found = {}
    for name in sources:
        means = tables.without(name)
        source = read_judged(data, name, means, seen)
        prompts = _read_prompts(reader, source)
        rows = TableRows(np.stack([means[model] for model in source.outcomes.models]))
        found[name] = judge_source(source, prompts.tasks, rows)
        read.append(source)
        told.append(prompts.tasks)
        tokens.append(_expected_tokens(reader, source, prompts))
        if progress is not None:
            progress(1)
    shares = {name: mix.shares[name] for name in sources}
    lengths = length_errors(read, told, tokens)
    return TrafficFigures(found, shares, average(found, mix), lengths)


def judge_source(
    source: JudgedSource, tasks: FloatArray, table: TableRows, seed: int = 0
) -> SourceFigures:
    """Judge all methods on one source.

    Args:
        source: The source.
        tasks: Recognised probabilities of the kinds of task, [n, t].
        table: The table's rows of the source's models, estimated without the source.
        seed: Of the resamples.
    """
    truth = truth_of(source)
    resamples = Resamples.draw(len(truth.scores), seed, RESAMPLES)
    said = predictions(source, tasks, table)
    methods = {}
    for name in METHODS:
        figures: dict[str, Estimate | None] = {}
        worst = None
        if name in said:
            figures["points"] = choice_points(said[name], truth, resamples)
            figures["apgr"], worst = pair_figures(said[name], truth, resamples)
        elif name == SINGLE:
            figures["points"] = Estimate(0.0, 0.0, 0.0, 0.0)
        if source.has_costs:
            if name in said:
                choices = decided(said[name], truth, oracle=name == ORACLE)
                figures |= curve_figures(choices.sweep(), truth, resamples)
                figures["arena"] = arena_figure(choices, truth, resamples)
            elif name == RANDOM:
                figures |= curve_figures(single_models(truth), truth, resamples)
            else:
                figures["arena"] = single_arena(truth, resamples)
        methods[name] = MethodFigures(**figures, worst_pair_apgr=worst)
    return SourceFigures(
        prompts=len(truth.scores),
        models=len(source.outcomes.models),
        best_single=source.outcomes.models[truth.reference],
        costs=source.has_costs,
        methods=methods,
    )


def average(found: Mapping[str, SourceFigures], mix: TrafficMix) -> dict[str, MethodFigures]:
    """The mean of each figure over the sources that have it, weighted by their shares."""
    means = {}
    for method in METHODS:
        figures = {}
        for figure in FIGURES:
            by_source = {
                name: value
                for name, one in found.items()
                if (value := getattr(one.methods[method], figure)) is not None
            }
            figures[figure] = mix.average(by_source) if by_source else None
        worst = [
            value
            for one in found.values()
            if (value := one.methods[method].worst_pair_apgr) is not None
        ]
        means[method] = MethodFigures(**figures, worst_pair_apgr=min(worst, default=None))
    return means


def worst_apgr(found: Mapping[str, SourceFigures], method: str) -> float | None:
    """The lowest mean APGR of a source; None where no source has pairs with a gap."""
    values = [one.methods[method].apgr for one in found.values()]
    return min((one.value for one in values if one is not None), default=None)


def _read_prompts(reader: PromptReader, source: JudgedSource) -> SeenPrompts:
    read = reader.encode(source.outcomes.prompts)
    return reader.vectors(read, reader.table.task_rows.astype(np.float64))


def _expected_tokens(
    reader: PromptReader, source: JudgedSource, prompts: SeenPrompts
) -> FloatArray:
    """Expected lengths [n, m] as the source counts them; NaN for a model without a row."""
    table = reader.table
    both = np.concatenate([prompts.tasks, prompts.traits], axis=1).astype(np.float32)
    tokens = np.full(source.outcomes.scores.shape, np.nan)
    everyone = table.answers(both)[1]
    for column, model in enumerate(source.outcomes.models):
        at = table.row_of(model)
        if at is not None:
            visible = 1.0 - prompts.tasks @ table.reasoning_share[at] * source.counts_visible
            tokens[:, column] = everyone[:, at] * visible
    return tokens
