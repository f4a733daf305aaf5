"""A processor that cannot serve stops the start with one line that names the remedy."""

from __future__ import annotations

from typing import Any

import pytest

from routoo.api.extproc.factory import check_processor
from routoo.config.loading import load_settings
from routoo.errors import ConfigError
from routoo.routing.pool import ModelSpec, Pool
from support.tiny_pool import LARGE, SMALL, pool_of, tiny_pool


def check(pool: Pool | None = None, **processor: Any) -> None:
    settings = load_settings(None, {"processor": {"enabled": True, **processor}})
    check_processor(settings.processor, pool or tiny_pool())


def test_the_defaults_fit() -> None:
    check()


@pytest.mark.parametrize(
    ("processor", "words"),
    [
        ({"fallback_model": "huge"}, "processor.fallback_model: unknown model 'huge'; the pool"),
        ({"messages_models": ["small", "x"]}, "processor.messages_models: unknown model"),
        ({"openai_models": ["x"]}, "processor.openai_models: unknown model 'x'"),
        ({"route_names": ["auto", "small"]}, "'small' is also in processor.route_names"),
        ({"route_names": []}, "processor.route_names"),
        ({"route_names": [""]}, "processor.route_names: an empty name"),
        ({"fallback_model": "auto"}, "'auto' is itself a route name"),
        ({"on_unreadable": "drop"}, "processor.on_unreadable"),
        ({"capabilities": {"vision": "vision"}}, "processor.capabilities.vision: unknown key"),
    ],
)
def test_settings_that_do_not_fit(processor: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(**processor)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["größe", "a\nb", " a"])
def test_a_name_that_cannot_stand_in_a_header(name: str) -> None:
    pool = Pool.of((ModelSpec.model_validate({**SMALL, "name": name}),))
    with pytest.raises(ConfigError, match="cannot stand in an HTTP header"):
        check(pool)


@pytest.mark.parametrize(
    ("arm", "processor", "words"),
    [
        (
            {"effort": "minimal"},
            {"openai_models": ["large"], "messages_models": ["small"]},
            "'small@a' can never be asked for: messages knows no effort 'minimal', only none, low",
        ),
        (
            {"thinking_budget_tokens": 2048},
            {"openai_models": ["small"], "messages_models": ["large"]},
            "'small@a' can never be asked for: chat has no field for thinking_budget_tokens",
        ),
    ],
)
def test_an_arm_that_its_models_apis_do_not_know(
    arm: dict[str, Any], processor: dict[str, Any], words: str
) -> None:
    pool = pool_of({**SMALL, "arms": [{"name": "a", **arm}]}, LARGE)
    check(pool, openai_models=["small@a"], messages_models=["small"])
    with pytest.raises(ConfigError) as caught:
        check(pool, **processor)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_with_arms_is_no_route_name_either() -> None:
    pool = pool_of({**SMALL, "name": "auto", "arms": [{"name": "a"}]})
    with pytest.raises(ConfigError, match="'auto' is also in"):
        check(pool)
