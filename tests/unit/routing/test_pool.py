"""Pool files are read and checked, and costs and latencies follow from the pool's figures."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml

from routoo.errors import PoolError
from routoo.routing.estimates import costs_usd_of, latencies_ms_of
from routoo.routing.pool import ModelSpec, Pool, load_pool
from support.tiny_pool import LARGE, MEDIUM, SMALL, SPECS, tiny_pool, write_tiny_pool

if TYPE_CHECKING:
    from pathlib import Path


def pool_file(folder: Path, *models: dict[str, Any]) -> Path:
    path = folder / "pool.yaml"
    path.write_text(yaml.safe_dump({"models": list(models)}), encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(PoolError) as caught:
        load_pool(path)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{path}:")
    return text


TIER = {"usd_per_1m_input_tokens": 2, "usd_per_1m_output_tokens": 4}

# Each entry: the second model's difference from a right one, and a part of the error message.
MISTAKES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "negative input price": (
        {"usd_per_1m_input_tokens": -1},
        ["models.1.usd_per_1m_input_tokens", "greater than or equal to 0", "(given: -1)"],
    ),
    "negative output price": (
        {"usd_per_1m_output_tokens": -0.5},
        ["models.1.usd_per_1m_output_tokens", "(given: -0.5)"],
    ),
    "price is not a number": (
        {"usd_per_1m_input_tokens": float("nan")},
        ["models.1.usd_per_1m_input_tokens", "finite"],
    ),
    "infinite price": ({"usd_per_1m_output_tokens": float("inf")}, ["models.1", "finite"]),
    "price in words": ({"usd_per_1m_input_tokens": "cheap"}, ["valid number", "'cheap'"]),
    "price of unknown origin": ({"price_status": "guessed"}, ["'stated' or 'assumed'"]),
    "unknown key": ({"price": 1}, ["models.1.price: unknown key"]),
    "no name": ({"name": ""}, ["models.1.name", "at least 1 character"]),
    "long name": ({"name": "x" * 257}, ["models.1.name", "at most 256 characters"]),
    "no context": ({"context_window_tokens": 0}, ["models.1.context_window_tokens"]),
    "huge context": ({"context_window_tokens": 2**31}, ["models.1.context_window_tokens"]),
    "negative latency": ({"time_to_first_token_ms": -1}, ["models.1.time_to_first_token_ms"]),
    "negative speed": ({"time_per_output_token_ms": -1}, ["models.1.time_per_output_token_ms"]),
    "capability is a number": ({"capabilities": [3]}, ["models.1.capabilities.0", "valid string"]),
    "negative cached price": (
        {"usd_per_1m_cached_input_tokens": -0.1},
        ["models.1.usd_per_1m_cached_input_tokens", "(given: -0.1)"],
    ),
    "negative cache write price": (
        {"usd_per_1m_cache_write_tokens": -1},
        ["models.1.usd_per_1m_cache_write_tokens", "(given: -1)"],
    ),
    "no output at all": ({"max_output_tokens": 0}, ["models.1.max_output_tokens"]),
    "a day of another form": (
        {"deprecation_date": "30.04.2027"},
        ["models.1.deprecation_date", "written as 2027-04-30", "'30.04.2027'"],
    ),
    "a day that is a number": ({"deprecation_date": 20270430}, ["written as 2027-04-30"]),
    "a day with a time": ({"deprecation_date": "2027-04-30T00:00:00"}, ["written as 2027-04-30"]),
    "a day that does not exist": (
        {"deprecation_date": "2027-02-30"},
        ["models.1.deprecation_date", "there is no day 2027-02-30"],
    ),
    "a typo in a price": (
        {"usd_per_1m_cached_tokens": 0.1},
        ["models.1.usd_per_1m_cached_tokens: unknown key"],
    ),
    "a tier without a price": (
        {"tiers": [{"above_input_tokens": 1000, "usd_per_1m_input_tokens": 2}]},
        ["models.1.tiers.0.usd_per_1m_output_tokens", "Field required"],
    ),
    "a tier that lacks what the model prices": (
        {"usd_per_1m_cached_input_tokens": 0.1, "tiers": [{**TIER, "above_input_tokens": 1000}]},
        ["models.1", "tiers.0 has no usd_per_1m_cached_input_tokens, and the model has; set it"],
    ),
    "a typo in a tier": (
        {"tiers": [{**TIER, "above_tokens": 1000}]},
        ["models.1.tiers.0", "Field required"],
    ),
    "tiers that do not rise": (
        {"tiers": [{**TIER, "above_input_tokens": n} for n in (1000, 1000)]},
        ["models.1", "tiers.1.above_input_tokens: the lengths have to rise (1000 after 1000)"],
    ),
    "a service tier for nothing": (
        {"service_tiers": {"batch": 0}},
        ["models.1.service_tiers.batch", "greater than 0"],
    ),
    "a service tier that is none": (
        {"service_tiers": {"default": 0.5}},
        ["models.1.service_tiers", "'default' is the tier of the prices themselves"],
    ),
    "an hour that does not exist": (
        {"hours": [{"start": "25:00", "end": "01:00", "multiplier": 0.5}]},
        ["models.1.hours.0.start", "written as '16:30'", "'25:00'"],
    ),
    "an hour as a number": (
        {"hours": [{"start": 16, "end": "01:00", "multiplier": 0.5}]},
        ["models.1.hours.0.start", "written as '16:30'"],
    ),
    "windows that overlap": (
        {"hours": [{"start": "10:00", "end": "09:00", "multiplier": 0.5}] * 2},
        ["models.1.hours", "two windows overlap on mon at 00:00"],
    ),
    "a negative multiplier": (
        {"hours": [{"start": "10:00", "end": "09:00", "multiplier": -1}]},
        ["models.1.hours.0.multiplier"],
    ),
    "an alias that is a model": (
        {"aliases": ["small"]},
        ["alias 'small' of model 'medium' stands for 'small', too"],
    ),
    "an alias that is a model in other letters": (
        {"aliases": ["Small"]},
        ["alias 'Small' of model 'medium' stands for 'small', too"],
    ),
    "a price that is no": (
        {"usd_per_1m_output_tokens": False},
        ["models.1.usd_per_1m_output_tokens", "has to be a number"],
    ),
    "a price in another unit": (
        {"usd_per_1m_output_tokens": 15e6},
        ["models.1.usd_per_1m_output_tokens", "less than or equal to 1000000"],
    ),
    "a service tier twice": (
        {"service_tiers": {"batch": 0.5, "Batch": 0.6}},
        ["models.1.service_tiers", "'batch' stands twice"],
    ),
    "a window that starts when the day is over": (
        {"hours": [{"start": "24:00", "end": "01:00", "multiplier": 0.5}]},
        ["models.1.hours.0.start", "before 24:00"],
    ),
    "same name": ({"name": "small"}, ["model 'small' stands twice", "names have to be unique"]),
}


@pytest.mark.parametrize(("change", "pieces"), MISTAKES.values(), ids=MISTAKES)
def test_a_wrong_model_is_refused_in_one_line(
    tmp_path: Path, change: dict[str, Any], pieces: list[str]
) -> None:
    message = refusal(pool_file(tmp_path, SMALL, {**MEDIUM, **change}))
    for piece in pieces:
        assert piece in message


@pytest.mark.parametrize("key", ["name", "price_status", "usd_per_1m_input_tokens"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    model = {name: value for name, value in SMALL.items() if name != key}
    assert f"models.0.{key}: Field required" in refusal(pool_file(tmp_path, model))


def test_an_empty_pool_is_refused(tmp_path: Path) -> None:
    assert "models" in refusal(pool_file(tmp_path))


def test_a_file_without_models_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pool.yaml"
    path.write_text("", encoding="utf-8")
    assert "models: Field required" in refusal(path)


def test_a_missing_or_malformed_file_is_a_pool_error(tmp_path: Path) -> None:
    path = tmp_path / "pool.yaml"
    assert "cannot be read: No such file" in refusal(path)
    path.write_text("models: [", encoding="utf-8")
    assert "malformed YAML" in refusal(path)


def test_a_file_and_the_specifications_make_the_same_pool(tmp_path: Path) -> None:
    pool = load_pool(write_tiny_pool(tmp_path / "pool.yaml"))
    assert pool.models == tiny_pool().models
    assert pool.names == ("small", "medium", "large")
    assert pool.index == {"small": 0, "medium": 1, "large": 2}


def test_a_file_without_the_optional_figures_reads_as_before(tmp_path: Path) -> None:
    (model,) = load_pool(pool_file(tmp_path, SMALL)).models
    assert model.provider == ""
    assert model.price_source == ""
    optional = (
        model.usd_per_1m_cached_input_tokens,
        model.usd_per_1m_cache_write_tokens,
        model.max_output_tokens,
        model.deprecation_date,
    )
    assert optional == (None, None, None, None)


def test_the_optional_figures_are_carried(tmp_path: Path) -> None:
    figures = {
        "usd_per_1m_cached_input_tokens": 0.01,
        "usd_per_1m_cache_write_tokens": 0.125,
        "max_output_tokens": 1024,
        "tokens_per_image": 258.0,
        "tokens_per_audio_s": 25.0,
        "tokens_per_video_s": 290.0,
        "deprecation_date": "2027-04-30",
        "price_source": "a page",
    }
    (model,) = load_pool(pool_file(tmp_path, {**SMALL, **figures})).models
    assert model.deprecation_date == date(2027, 4, 30)
    assert model.model_dump(mode="json").items() >= figures.items()


@pytest.mark.parametrize(
    ("given", "provider"),
    [
        ({"name": "z-ai/glm-5"}, "z-ai"),
        ({"name": "a/b/c"}, "a"),
        ({"name": "gpt-4o"}, ""),
        ({"name": "eu/gpt-4o", "provider": "openai"}, "openai"),
    ],
)
def test_the_provider_is_the_name_s_first_part_unless_it_is_given(
    tmp_path: Path, given: dict[str, str], provider: str
) -> None:
    (model,) = load_pool(pool_file(tmp_path, {**SMALL, **given})).models
    assert model.provider == provider


def test_the_figures_that_are_only_carried_change_no_column_and_no_digest() -> None:
    figures = {"usd_per_1m_cached_input_tokens": 0.01, "deprecation_date": "2027-04-30"}
    plain = Pool.of((ModelSpec.model_validate(SMALL),))
    told = Pool.of((ModelSpec.model_validate({**SMALL, **figures}),))
    assert told.digest == plain.digest


def test_the_shipped_pool_reaches_from_cheap_to_frontier_and_ends_nowhere_soon() -> None:
    pool = load_pool()
    assert 12 <= len(pool.names) <= 16
    assert len({model.provider for model in pool.models}) >= 6
    inputs, outputs = pool.prices.usd["input"], pool.prices.usd["output"]
    assert (inputs > 0).all()
    assert (outputs > 0).all()
    # Routing pays where prices differ.
    assert outputs.max() >= 100 * outputs.min()
    for model in pool.models:
        assert model.name == model.name.lower()
        assert model.price_source
        assert (model.max_output_tokens or 0) <= model.context_window_tokens
        assert "chat" in model.capabilities
    ends = [model.deprecation_date for model in pool.models if model.deprecation_date]
    assert min(ends) > date(2026, 11, 30) + timedelta(days=90)


def test_costs_are_tokens_times_prices() -> None:
    input_tokens = np.array([1000.0, 0.0])
    output_tokens = np.array([[100.0, 200.0, 300.0], [0.0, 0.0, 1e6]])
    costs = costs_usd_of(tiny_pool(), input_tokens, output_tokens, 0)
    expected = [
        [
            1000 * SPECS[j]["usd_per_1m_input_tokens"] / 1e6
            + tokens * SPECS[j]["usd_per_1m_output_tokens"] / 1e6
            for j, tokens in enumerate(row)
        ]
        for row in ([100, 200, 300],)
    ]
    np.testing.assert_allclose(costs[0], expected[0], rtol=1e-12)
    np.testing.assert_allclose(costs[1], [0.0, 0.0, 30.0], rtol=1e-12)
    assert output_tokens[0, 0] == 100.0, "the caller's array is not written to"


def test_latency_is_the_first_token_and_the_others() -> None:
    latencies = latencies_ms_of(tiny_pool(), np.array([[10.0, 20.0, 0.0]]))
    np.testing.assert_array_equal(latencies, [[120.0, 300.0, 500.0]])


def test_names_and_capabilities_become_masks() -> None:
    pool = tiny_pool()
    np.testing.assert_array_equal(pool.holds(("large", "small", "large")), [True, False, True])
    assert sorted(pool.capabilities) == ["audio", "chat", "tools", "vision"]
    np.testing.assert_array_equal(pool.capabilities["tools"], [False, True, True])


def test_columns_find_the_models_wherever_the_predictor_has_them() -> None:
    columns = tiny_pool().columns_in(("other", "large", "small", "medium"))
    np.testing.assert_array_equal(columns, [2, 3, 1])


def test_a_deployment_with_a_name_of_its_own_uses_its_predictor_name(tmp_path: Path) -> None:
    pool = load_pool(pool_file(tmp_path, {**LARGE, "name": "prod-eu", "predictor_name": "large"}))
    assert pool.names == ("prod-eu",)
    np.testing.assert_array_equal(pool.columns_in(("small", "large")), [1])


def test_a_model_that_the_predictor_does_not_know_is_named() -> None:
    with pytest.raises(PoolError) as caught:
        tiny_pool().columns_in(("small", "large"))
    assert str(caught.value).startswith(
        "pool model 'medium' is not among the predictor's 2 models; remove it"
    )


def test_a_time_of_the_day_is_read_with_and_without_quotation_marks(tmp_path: Path) -> None:
    path = pool_file(tmp_path, SMALL)
    path.write_text(
        path.read_text(encoding="utf-8")
        + "  hours: [{start: 16:30, end: '00:30', multiplier: 0.5, days: [mon]}]\n",
        encoding="utf-8",
    )
    (window,) = load_pool(path).prices.tariffs[0].hours
    assert (window.start_minute, window.end_minute, window.days) == (990, 30, (0,))


ANSWERS = [
    ({}, "small", 0),
    ({}, "SMALL", 0),
    ({}, "gpt-9", None),
    ({"name": "openai/gpt-5"}, "gpt-5", 1),
    ({"name": "openai/gpt-5"}, "gpt-5-2025-08-07", None),
    ({"name": "openai/gpt-5", "aliases": ["gpt-5-2025-08-07"]}, "gpt-5-2025-08-07", 1),
    ({"aliases": ["models/medium-2"]}, "medium-2", 1),
]


@pytest.mark.parametrize(("change", "name", "column"), ANSWERS)
def test_a_model_answers_to_its_names(change: dict[str, Any], name: str, column: int) -> None:
    specs = (SMALL, {**MEDIUM, **change}, LARGE)
    pool = Pool.of(tuple(ModelSpec.model_validate(spec) for spec in specs))
    assert pool.answering(name) == column


def test_a_name_of_two_models_is_that_of_the_decided_one() -> None:
    specs = ({**SMALL, "name": "a/same"}, {**MEDIUM, "name": "b/same"})
    pool = Pool.of(tuple(ModelSpec.model_validate(spec) for spec in specs))
    assert [pool.answering("same", one) for one in (0, 1, None)] == [0, 1, None]
    assert pool.answering("b/same", 0) == 1
