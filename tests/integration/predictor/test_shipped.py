"""The service works as it is shipped, with its own predictor and its own pool."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import pytest_asyncio

from routoo.config.loading import load_settings
from routoo.predictor.artifact import load_artifact, shipped_artifact
from routoo.predictor.base import join
from routoo.predictor.onnx import OnnxPredictor
from routoo.routing.pool import load_pool
from support.tiny_service import Running, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from routoo.predictor.artifact import Artifact

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
    settings = load_settings(None, {"listen": "127.0.0.1:0", "metrics": {"enabled": False}})
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


async def test_predictions_do_not_depend_on_the_batch_to_the_last_bit(artifact: Artifact) -> None:
    """No noise is allowed, as rounding would not hide it near the edge between two steps."""
    predictor = OnnxPredictor(artifact)
    prompts = make_prompts(640)
    alone = join([predictor.predict([prompt]) for prompt in prompts])
    assert alone.score_std is not None
    assert alone.ood is not None
    for size in (2, 7, 8, 64, 640):
        together = join(
            [predictor.predict(prompts[at : at + size]) for at in range(0, len(prompts), size)]
        )
        np.testing.assert_array_equal(together.scores, alone.scores)
        np.testing.assert_array_equal(together.output_tokens, alone.output_tokens)
        np.testing.assert_array_equal(together.score_std, alone.score_std)
        np.testing.assert_array_equal(together.ood, alone.ood)


async def test_every_model_of_the_shipped_pool_is_known_to_the_predictor(
    artifact: Artifact,
) -> None:
    pool = load_pool()
    assert len(pool.columns_in(artifact.manifest.models)) == len(pool.names)


async def test_the_explained_prompt_of_the_readme(shipped: Running) -> None:
    reply = await shipped.route("Prove that sqrt(2) is irrational", explain=True)
    names = [one.model for one in reply.candidates]
    assert sorted(names) == sorted(shipped.service.engine.pool.names)
    assert names[0] == reply.model
    assert 0 < reply.predicted_score < 1
    assert 0 < reply.predicted_cost_usd < 0.1
