"""A pool follows its catalogue in a diff that can be read, and what nobody knows stays."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from routoo.routing.pool import DEFAULT_POOL
from routoo.routing.upkeep.catalogues import Catalogues
from routoo.routing.upkeep.genai_prices import GenaiPrices
from routoo.routing.upkeep.litellm_table import LitellmTable
from routoo.routing.upkeep.pool_text import PoolText
from routoo.routing.upkeep.sync import FieldChange, synced
from support.tables.litellm_table import write_table

if TYPE_CHECKING:
    from pathlib import Path

DAY = date(2026, 11, 30)
POOL = """\
models:
  - name: z-ai/glm-9  # ours
    usd_per_1m_input_tokens: 0.5
    usd_per_1m_output_tokens: 3.0
    price_status: assumed
    context_window_tokens: 100000
    capabilities: [chat, mine]
    time_to_first_token_ms: 1
    time_per_output_token_ms: 1

  - name: ours/big
    usd_per_1m_input_tokens: 4
    usd_per_1m_output_tokens: 8
    price_status: stated
    price_source: 'litellm 1.0: somehost/Big-Model'
    context_window_tokens: 1000
    max_output_tokens: 7
    deprecation_date: 2027-01-01
    time_to_first_token_ms: 1
    time_per_output_token_ms: 1

  - name: ours/agreed
    usd_per_1m_input_tokens: 4
    usd_per_1m_output_tokens: 8
    price_status: stated
    price_source: our contract
    context_window_tokens: 1000
    time_to_first_token_ms: 1
    time_per_output_token_ms: 1

  - name: ours/unknown
    usd_per_1m_input_tokens: 4
    usd_per_1m_output_tokens: 8
    price_status: stated
    context_window_tokens: 1000
    time_to_first_token_ms: 1
    time_per_output_token_ms: 1

  - name: ours/gone
    usd_per_1m_input_tokens: 4
    usd_per_1m_output_tokens: 8
    price_status: stated
    price_source: 'litellm 1.0: somehost/Gone'
    context_window_tokens: 1000
    time_to_first_token_ms: 1
    time_per_output_token_ms: 1
"""


@pytest.fixture
def table(tmp_path: Path) -> Catalogues:
    return Catalogues((LitellmTable(write_table(tmp_path)),))


def test_a_model_gets_its_maker_s_figures_and_tells_their_source(table: Catalogues) -> None:
    sync = synced(PoolText.of("pool.yaml", POOL), table)
    model = sync.after.pool.models[0]
    assert (model.usd_per_1m_input_tokens, model.usd_per_1m_output_tokens) == (0.1, 3.2)
    assert model.usd_per_1m_cached_input_tokens == 0.02
    assert (model.context_window_tokens, model.max_output_tokens) == (200000, 128000)
    assert model.deprecation_date == date(2027, 6, 1)
    assert model.capabilities == ("chat", "mine", "tools", "reasoning")
    assert model.price_status == "stated"
    assert model.price_source.endswith(": zai/glm-9")
    assert {change.model for change in sync.changes} == {"z-ai/glm-9"}
    assert sync.after.pool.models[1:] == sync.before.pool.models[1:]


def test_a_figure_that_the_catalogue_does_not_have_stays(table: Catalogues) -> None:
    model = synced(PoolText.of("pool.yaml", POOL), table).after.pool.models[1]
    assert (model.max_output_tokens, model.deprecation_date) == (7, date(2027, 1, 1))


def test_tiers_and_hours_follow_the_catalogue_once(table: Catalogues) -> None:
    text = "models:\n" + "\n".join(
        f"""\
  - name: {name}
    usd_per_1m_input_tokens: 1
    usd_per_1m_output_tokens: 1
    tiers:
      - above_input_tokens: 1000
        usd_per_1m_input_tokens: 2  # of last year
        usd_per_1m_output_tokens: 2
    price_status: assumed
    context_window_tokens: 1000
    time_to_first_token_ms: 1
    time_per_output_token_ms: 1
"""
        for name in ("openai/gpt-9", "deepseek/deepseek-v9")
    )
    after = synced(PoolText.of("pool.yaml", text), table).after
    first, second = (model.tariff for model in after.pool.models)
    assert [step.above_input_tokens for step in first.steps] == [272_000]
    assert dict(first.service_tiers) == {"flex": 0.5, "priority": 2.5}
    assert [window.days for window in second.hours] == [(0, 4), (0, 4), (5, 6)]
    again = synced(after, table)
    assert (again.changes, again.diff) == ((), "")


def test_what_no_catalogue_has_is_listed_with_the_reason(table: Catalogues) -> None:
    kept = synced(PoolText.of("pool.yaml", POOL), table).kept
    assert list(kept) == ["ours/agreed", "ours/unknown", "ours/gone"]
    assert kept["ours/agreed"] == (
        "its prices are from 'our contract'; empty price_source to look it up"
    )
    assert kept["ours/unknown"] == "no catalogue here has a model of this name"
    assert "somehost/Gone', which no catalogue here has" in kept["ours/gone"]


def test_the_diff_changes_the_lines_that_differ_and_no_other(table: Catalogues) -> None:
    sync = synced(PoolText.of("pool.yaml", POOL), table)
    lines = sync.diff.splitlines()
    assert lines[:2] == ["--- pool.yaml", "+++ pool.yaml"]
    assert [line for line in lines[2:] if line.startswith("-")] == [
        "-    usd_per_1m_input_tokens: 0.5",
        "-    usd_per_1m_output_tokens: 3.0",
        "-    price_status: assumed",
        "-    context_window_tokens: 100000",
        "-    capabilities: [chat, mine]",
    ]
    assert synced(sync.after, table).diff == ""


def test_a_price_that_jumps_is_marked(table: Catalogues) -> None:
    changes = synced(PoolText.of("pool.yaml", POOL), table).changes
    assert [one.field for one in changes if one.is_jump] == ["usd_per_1m_input_tokens"]


@pytest.mark.parametrize(
    ("field", "old", "new", "is_jump"),
    [
        ("usd_per_1m_input_tokens", 1.0, 3.0, False),
        ("usd_per_1m_input_tokens", 1.0, 3.01, True),
        ("usd_per_1m_output_tokens", 3.01, 1.0, True),
        ("usd_per_1m_output_tokens", 0.0, 1.0, True),
        ("usd_per_1m_cached_input_tokens", None, 1.0, False),
        ("context_window_tokens", 1000, 9000, False),
    ],
)
def test_a_jump_is_a_price_s_change_by_more_than_three(
    field: str, old: float | None, new: float, *, is_jump: bool
) -> None:
    assert FieldChange("a", field, old, new).is_jump is is_jump


def test_another_package_changes_the_same_seller_s_prices_and_nothing_else() -> None:
    text = POOL.replace("ours/big", "anthropic/claude-opus-4-8").replace(
        "somehost/Big-Model", "claude-opus-4-8"
    )
    sync = synced(PoolText.of("pool.yaml", text), Catalogues((GenaiPrices(DAY),)))
    model = sync.after.pool.models[1]
    assert (model.usd_per_1m_input_tokens, model.usd_per_1m_output_tokens) == (5.0, 25.0)
    assert (model.context_window_tokens, model.max_output_tokens) == (1000, 7)
    assert model.price_source.startswith("genai-prices ")


def test_the_pool_of_2026_has_the_prices_of_the_package_that_is_pinned() -> None:
    before = PoolText.read(DEFAULT_POOL)
    sync = synced(before, Catalogues((GenaiPrices(DAY),)))
    assert sync.changes == ()
    assert len(sync.kept) < len(before.pool.models) / 2
