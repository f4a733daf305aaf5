"""A pool file with arms that cannot be is refused in one line, which names the remedy."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
import yaml

from routoo.errors import PoolError
from routoo.routing.arms.parameters import parameters_of, told_by
from routoo.routing.arms.spec import ArmSpec
from routoo.routing.pool import parse_pool
from support.tiny_pool import MEDIUM, SMALL, armed_pool, pool_of


def refused(*models: dict[str, Any]) -> str:
    with pytest.raises(PoolError) as failed:
        parse_pool(yaml.safe_dump({"models": list(models)}), "pool.yaml")
    told = str(failed.value)
    assert "\n" not in told
    assert told.startswith("pool.yaml")
    return told


@pytest.mark.parametrize(
    ("arms", "told"),
    [
        ([{"name": "a"}, {"name": "a", "effort": "low"}], "arm 'a' stands twice"),
        (
            [{"name": "a", "effort": "extreme"}],
            "knows effort 'extreme'; there are none, min",
        ),
        ([{"name": "a", "effort": ["low"]}], "no API knows effort ['low']"),
        ([{"name": "a", "kind": "refined"}], "unknown kind of arm 'refined'; this version has ask"),
        ([{"name": "a@b"}], "arms.0.name"),
        ([{"name": "a", "max_output_tokens": 0}], "max_output_tokens"),
        ([{"name": "a", "service_tier": "flex"}], "'flex', which has no price; add it to service_"),
        ([{"name": "a", "temperature": 1}], "temperature"),
        (
            [{"name": "a", "thinking_budget_tokens": 2048, "max_output_tokens": 2048}],
            "arm 'a' has no room for an answer",
        ),
        ([{"name": "a", "body": {"chat": {"model": "x"}}}], "'model' is the request's own"),
        ([{"name": "a", "body": {"chat": {"a b": 1}}}], "'a b' is no name of a field"),
        ([{"name": "a", "body": {"mail": {}}}], "body.mail"),
        (
            [{"name": "a", "effort": "low", "score_odds": 2}, {"name": "b", "effort": "high"}],
            "arm 'b' has a higher effort than 'a', and a lower score_odds",
        ),
    ],
)
def test_arms_that_cannot_be_are_refused(arms: list[dict[str, Any]], told: str) -> None:
    assert told in refused({**MEDIUM, "arms": arms})


def test_an_arm_and_a_model_of_one_name_are_refused() -> None:
    arms = [{"name": "low", "effort": "low"}]
    told = refused({**MEDIUM, "arms": arms}, {**SMALL, "name": "medium@low"})
    assert "'medium@low' stands twice" in told


def test_a_row_of_the_predictor_that_is_named_and_not_there_is_refused() -> None:
    pool = pool_of({**MEDIUM, "arms": [{"name": "a", "predictor_name": "medium@slip"}]})
    with pytest.raises(PoolError, match="medium@slip"):
        pool.known_to({"medium"}.__contains__).columns_in(("medium",))


def test_a_pool_without_arms_is_written_as_before_there_were_any() -> None:
    (spec,) = pool_of(MEDIUM).models
    assert {"arms", "default_effort"}.isdisjoint(spec.model_dump())
    assert "arms" in armed_pool().models[1].model_dump()


@pytest.mark.parametrize(
    ("arm", "chat", "responses", "completions", "messages"),
    [
        ({}, {}, {}, {}, {}),
        (
            {"effort": "high"},
            {"reasoning_effort": "high"},
            {"reasoning": {"effort": "high"}},
            None,
            {"output_config": {"effort": "high"}},
        ),
        (
            {"effort": "none"},
            {"reasoning_effort": "none"},
            {"reasoning": {"effort": "none"}},
            None,
            {"thinking": {"type": "disabled"}},
        ),
        ({"effort": "max"}, None, None, None, {"output_config": {"effort": "max"}}),
        (
            {"thinking_budget_tokens": 2048},
            None,
            None,
            None,
            {"thinking": {"type": "enabled", "budget_tokens": 2048}},
        ),
        (
            {
                "effort": "none",
                "body": {"chat": {"kwargs": {"thinking": False}}},
            },
            {"kwargs": {"thinking": False}},
            {"reasoning": {"effort": "none"}},
            None,
            {"thinking": {"type": "disabled"}},
        ),
        (
            {"service_tier": "flex", "max_output_tokens": 9},
            {"service_tier": "flex"},
            {"service_tier": "flex"},
            None,
            {"service_tier": "flex"},
        ),
    ],
)
def test_each_api_has_fields_of_its_own(
    arm: dict[str, Any], chat: Any, responses: Any, completions: Any, messages: Any
) -> None:
    spec = ArmSpec.model_validate({"name": "a", **arm})
    assert parameters_of(spec, "chat") == chat
    assert parameters_of(spec, "responses") == responses
    assert parameters_of(spec, "completions") == completions
    assert parameters_of(spec, "messages") == messages


def test_the_longest_answer_is_told_in_each_apis_own_field() -> None:
    told = told_by(ArmSpec(name="a", max_output_tokens=9))
    assert {api: orjson.loads(text) for api, text in told.items()} == {
        "chat": {"max_completion_tokens": 9},
        "responses": {"max_output_tokens": 9},
        "completions": {"max_tokens": 9},
        "messages": {"max_tokens": 9},
    }
