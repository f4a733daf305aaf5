"""The shipped artifact: a trained recogniser, and the catalogue of models as its table."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from routoo_export.artifact.artifact import ExportReport
from routoo_export.artifact.table_artifact import prompt_vectors, write_table_artifact
from routoo_export.catalogue.aliases import source_aliases
from routoo_export.catalogue.build import build_catalogue
from routoo_export.catalogue.evaluate import evaluate_catalogue, summarise
from routoo_export.catalogue.measurements import gather, read_evidence
from routoo_export.graph.table_graph import TableGraph
from routoo_export.graph.turned_table import rounded, turned
from routoo_export.outcomes.kinds import TASK_KINDS
from routoo_export.outcomes.registry import registry
from routoo_export.recogniser.evaluate import LengthFigures, Recognition
from routoo_export.recogniser.examples import (
    OTHER_PROMPTS,
    Example,
    read_examples,
    read_other_prompts,
    read_user_prompts,
)
from routoo_export.recogniser.settings import RecogniserSettings
from routoo_export.recogniser.train import TrainedRecogniser

USER_PROMPTS: Final = "user_prompts.jsonl"
SAMPLE: Final = 2400
"""Prompts of the calibration sample, drawn from those written for this project."""


def export_recogniser(
    folder: Path, trained: TrainedRecogniser, data: Path, *, judge_catalogue: bool = False
) -> ExportReport:
    """Write the artifact into ``folder``, a version folder of a Triton model.

    Args:
        folder: The version folder.
        trained: The recogniser.
        data: The folder of the outcomes and public averages, of which the catalogue is estimated.
        judge_catalogue: Judge the catalogue by sources that are left out, which takes minutes.

    Raises:
        ExportError: a source is missing, a file cannot be written, or the graph's answers are not
            those of the weights.
    """
    typical = dict(zip(TASK_KINDS, np.exp(trained.lengths.by_task).tolist(), strict=True))
    catalogue = build_catalogue(data, typical)
    examples = read_examples()
    drawn = np.random.default_rng(0).permutation(len(examples))[:SAMPLE]
    metrics: dict[str, Any] = {"written_prompts": asdict(trained.judged)}
    metrics["catalogue"] = {"models": len(catalogue.names)}
    if judge_catalogue:
        evidence = read_evidence(data, shipping=False)
        means = summarise(evaluate_catalogue(gather(evidence.tests, evidence.facts)))
        metrics["catalogue"] |= {"spearman": means.spearman, "inside_90": means.covered_fitted}
    judged = data / USER_PROMPTS
    if judged.is_file():
        metrics["user_prompts"] = _judged(trained, read_user_prompts(judged))
    return write_table_artifact(
        folder,
        trained,
        catalogue,
        [examples[at].text for at in drawn.tolist()],
        aliases=source_aliases(data, catalogue.names),
        training=_training(data),
        metrics=metrics,
    )


def _judged(trained: TrainedRecogniser, prompts: Sequence[Example]) -> dict[str, float]:
    """Figures of what is served, on prompts that nobody trained on."""
    parts = rounded(turned(TableGraph(trained.recogniser, trained.ood, trained.trait_means)))
    vectors = prompt_vectors(parts, trained.vocabulary, [one.text for one in prompts])
    kinds = np.array([one.kind for one in prompts])
    foreign = np.array([one.language != "en" for one in prompts])
    of_all = Recognition.of(vectors.tasks, kinds)
    of_others = Recognition.of(vectors.tasks[foreign], kinds[foreign])
    lengths = LengthFigures.of(
        trained.lengths.tokens(vectors.tasks, vectors.traits),
        np.array([max(one.output_tokens, 1) for one in prompts]),
    )
    return {
        **asdict(of_all),
        "other_languages_kind": of_others.kind,
        "other_languages_group": of_others.group,
        "length_within_factor": lengths.within_factor,
        "length_of_sum": lengths.of_sum,
    }


def _training(data: Path) -> dict[str, Any]:
    """Sources with their licences, and the hash of the prompts."""
    examples, others = read_examples(), read_other_prompts(data)
    found = hashlib.sha256("".join(one.text for one in (*examples, *others)).encode())
    written = Counter(one.source for one in examples)
    other = Counter(one.source for one in others)
    return {
        "prompts": [
            {"name": name, "rows": rows, "licence": "Apache-2.0"}
            for name, rows in sorted(written.items())
        ],
        "other_prompts": [
            {"name": name.removeprefix(f"{Path(OTHER_PROMPTS).stem}:"), "rows": rows}
            for name, rows in sorted(other.items())
        ],
        "other_prompts_licences": ["Apache-2.0", "MIT", "CC0", "CC-BY-4.0"],
        "outcomes": [
            {"name": entry.name, "licence": entry.licence} for entry in registry().shipping()
        ],
        # Averages are facts; the benchmark that published them is under this licence.
        "public_averages": [{"name": "LiveBench", "licence": "Apache-2.0"}],
        "prompts_sha256": found.hexdigest(),
        "hyperparameters": asdict(RecogniserSettings()),
    }
