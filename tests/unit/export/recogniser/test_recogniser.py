"""A recogniser learns kinds from few prompts, is read back, and is written as an artifact."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from routoo.predictor.artifact import load_artifact
from routoo.predictor.encoding import PaddedGraph
from routoo.predictor.onnx import OnnxPredictor
from routoo_export.artifact.table_artifact import prompt_vectors, write_table_artifact
from routoo_export.errors import ExportError, ParityError
from routoo_export.graph.table_graph import TableGraph, build_table_graph, quantised
from routoo_export.outcomes.kinds import TASK_KINDS
from routoo_export.recogniser.bags import Bags, Parts
from routoo_export.recogniser.network import LANGUAGES, TRAITS, Recogniser
from routoo_export.recogniser.train import RANKS_FILE, WEIGHTS_FILE, TrainedRecogniser
from support.artifacts.tiny_recogniser import (
    LEXICON,
    MODELS,
    tiny_catalogue,
    tiny_examples,
    tiny_recogniser,
)

if TYPE_CHECKING:
    from pathlib import Path

    from routoo.predictor.artifact import Artifact
    from routoo_export.artifact.table_artifact import PromptVectors

TEXTS = [one.text for one in tiny_examples()]
UNSEEN = [*TEXTS, "schreibe code", "\u7ffb\u8bd1 \u9762\u5305", "", "qwertz " * 50]


@pytest.fixture(scope="module")
def artifact(recogniser: TrainedRecogniser, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("recogniser") / "1"
    report = write_table_artifact(
        folder,
        recogniser,
        tiny_catalogue(),
        TEXTS,
        aliases={"the-large-one": "lab/large"},
        training={"prompts": []},
        metrics={},
    )
    assert report.parity.prompts == len(TEXTS)
    return load_artifact(folder)


def graph_of(recogniser: TrainedRecogniser) -> TableGraph:
    return TableGraph(recogniser.recogniser, recogniser.ood, recogniser.trait_means)


def vectors_of(recogniser: TrainedRecogniser, texts: list[str]) -> PromptVectors:
    return prompt_vectors(graph_of(recogniser), recogniser.vocabulary, texts)


def test_it_learns_kinds_languages_and_lengths(recogniser: TrainedRecogniser) -> None:
    examples = tiny_examples()
    vectors = vectors_of(recogniser, TEXTS)
    kinds = np.array([one.kind for one in examples])
    told = np.array(["tell me" not in one.text for one in examples])
    assert (vectors.tasks.argmax(axis=1) == kinds)[told].mean() > 0.95
    assert vectors.tasks.sum(axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)
    german = vectors.traits[:, LANGUAGES.index("de")]
    foreign = np.array([one.language == "de" for one in examples])
    assert german[foreign].mean() > german[~foreign].mean()
    tokens = recogniser.lengths.tokens(vectors.tasks, vectors.traits)
    true = np.array([one.output_tokens for one in examples])
    assert np.corrcoef(np.log(tokens[told]), np.log(true[told]))[0, 1] > 0.8


def test_prompts_of_writers_that_were_left_out_are_judged(recogniser: TrainedRecogniser) -> None:
    judged = recogniser.judged
    assert judged.prompts == sum(one.source == "unread" for one in tiny_examples())
    assert 0.5 < judged.kind <= judged.among_three <= 1.0


def test_the_same_prompts_make_the_same_weights(recogniser: TrainedRecogniser) -> None:
    again = tiny_recogniser()
    np.testing.assert_array_equal(again.recogniser.table, recogniser.recogniser.table)
    np.testing.assert_array_equal(again.recogniser.tasks, recogniser.recogniser.tasks)
    np.testing.assert_array_equal(again.ood.knots, recogniser.ood.knots)


def test_it_is_read_back(recogniser: TrainedRecogniser, tmp_path: Path) -> None:
    recogniser.save(tmp_path / "checkpoint")
    read = TrainedRecogniser.load(tmp_path / "checkpoint")
    assert read.vocabulary == recogniser.vocabulary
    assert read.judged == recogniser.judged
    for of_read, wanted in zip(
        (vectors_of(read, UNSEEN).tasks, vectors_of(read, UNSEEN).ood, read.lengths.by_trait),
        (
            vectors_of(recogniser, UNSEEN).tasks,
            vectors_of(recogniser, UNSEEN).ood,
            recogniser.lengths.by_trait,
        ),
        strict=True,
    ):
        np.testing.assert_array_equal(of_read, wanted)


@pytest.mark.parametrize("file", [WEIGHTS_FILE, RANKS_FILE])
def test_a_folder_without_a_file_is_refused(
    recogniser: TrainedRecogniser, tmp_path: Path, file: str
) -> None:
    recogniser.save(tmp_path)
    for content in (b"", b"PK\x03\x04 cut"):
        (tmp_path / file).write_bytes(content)
        with pytest.raises(ExportError, match=r"not a recogniser: .*; train one first"):
            TrainedRecogniser.load(tmp_path)


def test_rows_that_are_sums_of_others_serve_as_one(recogniser: TrainedRecogniser) -> None:
    """What is trained as a word, its pieces and its concept is looked up as a single row."""
    vocabulary = recogniser.vocabulary
    parts = Parts.of(vocabulary, LEXICON)
    random = np.random.default_rng(0)
    table = random.normal(size=(parts.rows, 3)).astype(np.float32)
    bags = Bags(UNSEEN, vocabulary, parts)
    pooled = np.zeros((bags.n * 7, 3))
    np.add.at(pooled, bags.bags, table[bags.rows] * bags.weights[:, None])
    none = np.zeros((0, 0), np.float32)
    served = Recogniser(parts.merged(table), none, none, none, none, none)
    found = served.pooled(vocabulary, UNSEEN).reshape(-1, 3)
    np.testing.assert_allclose(found, pooled, atol=1e-4)
    # A concept's forms share its row, in any language.
    concept = vocabulary.rows
    of_concept = [
        word
        for row, word in enumerate(vocabulary.words, 1)
        if concept in parts.parts[parts.starts[row] : parts.starts[row + 1]]
    ]
    assert sorted(of_concept) == ["schreibe", "write"]


def test_dropped_rows_are_left_out(recogniser: TrainedRecogniser) -> None:
    parts = Parts.of(recogniser.vocabulary, LEXICON)
    bags = Bags(TEXTS, recogniser.vocabulary, parts)
    at = np.array([3, 1])
    whole = bags.batch(at)
    assert len(whole.offsets) == 2 * 7
    nothing = bags.batch(at, np.random.default_rng(0), dropped=1.0)
    assert not nothing.weights.any()
    some = bags.batch(at, np.random.default_rng(0), dropped=0.5)
    kept = some.weights != 0.0
    assert 0 < int(kept.sum()) < len(kept)
    np.testing.assert_array_equal(some.weights[kept], whole.weights[kept])
    np.testing.assert_array_equal(some.rows, whole.rows)


def test_the_served_answers_are_those_of_numpy(
    recogniser: TrainedRecogniser, artifact: Artifact
) -> None:
    served = OnnxPredictor(artifact).predict(UNSEEN)
    vectors = vectors_of(recogniser, UNSEEN)
    assert artifact.table is not None
    both = np.concatenate([vectors.tasks, vectors.traits], axis=1)
    scores, tokens = artifact.table.answers(both)
    assert served.task_names == TASK_KINDS
    # The table of rows is in int8.
    np.testing.assert_allclose(served.tasks, vectors.tasks, atol=0.05)
    np.testing.assert_allclose(served.scores, scores, atol=0.02)
    np.testing.assert_allclose(served.output_tokens, tokens, rtol=0.05)
    # Its prompts are a few templates, so that int8 shows in distances that are almost 0.
    assert np.abs(served.ood - vectors.ood).mean() < 0.1
    assert served.score_std == pytest.approx(np.full(scores.shape, 0.1), abs=1e-3)
    # Hidden reasoning is paid for, too.
    assert (tokens[:, 2] > tokens[:, 1] + 300).all()


def test_an_artifact_is_served_to_the_bit_alike_in_any_batch_and_pool(artifact: Artifact) -> None:
    everything = OnnxPredictor(artifact)
    whole = everything.predict(UNSEEN)
    pool = ["the-large-one", "lab/small"]
    part = OnnxPredictor(artifact, graph=PaddedGraph(artifact, pool)).predict(UNSEEN)
    np.testing.assert_array_equal(part.scores, whole.scores[:, [1, 0]])
    np.testing.assert_array_equal(part.output_tokens, whole.output_tokens[:, [1, 0]])
    for at in (0, 7, len(UNSEEN) - 1):
        alone = everything.predict([UNSEEN[at]])
        np.testing.assert_array_equal(alone.scores[0], whole.scores[at])
        np.testing.assert_array_equal(alone.tasks[0], whole.tasks[at])  # type: ignore[index]


def test_the_manifest_and_the_sample_are_whole(artifact: Artifact) -> None:
    assert artifact.models == MODELS
    assert artifact.manifest.format_version == 2
    sample = artifact.calibration_sample()
    assert sample.scores.shape == (len(TEXTS), len(MODELS))
    assert sample.input_tokens.min() >= 1.0
    told = json.loads((artifact.folder / "manifest.json").read_text())
    assert told["training"] == {"prompts": []}
    assert told["parity"]["max_abs_diff"] <= told["parity"]["tolerance"]


def test_a_graph_that_differs_is_not_written(
    recogniser: TrainedRecogniser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routoo_export.artifact.table_artifact.TOLERANCE", 0.0)
    with pytest.raises(ParityError, match="off the weights' at most"):
        write_table_artifact(
            tmp_path / "1",
            recogniser,
            tiny_catalogue(),
            TEXTS,
            aliases={},
            training={},
            metrics={},
        )
    assert not [*tmp_path.iterdir()]


def test_a_table_in_int8_is_near_and_clips_outliers_only() -> None:
    table = np.random.default_rng(0).normal(size=(4000, 3)).astype(np.float32)
    table[:, 2] = 0.0
    values, scale = quantised(table)
    assert values.dtype == np.int8
    near = np.abs(table) <= 127.0 * scale
    assert (~near).sum() <= 2
    assert (np.abs(values * scale - table)[near] <= 0.51 * scale.max()).all()
    assert not values[:, 2].any()


def test_the_graph_has_no_rows_of_models_in_it(recogniser: TrainedRecogniser) -> None:
    graph = build_table_graph(graph_of(recogniser)).graph
    names = {one.name for one in graph.input}
    assert names == {"input_ids", "weights", "told", "task_rows", "models"}
    shapes = [tuple(one.dims) for one in graph.initializer]
    assert recogniser.recogniser.tasks.shape not in shapes
    assert len(recogniser.trait_means) == len(TRAITS)
