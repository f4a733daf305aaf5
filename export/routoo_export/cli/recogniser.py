"""``routoo-export recogniser``: what tells the tasks of prompts, trained, judged and exported."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from numpy.typing import NDArray

from routoo.predictor.artifact import find_artifact, load_artifact
from routoo.predictor.base import join
from routoo.predictor.encoding import PaddedGraph
from routoo.predictor.onnx import OnnxPredictor
from routoo.routing.pool import load_pool
from routoo_export.artifact.recogniser_artifact import export_recogniser
from routoo_export.artifact.triton_repository import renew_config, version_folder
from routoo_export.cli.common import (
    DEFAULT_REPOSITORY,
    AsJson,
    Repository,
    print_result,
    use_threads,
)
from routoo_export.cli.export import NEXT, Version, parse_version
from routoo_export.errors import ExportError, OutcomeError
from routoo_export.outcomes.registry import registry
from routoo_export.outcomes.sources import read_source
from routoo_export.recogniser.evaluate import LengthFigures, Recognition, plain_recipe
from routoo_export.recogniser.examples import (
    read_examples,
    read_other_prompts,
    read_user_prompts,
)
from routoo_export.recogniser.lexicon import read_lexicon
from routoo_export.recogniser.train import TrainedRecogniser, train_recogniser
from routoo_export.recogniser.unusual import unusual_auroc, without_sources

DEFAULT_FOLDER: Final = Path("artifacts/recogniser")
UNUSUAL_PROMPTS: Final = 300
"""Prompts of each source on which the measure of unusual prompts is judged."""
recogniser_app = typer.Typer(
    help="Recognise the task of a prompt: train, judge, export.", no_args_is_help=True
)

Data = Annotated[
    Path, typer.Option(envvar="ROUTOO_DATA", help="Folder with the outcomes and other prompts.")
]
JudgeCatalogue = Annotated[
    bool,
    typer.Option("--judge-catalogue", help="Judge it by sources that are left out: minutes."),
]
Folder = Annotated[Path, typer.Option(help="Where the trained recogniser lies.")]


@recogniser_app.command()
def train(data: Data, folder: Folder = DEFAULT_FOLDER, *, as_json: AsJson = False) -> None:
    """Train on the prompts of the package and on those of DATA/task_prompts.parquet."""
    use_threads(1)
    examples, others = read_examples(), read_other_prompts(data)
    trained = train_recogniser(examples, others, read_lexicon())
    trained.save(folder)
    print_result(
        {
            "folder": str(folder),
            "prompts": len(examples),
            "other_prompts": len(others),
            "words": len(trained.vocabulary.words),
        },
        as_json=as_json,
    )


@recogniser_app.command()
def export(
    data: Data,
    folder: Folder = DEFAULT_FOLDER,
    repository: Repository = DEFAULT_REPOSITORY,
    version: Version = NEXT,
    *,
    judge_catalogue: JudgeCatalogue = False,
    as_json: AsJson = False,
) -> None:
    """Write the artifact: the recogniser's graph, and the catalogue of models as its table."""
    use_threads(1)
    target = version_folder(repository, parse_version(version))
    trained = TrainedRecogniser.load(folder)
    report = export_recogniser(target, trained, data, judge_catalogue=judge_catalogue)
    renew_config(repository)
    print_result({**asdict(report), "folder": str(report.folder)}, as_json=as_json)


@recogniser_app.command()
def evaluate(
    prompts: Annotated[
        Path, typer.Option(help="JSON Lines: messages, task, language, expected_output_tokens.")
    ],
    artifact: Annotated[
        Path | None, typer.Option(help="Version folder; without it, the shipped predictor.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of task_prompts.parquet: judges the plain recipe beside it."),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Judge the tasks and lengths that an artifact tells, on prompts with their tasks."""
    use_threads(1)
    judged = read_user_prompts(prompts)
    tasks, visible = _served(artifact, [one.text for one in judged])
    kinds = np.array([one.kind for one in judged])
    foreign = np.array([one.language != "en" for one in judged])
    true = np.array([max(one.output_tokens, 1) for one in judged])
    result: dict[str, Any] = {
        "all": asdict(Recognition.of(tasks, kinds)),
        "other_languages": asdict(Recognition.of(tasks[foreign], kinds[foreign])),
        "lengths": asdict(LengthFigures.of(visible, true)),
    }
    if data is not None:
        plain = plain_recipe(read_other_prompts(data), judged)
        result["plain_recipe"] = asdict(Recognition.of(plain, kinds))
        both = plain_recipe([*read_other_prompts(data), *read_examples()], judged)
        result["plain_recipe_on_all_prompts"] = asdict(Recognition.of(both, kinds))
    print_result(result, as_json=as_json)


@recogniser_app.command()
def unusual(data: Data, *, as_json: AsJson = False) -> None:
    """Judge the measure of unusual prompts by sources that a recogniser was trained without."""
    use_threads(1)
    draw = np.random.default_rng(0)
    sources = {}
    for entry in registry().sources:
        if entry.prompt is not None and (data / entry.file_name).exists():
            prompts = sorted(set(read_source(data, entry.name).outcomes.prompts))
            at = draw.permutation(len(prompts))[:UNUSUAL_PROMPTS].tolist()
            sources[entry.name] = [prompts[k] for k in at]
    if not sources:
        raise OutcomeError(f"{data}: no file of a registered source; see: data sources")
    others = without_sources(read_other_prompts(data), list(sources))
    found = unusual_auroc(read_examples(), others, read_lexicon(), sources)
    mean = float(np.mean(list(found.values())))
    print_result({"auroc": found, "mean": mean}, as_json=as_json)


def _served(
    folder: Path | None, texts: list[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities of the tasks [n, t], and the default pool's mean visible tokens [n].

    Raises:
        ExportError: the artifact tells no tasks.
    """
    artifact = load_artifact(find_artifact(folder))
    if artifact.table is None:
        raise ExportError(f"{artifact.folder}: tells no tasks; take a predictor of format 2")
    names = load_pool().predictor_names
    predictor = OnnxPredictor(artifact, provider="cpu", graph=PaddedGraph(artifact, names))
    parts = [predictor.predict(texts[at : at + 64]) for at in range(0, len(texts), 64)]
    found = join(parts)
    assert found.tasks is not None  # noqa: S101 - it has a table
    reasoning = found.tasks @ artifact.table.reasoning_share[artifact.columns_of(names)].T
    visible = found.output_tokens * (1.0 - reasoning)
    return found.tasks, visible.mean(axis=1)
