"""The service works as it is shipped, with its own predictor and its own pool."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import pytest_asyncio
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from routoo.config.loading import load_settings
from routoo.predictor.artifact import load_artifact, shipped_artifact
from routoo.predictor.base import join
from routoo.predictor.conversation import conversation
from routoo.predictor.encoding import PaddedGraph
from routoo.predictor.ngram_encoder import NgramEncoder
from routoo.predictor.ngrams import BODY, Vocabulary
from routoo.predictor.onnx import OnnxPredictor
from routoo.routing.pool import load_pool
from routoo_export.artifact.triton_repository import TritonConfig, config_message, read_signature
from support.tiny_service import PATIENT, Running, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from routoo.predictor.artifact import Artifact
    from routoo.predictor.base import Prediction

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORDS = [
    "prove",
    "that",
    "the",
    "square",
    "root",
    "of",
    "two",
    "is",
    "irrational",
    "write",
    "a",
    "function",
    "which",
    "returns",
    "the",
    "sum",
    "of",
    "all",
    "even",
    "numbers",
    "in",
    "12",
    "345",
    "6789",
    "what",
    "did",
    "the",
    "court",
    "decide",
    "about",
    "the",
    "contract",
    "of",
    "1887",
    "choose",
    "A",
    "B",
    "C",
    "or",
    "D",
    "and",
    "explain",
    "why",
    "mitochondria",
    "energy",
    "photosynthesis",
    "derivative",
    "x^2",
    "+",
    "3x",
    "=",
    "7",
    "where",
    "Rome",
]
# The first letter of each script; a text is made of those that follow it.
LETTERS = {
    "latin": 0x61,
    "greek": 0x3B1,
    "cyrillic": 0x430,
    "armenian": 0x561,
    "hebrew": 0x5D0,
    "arabic": 0x628,
    "syriac": 0x712,
    "devanagari": 0x915,
    "bengali": 0x995,
    "gurmukhi": 0xA15,
    "gujarati": 0xA95,
    "oriya": 0xB15,
    "tamil": 0xB95,
    "telugu": 0xC15,
    "kannada": 0xC95,
    "malayalam": 0xD15,
    "sinhala": 0xD9A,
    "thai": 0xE01,
    "lao": 0xE94,
    "tibetan": 0xF40,
    "burmese": 0x1000,
    "georgian": 0x10D0,
    "ethiopic": 0x1200,
    "cherokee": 0x13A0,
    "khmer": 0x1780,
    "mongolian": 0x1820,
    "kana": 0x3042,
    "han": 0x4E00,
    "hangul": 0xAC00,
    "emoji": 0x1F600,
}
SCRIPTS = {
    name: " ".join(
        "".join(chr(first + (at * word) % 13) for at in range(4)) for word in range(1, 9)
    )
    for name, first in LETTERS.items()
}
CODE = "def f(xs):\n    return {x: x**2 for x in xs if x % 2}\n# TODO: \u03bb \u2192 \u2200x\n"
TALK = conversation(
    [
        ("tools", "search the web"),
        ("system", "Be brief."),
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "Find me a train to \u5317\u4eac \U0001f684"),
    ]
)
MOST_BYTES = 25_000_000
LISTED = ("prompts", "other_prompts", "outcomes", "public_averages")
ROOT = Path(__file__).parents[3]


def make_prompts(count: int) -> list[str]:
    """Makes prompts of 1 to 400 words, the same on every run."""
    random = np.random.default_rng(7)
    lengths = np.exp(random.uniform(0, np.log(400), count)).astype(int)
    return [" ".join(random.choice(WORDS, length)) for length in lengths]


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return load_artifact(shipped_artifact())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shipped(artifact: Artifact) -> AsyncIterator[Running]:
    settings = load_settings(
        None,
        {
            "listen": "127.0.0.1:0",
            "http": {"listen": ""},
            "metrics": {"enabled": False},
            "overload": PATIENT,
        },
    )
    async with serving(settings) as running:
        yield running


def figures(reply: Any) -> tuple[Any, ...]:
    """Returns the fields of a reply that depend on the prompt alone."""
    return (
        reply.model,
        reply.predicted_score,
        reply.predicted_cost_usd,
        reply.predicted_latency_ms,
        reply.input_tokens,
        reply.truncated,
        reply.reason.rule,
        tuple(reply.reason.binding_constraints),
    )


async def test_a_prompt_is_decided_alike_alone_and_in_any_batch(shipped: Running) -> None:
    prompts = make_prompts(300)
    alone = [figures(await shipped.route(prompt)) for prompt in prompts]
    together = await asyncio.gather(*(shipped.route(prompt) for prompt in prompts))
    assert max(reply.timing.batch_size for reply in together) > 1
    assert [figures(reply) for reply in together] == alone
    jointly = (await shipped.batch(prompts)).responses
    assert [figures(reply) for reply in jointly] == alone
    assert len({model for model, *_ in alone}) > 1, "a router that always says the same"


FIGURES = ("scores", "output_tokens", "score_std", "evidence", "averages")
OF_PROMPTS = ("tasks", "ood", "input_tokens", "truncated")


def assert_same(found: Prediction, wanted: Prediction, columns: Any = slice(None)) -> None:
    """No noise is allowed, as rounding would not hide it near the edge between two steps."""
    for name in FIGURES:
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name)[:, columns])
    for name in OF_PROMPTS:
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


@pytest.fixture(scope="module")
def everything(artifact: Artifact) -> OnnxPredictor:
    return OnnxPredictor(artifact)


async def test_predictions_do_not_depend_on_the_batch_to_the_last_bit(
    everything: OnnxPredictor,
) -> None:
    prompts = [*make_prompts(600), *SCRIPTS.values(), CODE, TALK]
    alone = join([everything.predict([prompt]) for prompt in prompts])
    for size in (2, 7, 8, 64, len(prompts)):
        parts = [prompts[at : at + size] for at in range(0, len(prompts), size)]
        assert_same(join([everything.predict(part) for part in parts]), alone)


@pytest.mark.parametrize("size", [1, 5, 16, 40])
async def test_predictions_do_not_depend_on_the_pool_to_the_last_bit(
    artifact: Artifact, everything: OnnxPredictor, size: int
) -> None:
    prompts = [*make_prompts(60), *SCRIPTS.values(), CODE, TALK]
    whole = everything.predict(prompts)
    for seed in range(3):
        columns = np.random.default_rng(seed).permutation(len(artifact.models))[:size]
        graph = PaddedGraph(artifact, [artifact.models[at] for at in columns])
        of_pool = OnnxPredictor(artifact, graph=graph)
        assert_same(of_pool.predict(prompts), whole, columns)
        for at in (0, 30, len(prompts) - 1):
            alone = everything.predict(prompts[at : at + 1])
            assert_same(of_pool.predict(prompts[at : at + 1]), alone, columns)


async def test_the_graph_multiplies_rows_as_numpy_does(
    artifact: Artifact, everything: OnnxPredictor
) -> None:
    table, parity = artifact.table, artifact.manifest.parity
    assert table is not None
    assert parity["prompts"] == 512
    assert parity["max_abs_diff"] <= parity["tolerance"] <= 0.05
    served = everything.predict([*make_prompts(100), *SCRIPTS.values()])
    assert served.tasks is not None
    assert served.score_std is not None
    expected = served.tasks @ table.score_mean.T
    # Traits are at most 1 away from their means, which bounds the residual.
    slack = 1e-5 + np.abs(table.weights).sum(axis=1)
    assert (np.abs(served.scores - expected) <= slack).all()
    variance = served.tasks @ table.score_var.T
    assert (served.score_std**2 >= variance - 1e-5).all()
    assert (served.score_std**2 <= variance + 1e-5 + table.weights_var.sum(axis=1)).all()
    np.testing.assert_allclose(served.evidence, served.tasks @ table.evidence.T, rtol=1e-4)
    np.testing.assert_allclose(served.averages, served.tasks @ table.benchmarks.T, rtol=1e-4)


@pytest.mark.parametrize("name", [*SCRIPTS, "code", "talk"])
async def test_no_text_is_unknown(artifact: Artifact, everything: OnnxPredictor, name: str) -> None:
    text = {**SCRIPTS, "code": CODE, "talk": TALK}[name]
    vocabulary = Vocabulary.load(artifact.tokenizer_path)
    encoder = NgramEncoder(vocabulary)
    (bucket,) = encoder.buckets(encoder.encode([text]))
    (ids,), (weights,) = bucket.feed["input_ids"], bucket.feed["weights"]
    read = ids[(weights[BODY] > 0.0) & (ids > 0)]
    # Words of the vocabulary, or the pieces of others; pairs alone would not tell a word.
    assert (read < vocabulary.first_mark).any() or (read >= vocabulary.first_piece).any()
    found = everything.predict([text, text[: len(text) // 2]])
    assert ((found.scores > 0.0) & (found.scores < 1.0)).all()
    assert (np.isfinite(found.output_tokens) & (found.output_tokens >= 1.0)).all()
    assert (found.scores[0] != found.scores[1]).any(), "another text, the same figures"


async def test_a_told_task_changes_the_outcome(shipped: Running) -> None:
    tasks = ("", "math_hard", "chat_smalltalk")
    replies = [await shipped.route("Rivers and winter", task=task, explain=True) for task in tasks]
    assert [reply.task for reply in replies[1:]] == [*tasks[1:]]
    assert len({reply.predicted_score for reply in replies}) == 3
    _, maths, talk = ({one.model: one for one in reply.candidates} for reply in replies)
    cheap = "meta-llama/llama-3.1-8b-instruct"
    assert maths[cheap].predicted_score < talk[cheap].predicted_score
    assert maths[cheap].predicted_output_tokens > talk[cheap].predicted_output_tokens


async def test_every_model_of_the_shipped_pool_is_known_to_the_predictor(
    artifact: Artifact,
) -> None:
    pool = load_pool()
    columns = artifact.columns_of(pool.predictor_names)
    assert len(set(columns.tolist())) == len(pool.names)


async def test_it_is_whole_and_small(artifact: Artifact) -> None:
    found = {path.name: path.stat().st_size for path in artifact.folder.iterdir()}
    assert sum(found.values()) <= MOST_BYTES
    assert {*artifact.manifest.files, "manifest.json", "models.npz"} == set(found)


async def test_it_is_trained_on_what_may_ship_only(artifact: Artifact) -> None:
    training = artifact.manifest.training
    listed = [one for kind in LISTED for one in training[kind]]
    assert all(training[kind] for kind in LISTED)
    licences = {one["licence"] for one in listed if "licence" in one}
    licences |= set(training["other_prompts_licences"])
    parts = {part for licence in licences for part in licence.split(" AND ")}
    assert parts <= {"Apache-2.0", "MIT", "CC0", "CC-BY-4.0"}
    assert "routerarena" not in json.dumps(training).lower().replace("_", "")


async def test_the_configuration_for_triton_is_that_of_the_artifact(artifact: Artifact) -> None:
    text = (artifact.folder.parent / "config.pbtxt").read_text()
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert config == config_message(TritonConfig(), read_signature(artifact.folder))


async def test_the_explained_prompt_of_the_readme(shipped: Running) -> None:
    reply = await shipped.route("Prove that sqrt(2) is irrational", explain=True)
    names = [one.model for one in reply.candidates]
    assert sorted(names) == sorted(shipped.service.engine.pool.names)
    assert names[0] == reply.model
    assert 0 < reply.predicted_score < 1
    assert 0 < reply.predicted_cost_usd < 0.1
