"""Catalogues on this machine tell a model's figures, by its maker's name or by an entry's key."""

from __future__ import annotations

import socket
import sys
import threading
from datetime import date
from typing import TYPE_CHECKING, NoReturn

import pytest

from routoo.errors import PoolError
from routoo.routing.upkeep.catalogues import Catalogues, installed_catalogues
from routoo.routing.upkeep.entry import CatalogueEntry, named_entry
from routoo.routing.upkeep.genai_prices import GenaiPrices
from routoo.routing.upkeep.litellm_table import LitellmTable
from support.tables.litellm_table import write_table

if TYPE_CHECKING:
    from pathlib import Path

DAY = date(2026, 11, 30)


@pytest.fixture
def table(tmp_path: Path) -> LitellmTable:
    return LitellmTable(write_table(tmp_path))


@pytest.fixture
def both(table: LitellmTable) -> Catalogues:
    return Catalogues((GenaiPrices(DAY), table))


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("litellm 1.110.2: zai/glm-5", ("litellm", "zai/glm-5")),
        ("genai-prices 0.2.3: zai:GLM-5", ("genai-prices", "zai:GLM-5")),
        ("genai-prices:groq:openai/gpt-oss-120b", ("genai-prices", "groq:openai/gpt-oss-120b")),
        ("litellm 2026-11-30: a/b", ("litellm", "a/b")),
        ("", None),
        ("our contract of 2026", None),
        ("https://docs.example/pricing", None),
        ("litellm", None),
        ("litellm 1.0: two words", None),
    ],
)  # fmt: skip
def test_a_price_source_names_an_entry_or_none(text: str, entry: tuple[str, str] | None) -> None:
    assert named_entry(text) == entry


def test_an_entry_s_source_names_it() -> None:
    entry = CatalogueEntry("litellm", "1.110.2", "somehost/Big-Model", "somehost")
    assert named_entry(entry.source) == ("litellm", "somehost/Big-Model")


def test_the_table_tells_all_figures_to_the_last_digit(table: LitellmTable) -> None:
    entry = table.find("zai", "GLM-9")
    assert entry is not None
    assert entry.figures() == {
        "usd_per_1m_input_tokens": 0.1,
        "usd_per_1m_cached_input_tokens": 0.02,
        "usd_per_1m_output_tokens": 3.2,
        "context_window_tokens": 200000,
        "max_output_tokens": 128000,
        "deprecation_date": date(2027, 6, 1),
    }
    assert entry.capabilities == ("tools", "reasoning")


def test_the_table_tells_when_prices_are_others(table: LitellmTable) -> None:
    entry = table.find("openai", "gpt-9")
    assert entry is not None
    assert entry.figures() == {
        "usd_per_1m_input_tokens": 5.0,
        "usd_per_1m_cached_input_tokens": 0.5,
        "usd_per_1m_audio_input_tokens": 40.0,
        "usd_per_1m_output_tokens": 30.0,
        "tiers": (
            {
                "above_input_tokens": 272_000,
                "usd_per_1m_input_tokens": 10.0,
                "usd_per_1m_cached_input_tokens": 1.0,
                "usd_per_1m_audio_input_tokens": 80.0,  # rises as the input does
                "usd_per_1m_output_tokens": 45.0,
            },
        ),
        "service_tiers": {"flex": 0.5, "priority": 2.5},  # of 2.0 and 2.5 the higher one
        "context_window_tokens": 1_000_000,
    }
    entry = table.find("deepseek", "deepseek-v9")
    assert entry is not None
    assert entry.hours == (
        {"start": "04:00", "end": "06:00", "multiplier": 0.5, "days": ["mon", "fri"]},
        {"start": "10:00", "end": "00:00", "multiplier": 0.5, "days": ["mon", "fri"]},
        {"start": "00:00", "end": "00:00", "multiplier": 0.5, "days": ["sat", "sun"]},
    )


def test_the_package_tells_when_prices_are_others() -> None:
    catalogue = GenaiPrices(DAY)
    by_hour = catalogue.find("deepseek", "deepseek-v4-pro")
    assert by_hour is not None
    assert by_hour.hours == (
        {"start": "04:00", "end": "06:00", "multiplier": 0.5},
        {"start": "10:00", "end": "01:00", "multiplier": 0.5},
    )
    long = catalogue.find("google", "gemini-3.1-pro-preview")
    assert long is not None
    assert long.tiers == (
        {
            "above_input_tokens": 200_000,
            "usd_per_1m_input_tokens": 4.0,
            "usd_per_1m_cached_input_tokens": 0.4,
            "usd_per_1m_output_tokens": 18.0,
        },
    )


def test_the_table_s_sellers_have_the_names_that_pools_have(table: LitellmTable) -> None:
    entry = table.find("google", "gemini-9-flash")
    assert entry is not None
    assert (entry.key, entry.seller) == ("gemini/gemini-9-flash", "google")
    assert entry.deprecation_date is None, "what is no day is not known"
    assert table.find("google", "gemini-9") is None


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    with pytest.raises(PoolError, match="cannot be read: No such file"):
        LitellmTable(path)
    for content in ("", "[]", '{"a": 1}'):
        path.write_text(content)
        with pytest.raises(PoolError, match=r"is not LiteLLM's table; name its model_prices"):
            LitellmTable(path)


