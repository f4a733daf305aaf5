"""Model and effort chosen together are compared with the model alone under equal budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from routoo.predictor.artifact import Artifact, load_artifact
from routoo.routing.pool import load_pool
from routoo_export.cli.evaluation.arms import POOL_FILE
from routoo_export.errors import OutcomeError
from routoo_export.evaluation.arms import graded_models, judge_arms
from routoo_export.outcomes.outcomes import Outcomes
from support.artifacts.tiny_table_artifact import write_tiny_table_artifact
from support.tiny_pool import LARGE, SMALL, pool_of

if TYPE_CHECKING:
    from collections.abc import Sequence

# In the tiny table, extra is .95 on mathematics and large .5; small is .8 in a chat.
ARMS: list[dict[str, Any]] = [
    {"name": "low", "effort": "low", "predictor_name": "small"},
    {"name": "high", "effort": "high", "predictor_name": "extra"},
]
MODELS = pool_of(
    {**SMALL, "name": "lab/m", "arms": ARMS, "context_window_tokens": 65536}, LARGE
).models
PROMPTS = tuple(f"{'math' if at % 2 else 'hello'} {at}" for at in range(40))


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return load_artifact(write_tiny_table_artifact(tmp_path_factory.mktemp("table")))


def graded(names: Sequence[str], scores: Any) -> Outcomes:
    """Makes outcomes of PROMPTS with the same scores, [2, m], for chats and for mathematics."""
    cells = np.tile(np.array(scores, np.float64), (len(PROMPTS) // 2, 1))
    nothing = np.full(cells.shape, np.nan)
    return Outcomes(
        prompt_ids=tuple(map(str, range(len(PROMPTS)))),
        prompts=PROMPTS,
        models=tuple(names),
        scores=cells,
        output_tokens=nothing,
        cost_usd=nothing,
        domains=(None,) * len(PROMPTS),
        duplicate_groups=(None,) * len(PROMPTS),
        buckets=np.zeros(len(PROMPTS), np.int64),
        source_names=("source",) * len(PROMPTS),
        sources=(),
    )


def test_an_effort_that_pays_for_some_prompts_is_taken_for_these(artifact: Artifact) -> None:
    outcomes = graded(["lab/m@low", "lab/m@high", "large"], [[0.8, 0.6, 0.75], [0.1, 0.95, 0.5]])
    found = judge_arms("source", outcomes, MODELS, artifact)
    assert found.prompts == len(PROMPTS)
    assert found.arms == found.known == ("lab/m@low", "lab/m@high", "large")
    low, high = found.by_effort
    assert (low.effort, high.effort) == ("low", "high")
    for one in (low, high):
        assert one.gain.value > 0.05
        assert one.gain.low > 0.0
        assert one.spent_ratio <= 1.0 + 1e-9
        assert all(together <= 0.875 + 1e-9 for together in one.together)


def test_prompts_without_an_answer_of_every_arm_are_left_out(artifact: Artifact) -> None:
    outcomes = graded(["lab/m@low", "lab/m@high"], [[0.8, np.nan], [0.1, 0.95]])
    found = judge_arms("source", outcomes, MODELS, artifact)
    assert found.prompts == len(PROMPTS) // 2
    assert found.models == ("lab/m",)


def test_a_source_without_two_efforts_of_a_model_says_so(artifact: Artifact) -> None:
    outcomes = graded(["lab/m@low", "large"], [[0.8, 0.75], [0.1, 0.5]])
    with pytest.raises(OutcomeError, match="no model is graded at two efforts"):
        judge_arms("source", outcomes, MODELS, artifact)


def test_the_pool_of_the_evaluation_is_a_pool_with_arms() -> None:
    pool = load_pool(POOL_FILE)
    assert pool.arms is not None
    left = graded_models(pool.models, ["openai/o3-mini-2025-01-31@low", "deepseek/deepseek-v3"])
    assert [(one.name, len(one.arms)) for one in left] == [
        ("openai/o3-mini-2025-01-31", 1),
        ("deepseek/deepseek-v3", 0),
    ]
