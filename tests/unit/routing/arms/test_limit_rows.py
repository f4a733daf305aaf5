"""Limits of providers and models in the pool file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from routoo.errors import PoolError
from routoo.routing.arms.usage_limits import KINDS
from routoo.routing.pool import load_pool, parse_pool
from support.tiny_pool import ARMED, LARGE, MEDIUM, SMALL

if TYPE_CHECKING:
    from pathlib import Path


def text_of(models: list[dict[str, Any]], **more: Any) -> str:
    return yaml.safe_dump({"models": models, **more})


def test_a_pool_without_limits_has_none() -> None:
    pool = load_pool()
    assert pool.limits is None
    assert not any(kind in model.model_dump() for model in pool.models for kind in KINDS)


def test_a_provider_limits_all_its_models_and_a_model_all_its_arms(tmp_path: Path) -> None:
    medium = {**ARMED[1], "provider": "acme", "tokens_per_minute": 500}
    path = tmp_path / "pool.yaml"
    path.write_text(
        text_of(
            [{**SMALL, "provider": "acme"}, medium, LARGE],
            providers={"acme": {"requests_per_minute": 100, "max_concurrent": 8}},
        )
    )
    rows = load_pool(path).limits
    assert rows is not None
    assert rows.names == (
        "requests_per_minute[acme]",
        "max_concurrent[acme]",
        "tokens_per_minute[medium]",
    )
    assert rows.limits.tolist() == [100, 8, 500]
    assert rows.concurrent.tolist() == [False, True, False]
    assert rows.members.tolist() == [
        [True, True, True, True, False],
        [True, True, True, True, False],
        [False, True, True, True, False],
    ]


@pytest.mark.parametrize(
    ("providers", "message"),
    [
        ({"acme": {"requests_per_minute": 0}}, "requests_per_minute"),
        ({"acme": {"requests_per_minute": -1}}, "requests_per_minute"),
        ({"acme": {"requests_per_minute": 1.5}}, "requests_per_minute"),
        ({"acme": {"requests_per_minute": True}}, "requests_per_minute"),
        ({"acme": {"requests_per_hour": 5}}, "requests_per_hour"),
        ({"acme": {}}, "sets no limit; set one of requests_per_minute"),
        ({"acme": {"max_concurrent": None}}, "sets no limit"),
        ({"acem": {"max_concurrent": 5}}, "no model is of provider 'acem'; .* are acme"),
        ({"": {"max_concurrent": 5}}, "no model is of provider ''"),
    ],
)
def test_bad_limits_are_named(providers: dict[str, Any], message: str) -> None:
    text = text_of([{**SMALL, "provider": "acme"}, {**MEDIUM, "provider": "acme"}])
    with pytest.raises(PoolError, match=message):
        parse_pool(text + yaml.safe_dump({"providers": providers}), "pool.yaml")


def test_a_limit_of_a_model_and_of_a_provider_of_its_name_would_be_mixed_up() -> None:
    models = [{**SMALL, "provider": "small", "max_concurrent": 3}]
    with pytest.raises(PoolError, match="'small' has limits, and so has a provider"):
        parse_pool(text_of(models, providers={"small": {"max_concurrent": 5}}), "pool.yaml")


@pytest.mark.parametrize(("limit", "replicas", "workers"), [(10, 1, 3), (7, 2, 2), (9, 1, 1)])
def test_workers_divide_a_limit_without_losing_any(limit: int, replicas: int, workers: int) -> None:
    pool = parse_pool(text_of([{**SMALL, "max_concurrent": limit}]), "pool.yaml")
    assert pool.limits is not None
    shares = [float(pool.limits.shares(replicas, workers, one)[0]) for one in range(workers)]
    assert sum(shares) == limit // replicas
    assert max(shares) - min(shares) <= 1