def test_the_package_tells_a_maker_s_prices() -> None:
    entry = GenaiPrices(DAY).find("anthropic", "claude-opus-4-8")
    assert entry is not None
    assert entry.key == "anthropic:claude-opus-4-8"
    assert entry.prices() == {
        "usd_per_1m_input_tokens": 5.0,
        "usd_per_1m_cached_input_tokens": 0.5,
        "usd_per_1m_cache_write_tokens": 6.25,
        "usd_per_1m_cache_write_1h_tokens": 10.0,
        "usd_per_1m_output_tokens": 25.0,
    }


def test_a_dated_version_is_found_where_the_package_says_so() -> None:
    catalogue = GenaiPrices(DAY)
    dated = catalogue.find("openai", "gpt-5.2-2025-12-11")
    assert dated is not None
    assert dated.key == "openai:gpt-5.2"
    assert catalogue.find("openai", "gpt-5.2-2020-01-01") is None


def test_a_longer_name_is_another_model() -> None:
    # The package's own rule for this model is a prefix, which would take any longer name.
    assert GenaiPrices(DAY).find("anthropic", "claude-opus-4-8-mini") is None


def test_of_prices_that_change_with_the_hour_the_highest_counts() -> None:
    entry = GenaiPrices(DAY).find("deepseek", "deepseek-v4-pro")
    assert entry is not None
    assert (entry.usd_per_1m_input_tokens, entry.usd_per_1m_output_tokens) == (1.32, 3.96)


def test_the_maker_comes_before_openrouter_and_nothing_is_guessed(both: Catalogues) -> None:
    own, host = both.by_name("z-ai/glm-5"), both.by_name("qwen/qwen3.6-35b-a3b")
    assert own is not None
    assert own.seller == "zai"
    assert host is not None
    assert host.key == "openrouter:qwen/qwen3.6-35b-a3b"
    assert both.by_name("z-ai/glm-99") is None
    assert both.by_name("glm-5") is None
    assert both.by_name("unpriced/model") is None


def test_one_catalogue_fills_what_another_does_not_say_except_prices(both: Catalogues) -> None:
    entry = both.by_name("anthropic/claude-opus-4-8")
    assert entry is not None
    assert entry.usd_per_1m_input_tokens == 5.0
    assert entry.context_window_tokens == 1_000_000
    assert entry.max_output_tokens == 128_000
    assert entry.capabilities == ("json",)


def test_a_named_entry_is_taken_from_its_package_alone(both: Catalogues) -> None:
    entry = both.named("litellm 1.0: claude-opus-4-8", "anthropic/claude-opus-4-8")
    assert entry is not None
    assert entry.usd_per_1m_input_tokens == 9.0
    assert both.named("litellm 1.0: nobody/nothing", "a/b") is None
    assert both.named("genai-prices: nobody:nothing", "a/b") is None
    assert both.named("a page", "anthropic/claude-opus-4-8") is None


@pytest.mark.parametrize(
    ("source", "name", "key"),
    [
        ("litellm 1: gemini/gemini-3.5-flash", "google/my-flash", "google:gemini-3.5-flash"),
        ("litellm 1: claude-opus-4-8", "anthropic/claude-opus-4-8", "anthropic:claude-opus-4-8"),
        ("litellm 1: groq/openai/gpt-oss-120b", "openai/gpt-oss-120b", "groq:openai/gpt-oss-120b"),
        ("litellm 1: otherhost/openai/gpt-oss-120b", "openai/gpt-oss-120b", None),
    ],
)  # fmt: skip
def test_without_its_package_a_seller_is_found_in_another(
    source: str, name: str, key: str | None
) -> None:
    entry = Catalogues((GenaiPrices(DAY),)).same_seller(source, name)
    assert (None if entry is None else entry.key) == key


def test_no_catalogue_is_one_line_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices.data", None)
    monkeypatch.setattr("routoo.routing.upkeep.catalogues.installed_table", lambda: None)
    with pytest.raises(PoolError) as caught:
        installed_catalogues(DAY)
    assert "pip install 'routoo[catalogue]'" in str(caught.value)
    assert "--table" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(installed_catalogues(DAY, write_table(tmp_path))).startswith("litellm ")


def test_nothing_is_asked_over_the_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a catalogue called the network")

    for name in [one for one in sys.modules if one.partition(".")[0] == "genai_prices"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    # Threads of other tests may end meanwhile.
    before = set(threading.enumerate())
    catalogues = installed_catalogues(DAY, write_table(tmp_path))
    assert catalogues.by_name("anthropic/claude-opus-4-8") is not None
    assert set(threading.enumerate()) <= before
    assert "litellm" not in sys.modules
