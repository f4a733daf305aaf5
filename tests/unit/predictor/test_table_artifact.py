"""A graph that is given its models' rows: which models it predicts is up to who asks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routoo.config.sections.predictor import PredictorSettings
from routoo.errors import ArtifactError, PoolError
from routoo.predictor.artifact import load_artifact
from routoo.predictor.backends import load_backends
from routoo.predictor.conversation import contents, conversation
from routoo.predictor.encoding import PaddedGraph
from routoo.predictor.onnx import OnnxPredictor
from routoo.predictor.token_count import count_tokens
from support.artifacts.tiny_artifact import change_manifest
from support.artifacts.tiny_table_artifact import (
    EVIDENCE,
    HARD,
    MODELS,
    SCORE_VAR,
    SCORES,
    TASKS,
    TOKENS,
    change_table,
    write_tiny_table_artifact,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from routoo.predictor.artifact import Artifact
    from routoo.predictor.base import Prediction

PROMPTS = (
    "hello there",
    "write code please",
    "a hard piece of math",
    "code and math",
    "long and strange",
    "\u043f\u0440\u0438\u0432\u0435\u0442 \u4e16\u754c",
    "much more text than the others, " * 40,
)
# Sums of 32 bits.
DOUBT = 1e-6


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return load_artifact(write_tiny_table_artifact(tmp_path_factory.mktemp("table")))


@pytest.fixture(scope="module")
def everything(artifact: Artifact) -> OnnxPredictor:
    return OnnxPredictor(artifact)


def of_models(artifact: Artifact, models: Sequence[str]) -> OnnxPredictor:
    return OnnxPredictor(artifact, graph=PaddedGraph(artifact, models))


def refusal(call: Callable[[], object], kind: type[Exception] = ArtifactError) -> str:
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    return text


def figures(prediction: Prediction) -> tuple[np.ndarray, ...]:
    found = (prediction.scores, prediction.output_tokens, prediction.score_std)
    assert all(one is not None for one in found)
    return found  # type: ignore[return-value]


def test_the_figures_are_those_of_the_tables(everything: OnnxPredictor) -> None:
    found = everything.predict(["hello", "code", "math", "code long", "strange"])
    tasks = [0, 1, 2, 1, 0]
    assert found.scores == pytest.approx(SCORES.T[tasks], abs=DOUBT)
    longer = np.array([1.0, 1.0, 1.0, 10.0, 1.0])[:, None]
    assert found.output_tokens == pytest.approx(TOKENS.T[tasks] * longer, rel=DOUBT)
    assert found.tasks is not None
    assert found.tasks == pytest.approx(np.eye(len(TASKS))[tasks], abs=DOUBT)
    assert found.task_names == TASKS
    assert found.evidence == pytest.approx(EVIDENCE.T[tasks], rel=1e-6)
    assert found.ood is not None
    assert found.ood.tolist() == [0.0, 0.0, 0.0, 0.0, 1.0]
    assert found.score_std is not None
    assert found.score_std[0] == pytest.approx(np.full(4, SCORE_VAR**0.5), abs=DOUBT)


def test_a_trait_moves_the_score_of_each_model(everything: OnnxPredictor) -> None:
    (scores,) = everything.predict(["code hard"]).scores
    assert scores == pytest.approx(SCORES[:, 1] + HARD, abs=DOUBT)
    # A score stays one, however much is taken off it.
    (scores,) = everything.predict(["math hard"]).scores
    assert scores == pytest.approx(np.maximum(SCORES[:, 2] + HARD, 0.0), abs=DOUBT)


@pytest.mark.parametrize("rows", [1, 5, 33])
@pytest.mark.parametrize(
    "models", [["large"], ["extra", "small", "medium"], [*reversed(MODELS)], [*MODELS]]
)
def test_models_come_and_go_without_changing_a_bit_of_the_others(
    artifact: Artifact, everything: OnnxPredictor, models: list[str], rows: int
) -> None:
    prompts = [PROMPTS[at % len(PROMPTS)] for at in range(rows)]
    whole, part = everything.predict(prompts), of_models(artifact, models).predict(prompts)
    at = [MODELS.index(name) for name in models]
    for of_all, of_some in zip(figures(whole), figures(part), strict=True):
        assert of_some.shape == (rows, len(models))
        np.testing.assert_array_equal(of_some, of_all[:, at])
    np.testing.assert_array_equal(part.tasks, whole.tasks)
    np.testing.assert_array_equal(part.ood, whole.ood)
    alone = everything.predict(prompts[-1:])
    for of_batch, of_one in zip(figures(whole), figures(alone), strict=True):
        np.testing.assert_array_equal(of_batch[-1:], of_one)


def test_a_told_task_replaces_the_recognised_one(everything: OnnxPredictor) -> None:
    told = everything.predict(["code", "code", "code"], None, ["math", "", "poetry"])
    assert told.tasks is not None
    assert [TASKS[at] for at in told.tasks.argmax(axis=1)] == ["math", "code", "code"]
    assert told.scores == pytest.approx(SCORES.T[[2, 1, 1]], abs=DOUBT)
    both = everything.predict(["code and math"])
    assert both.tasks == pytest.approx(np.array([[0.0, 0.5, 0.5]]), abs=DOUBT)


def test_an_alias_in_any_case_is_a_model(artifact: Artifact, everything: OnnxPredictor) -> None:
    found = of_models(artifact, ["Tiny/Large"]).predict(["code"])
    np.testing.assert_array_equal(found.scores, everything.predict(["code"]).scores[:, 2:3])


def test_a_model_without_a_row_is_refused(artifact: Artifact) -> None:
    text = refusal(lambda: PaddedGraph(artifact, ["small", "huge"]), PoolError)
    assert "'huge'" in text
    assert "onboard" in text


@pytest.mark.parametrize(
    ("changes", "piece"),
    [
        ({"graph_sha256": "0" * 64}, "belongs to the graph 000000000000..."),
        ({"names": ("small", "medium", "large", "small")}, "model 'small' stands twice"),
        ({"tasks": ("chat", "code", "code")}, "task 'code' stands twice"),
        ({"score_mean": np.where(SCORES > 0.9, np.nan, SCORES)}, "score_mean of 'extra'"),
        ({"score_mean": SCORES + 0.5}, "score_mean of 'small'"),
        ({"weights": np.zeros((4, 3), np.float32)}, "weights is float32 (4, 3)"),
        ({"evidence": EVIDENCE.astype(np.float64)}, "evidence is float64"),
        ({"aliases": {"other": "huge"}}, "an alias means 'huge'"),
    ],
)
def test_a_table_that_cannot_be_is_refused(
    tmp_path: Path, changes: dict[str, Any], piece: str
) -> None:
    folder = write_tiny_table_artifact(tmp_path / "1")
    change_table(folder, **changes)
    assert piece in refusal(lambda: load_artifact(folder))


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_table_artifact(tmp_path / "1")
    (folder / "models.npz").write_bytes(b"no table")
    assert "not a table of models" in refusal(lambda: load_artifact(folder))
    (folder / "models.npz").unlink()
    assert "not a table of models" in refusal(lambda: load_artifact(folder))


@pytest.mark.parametrize(
    ("changes", "piece"),
    [
        ({"models": MODELS}, "models and prior are in models.npz"),
        ({"inputs": [{"name": "input_ids", "dtype": "int64", "shape": [-1, -1]}]}, "inputs"),
        ({"outputs": [{"name": "scores", "dtype": "float32", "shape": [-1, -1]}]}, "outputs"),
    ],
)
def test_a_manifest_of_the_other_format_is_refused(
    tmp_path: Path, changes: dict[str, Any], piece: str
) -> None:
    folder = write_tiny_table_artifact(tmp_path / "1")
    change_manifest(folder, **changes)
    assert piece in refusal(lambda: load_artifact(folder))


def test_the_version_for_some_models_is_that_of_their_rows(tmp_path: Path) -> None:
    folder = write_tiny_table_artifact(tmp_path / "1")
    before = load_artifact(folder)
    one, other, *_ = before.models
    changed = EVIDENCE.copy()
    changed[before.models.index(other)] += 1
    change_table(folder, evidence=changed)
    after = load_artifact(folder)
    assert before.version_for([one]) == after.version_for([one])
    assert before.version_for([other]) != after.version_for([other])
    assert before.version_for([one, other]) == before.version_for([other, one])
    assert OnnxPredictor(after, graph=PaddedGraph(after, [one])).version == after.version_for([one])


def test_the_table_is_part_of_the_version(tmp_path: Path) -> None:
    folder = write_tiny_table_artifact(tmp_path / "1")
    before = load_artifact(folder)
    change_table(folder, evidence=EVIDENCE + 1)
    after = load_artifact(folder)
    assert before.manifest == after.manifest
    assert before.version.startswith("tiny-table-1.")
    assert before.version != after.version


def test_the_sample_holds_every_model_of_the_table(artifact: Artifact) -> None:
    sample = artifact.calibration_sample()
    assert sample.scores.shape == sample.output_tokens.shape == (400, len(MODELS))
    # Half of the prompts are not hard, and their scores are those of the tasks.
    assert {round(score, 6) for score in sample.scores[:, 0].tolist()} >= {0.8, 0.2, 0.1}


def test_the_prior_answers_with_the_means_of_the_sample(artifact: Artifact) -> None:
    settings_ = PredictorSettings(fallbacks=("prior",))
    backends = load_backends(artifact, settings_, models=["extra", "small"])
    prior = backends.local[-1]
    found = prior.predict(["code", "hello"], None, ["math", ""])
    sample = artifact.calibration_sample()
    wanted = sample.scores.mean(axis=0)[[3, 0]]
    assert found.scores == pytest.approx(np.tile(wanted, (2, 1)), rel=1e-6)
    assert (found.tasks, found.ood, found.score_std, found.evidence) == (None,) * 4
    assert found.served_by == "prior"


def test_the_roles_of_a_conversation_are_read(everything: OnnxPredictor) -> None:
    asked = [
        conversation([("user", "code"), ("assistant", "hello"), ("user", "why?")]),
        conversation([("system", "math"), ("user", "code")]),
        conversation([("user", "hello"), ("tool", "code")]),
        conversation([("tools", "search: strange things"), ("user", "code")]),
        conversation([("system", "strange"), ("user", "code")]),
    ]
    found = everything.predict(asked)
    assert found.tasks is not None
    assert [TASKS[at] for at in found.tasks.argmax(axis=1)] == [
        *("chat", "code", "code"),
        *("code", "code"),
    ]
    assert found.ood is not None
    assert found.ood.tolist() == [0.0, 0.0, 0.0, 1.0, 0.0]


def test_offered_tools_count_as_input_alone(everything: OnnxPredictor) -> None:
    plain = everything.predict(["code"])
    offered = everything.predict([conversation([("tools", "a: b\nc: d"), ("user", "code")])])
    tools = count_tokens(["a: b\nc: d"])
    assert (offered.input_tokens - plain.input_tokens).tolist() == tools.tolist()


@given(st.lists(st.text(), min_size=1, max_size=6))
@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_no_text_in_any_script_is_unknown(everything: OnnxPredictor, prompts: list[str]) -> None:
    asked = everything.graph.questions(prompts)
    assert sum(len(rows) for rows in asked.rows) == len(prompts)
    for feed in asked.inputs:
        # Each prompt has a row of weight: its words, or the mark of the one who speaks.
        assert (feed["weights"] > 0).any(axis=(1, 2)).all()
    found = everything.predict(prompts)
    assert all(np.isfinite(one).all() for one in figures(found))
    assert found.tasks is not None
    assert found.tasks.sum(axis=1) == pytest.approx(1.0, abs=1e-5)


@given(st.lists(st.tuples(st.sampled_from(["user", "system", "tool", "tools"]), st.text())))
def test_contents_are_the_texts_of_all_turns_but_the_tools(turns: list[tuple[str, str]]) -> None:
    said = [text for role, text in turns if role != "tools"]
    plain = [text.replace("\x1e", "").replace("\x1f", "") for text in said]
    assert contents(conversation(turns)) == "\n".join(plain)


def test_a_changed_graph_is_refused_by_the_table(tmp_path: Path, artifact: Artifact) -> None:
    table = artifact.table
    assert table is not None
    path = tmp_path / "models.npz"
    replace(table, graph_sha256="f" * 64).save(path)
    text = refusal(lambda: type(table).load(path, table.graph_sha256))
    assert "take the table of this predictor" in text
