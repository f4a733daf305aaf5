"""An engine applies policies: in force, named by a request, as shadow, under constraints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routoo.config.sections.policy import PolicySettings
from routoo.errors import ConfigError, InvalidRequestError, NoEligibleModelError
from routoo.predictor.artifact import load_artifact
from routoo.routing.policies import build_policies
from routoo.routing.request import PromptRequest
from support.artifacts.tiny_artifact import write_tiny_artifact
from support.tiny_engine import make_engine, outcomes
from support.tiny_pool import tiny_pool
from support.watched import HANG_S

if TYPE_CHECKING:
    from routoo.predictor.artifact import Artifact

words = st.lists(st.sampled_from(["easy", "hard", "long", "else"]), min_size=1, max_size=40)
prompts = words.map(" ".join)
PAIR = {"quality_gap": {"small": "small", "large": "large"}}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return load_artifact(write_tiny_artifact(tmp_path_factory.mktemp("artifact")))


async def test_a_request_may_name_an_offered_policy(artifact: Artifact) -> None:
    offered = PolicySettings.model_validate({"offered": ["best", "quality_gap"], **PAIR})
    engine = make_engine(artifact, policy=offered)
    try:
        requests = [
            PromptRequest("hard"),
            PromptRequest("hard", policy="best"),
            PromptRequest("hard", policy="quality_gap"),
            PromptRequest("hard", policy="quality_gap", constraints={"max_quality_gap": 0.75}),
        ]
        decisions = await outcomes(*(engine.route(one) for one in requests))
        assert [one.model for one in decisions] == ["medium", "large", "large", "small"]
        versions = [one.batch.policy_versions[one.row] for one in decisions]
        assert versions == ["lp-test", "best-test", "quality_gap-test", "quality_gap-test"]
        with pytest.raises(
            InvalidRequestError,
            match=r"^policy: unknown policy 'fixed'; this service has lp, best, quality_gap;",
        ):
            engine.route(PromptRequest("hard", policy="fixed"))
        with pytest.raises(InvalidRequestError, match=r"^max_quality_gap: policy lp has no tole"):
            engine.route(PromptRequest("hard", constraints={"max_quality_gap": 0.5}))
    finally:
        await engine.close(HANG_S)


async def test_a_shadow_is_counted_and_decides_nothing(artifact: Artifact) -> None:
    shadowed = PolicySettings.model_validate({"shadow": "best", "offered": ["cheapest"]})
    engine = make_engine(artifact, policy=shadowed)
    try:
        prompts = ("easy", "hard", "hard")
        decisions = await outcomes(
            *(engine.route(PromptRequest(one)) for one in prompts),
            engine.route(PromptRequest("hard", policy="cheapest")),
        )
        assert [one.model for one in decisions] == ["small", "medium", "medium", "small"]
        assert engine.shadow is not None
        counts = engine.shadow.comparison
        assert (counts.policy, counts.decisions, counts.disagreements) == ("best", 3, 2)
        assert counts.score == 0.875 + 2 * 0.5
        assert counts.shadow_score == 3 * 0.875
        costs = [one.batch.costs_usd[one.row] for one in decisions[:3]]
        assert counts.cost_usd == pytest.approx(sum(costs))
        large_usd = 10e-6 + 200 * 30e-6
        assert counts.shadow_cost_usd == pytest.approx(costs[0] + 2 * large_usd)
    finally:
        await engine.close(HANG_S)


def test_a_policy_of_an_unknown_model_says_which() -> None:
    settings = PolicySettings.model_validate({"name": "fixed", "fixed": {"model": "gpt-9"}})
    with pytest.raises(
        ConfigError, match=r"^policy.fixed.model: unknown model 'gpt-9'; the pool has small"
    ):
        build_policies(settings, tiny_pool(), "test")


ALL_POLICIES = PolicySettings.model_validate(
    {
        "offered": ["threshold", "quality_gap", "cheapest", "best", "fixed", "round_robin"],
        "threshold": {"strong": "large", "weak": "small", "threshold": 0.2},
        "fixed": {"model": "medium"},
        **PAIR,
    }
)
constraints = st.fixed_dictionaries(
    {},
    optional={
        "max_cost_usd": st.sampled_from([0.0, 1e-5, 1e-4, 1e-3, 1e-2]),
        "min_score": st.sampled_from([0.2, 0.5, 0.8, 1.0]),
        "max_latency_ms": st.sampled_from([200.0, 500.0, 2000.0]),
        "allowed_models": st.sampled_from([("small",), ("medium", "large")]),
        "denied_models": st.sampled_from([("small",), ("large", "medium")]),
        "required_capabilities": st.sampled_from([("tools",), ("vision",)]),
    },
)


@settings(max_examples=25)
@given(prompt=prompts, asked=constraints)
async def test_no_policy_breaks_what_a_request_asks_for(
    artifact: Artifact, prompt: str, asked: dict[str, Any]
) -> None:
    engine = make_engine(artifact, policy=ALL_POLICIES)
    try:
        requests = [
            PromptRequest(prompt, policy=name, constraints=asked)
            for name in engine.policies.offered
        ]
        pool = tiny_pool()
        for reply in await outcomes(*(engine.route(one) for one in requests)):
            if isinstance(reply, NoEligibleModelError):
                assert asked
                continue
            batch, row = reply.batch, reply.row
            assert batch.costs_usd[row] <= asked.get("max_cost_usd", np.inf)
            assert batch.scores[row] >= asked.get("min_score", 0.0)
            assert batch.latencies_ms[row] <= asked.get("max_latency_ms", np.inf)
            assert reply.model in asked.get("allowed_models", (reply.model,))
            assert reply.model not in asked.get("denied_models", ())
            able = pool.models[pool.index[reply.model]].capabilities
            assert set(asked.get("required_capabilities", ())) <= set(able)
    finally:
        await engine.close(HANG_S)
