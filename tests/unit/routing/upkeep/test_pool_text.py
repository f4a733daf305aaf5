"""Pool files are edited in place: the lines that an edit is not about stay as they are."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from routoo.errors import PoolError
from routoo.routing.pool import ModelSpec
from routoo.routing.upkeep.pool_text import PoolText
from support.tiny_pool import LARGE, SMALL, SPECS

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """\
# Ours.
models:  # the best first
  # The cheap one.
  - name: small   # as callers say
    usd_per_1m_input_tokens: 0.10
    usd_per_1m_output_tokens: 0.2   # since May
    price_status: stated
    context_window_tokens: 4096
    capabilities: [chat, "audio"]
    time_to_first_token_ms: 100
    time_per_output_token_ms: 2
    # Measured in May.

  # The good one.
  - usd_per_1m_output_tokens: 30
    name: 'large'
    usd_per_1m_input_tokens: 1.0e+1
    price_status: assumed
    context_window_tokens: 131072
    capabilities:
      - chat
      - tools  # since June
    time_to_first_token_ms: 500
    time_per_output_token_ms: 10
"""
FLOW = """\
models:
- {name: small, usd_per_1m_input_tokens: 1, usd_per_1m_output_tokens: 2, price_status: stated,
   context_window_tokens: 4096, capabilities: [chat], time_to_first_token_ms: 1,
   time_per_output_token_ms: 2 }
- {name: other, usd_per_1m_input_tokens: 1, usd_per_1m_output_tokens: 2, price_status: stated,
   context_window_tokens: 4096, time_to_first_token_ms: 1, time_per_output_token_ms: 2}
"""


def read(text: str) -> PoolText:
    return PoolText.of("pool.yaml", text)


def refusal(text: PoolText, changes: dict[str, dict[str, Any]]) -> str:
    with pytest.raises(PoolError) as caught:
        text.with_fields(changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_value_is_replaced_and_its_comment_stays() -> None:
    after = read(TEXT).with_fields({"small": {"usd_per_1m_output_tokens": 0.25}})
    assert after.text == TEXT.replace("0.2   # since May", "0.25   # since May")
    assert after.pool.models[0].usd_per_1m_output_tokens == 0.25


def test_a_missing_key_goes_below_the_one_that_it_belongs_to() -> None:
    after = read(TEXT).with_fields(
        {
            "small": {
                "usd_per_1m_cache_write_tokens": 0.125,
                "usd_per_1m_cached_input_tokens": 0.01,
                "price_source": "page: 7, 'list'",
                "deprecation_date": date(2027, 4, 30),
            }
        }
    )
    lines = after.text.splitlines()
    assert lines[4:7] == [
        "    usd_per_1m_input_tokens: 0.10",
        "    usd_per_1m_cached_input_tokens: 0.01",
        "    usd_per_1m_cache_write_tokens: 0.125",
    ]
    assert lines[11:13] == [
        '    capabilities: [chat, "audio"]',
        "    deprecation_date: 2027-04-30",
    ]
    assert set(TEXT.splitlines()) <= set(lines)


def test_several_models_change_at_once() -> None:
    after = read(TEXT).with_fields(
        {
            "large": {"context_window_tokens": 200000, "max_output_tokens": 8000},
            "small": {"max_output_tokens": 1000},
        }
    )
    assert [one.max_output_tokens for one in after.pool.models] == [1000, 8000]
    assert after.pool.models[1].context_window_tokens == 200000


def test_capabilities_grow_in_the_form_that_they_have() -> None:
    after = read(TEXT).with_fields(
        {
            "small": {"capabilities": ("chat", "audio", "json")},
            "large": {"capabilities": ("chat", "tools", "vision")},
        }
    )
    assert "    capabilities: [chat, audio, json]\n" in after.text
    assert "      - tools  # since June\n      - vision\n    time_to" in after.text


def test_models_in_braces_are_edited_within_them() -> None:
    after = read(FLOW).with_fields(
        {"small": {"max_output_tokens": 7, "price_source": "a, b: c"}, "other": {"provider": "x"}}
    )
    assert after.pool.models[0].price_source == "a, b: c"
    assert after.pool.models[0].max_output_tokens == 7
    assert after.pool.models[1].provider == "x"
    assert read(FLOW).without("small").pool.names == ("other",)


def test_ends_of_lines_of_another_system_stay() -> None:
    text = TEXT.replace("\n", "\r\n")
    edited = read(text).with_fields({"small": {"max_output_tokens": 9}}).with_model(SMALL_TWIN)
    for after in (edited, read(text).without("small"), read(text).without("large")):
        assert after.text.count("\n") == after.text.count("\r\n")


SMALL_TWIN = {**SMALL, "name": "twin"}


def test_a_new_model_stands_at_the_end_as_the_others_do() -> None:
    after = read(TEXT).with_model(SMALL_TWIN)
    assert after.text.startswith(TEXT.rstrip("\n"))
    added = after.text[len(TEXT.rstrip("\n")) :]
    assert added.startswith("\n\n  - name: twin\n    usd_per_1m_input_tokens: 0.1\n")
    assert after.pool.names == ("small", "large", "twin")


def test_a_new_model_needs_a_new_name_and_right_figures() -> None:
    with pytest.raises(PoolError, match="'small' stands already"):
        read(TEXT).with_model(SMALL)
    with pytest.raises(PoolError, match=r"usd_per_1m_input_tokens: .*given: -1"):
        read(TEXT).with_model({**SMALL_TWIN, "usd_per_1m_input_tokens": -1})


def test_a_removed_model_takes_its_comments_along() -> None:
    first, last = read(TEXT).without("small"), read(TEXT).without("large")
    assert first.text == TEXT[: TEXT.index("  # The cheap")] + TEXT[TEXT.index("  # The good") :]
    assert last.text == TEXT[: TEXT.index("\n  # The good")]


def test_the_last_model_and_an_unknown_one_stay() -> None:
    with pytest.raises(
        PoolError, match=r"pool\.yaml: unknown model 'x'; the pool has small, large"
    ):
        read(TEXT).without("x")
    with pytest.raises(PoolError, match="'small' is the last model"):
        read(TEXT).without("large").without("small")


def test_a_wrong_value_is_refused() -> None:
    assert "max_output_tokens" in refusal(read(TEXT), {"small": {"max_output_tokens": 0}})


@pytest.mark.parametrize(
    "text",
    [
        yaml.safe_dump({"models": [SMALL, LARGE]}, default_flow_style=True, width=10**6),
        TEXT.replace('[chat, "audio"]', "&able [chat]").replace(
            "\n      - chat\n      - tools  # since June", " *able"
        ),
    ],
    ids=["the list in brackets", "an alias"],
)
def test_what_cannot_be_edited_safely_is_left_to_the_hand(text: str) -> None:
    told = refusal(read(text), {"large": {"capabilities": ("chat", "json")}})
    assert "cannot be edited safely" in told
    assert "edit the file by hand" in told


def test_a_file_that_is_no_pool_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "pool.yaml"
    for content in (b"\xff", b"models: [", b"models: []", b"- 1"):
        path.write_bytes(content)
        with pytest.raises(PoolError) as caught:
            PoolText.read(path)
        assert str(caught.value).startswith(f"{path}:")
        assert "\n" not in str(caught.value)
    with pytest.raises(PoolError, match="cannot be read: No such file"):
        PoolText.read(tmp_path / "none.yaml")


PRICES = st.floats(0, 1e6, allow_subnormal=False)
WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Co", "Cn"]), max_size=30
)
STYLES = st.sampled_from([None, False])


@given(
    flow=STYLES,
    price=PRICES,
    cached=PRICES,
    words=WORDS,
    tokens=st.integers(1, 2**31 - 1),
    which=st.sampled_from([spec["name"] for spec in SPECS]),
)
def test_any_value_survives_and_other_models_stay(
    *, flow: bool | None, price: float, cached: float, words: str, tokens: int, which: str
) -> None:
    text = yaml.safe_dump({"models": list(SPECS)}, default_flow_style=flow, sort_keys=False)
    before = read(text)
    fields = {
        "usd_per_1m_input_tokens": price,
        "usd_per_1m_cached_input_tokens": cached,
        "price_source": words,
        "max_output_tokens": tokens,
    }
    after = before.with_fields({which: fields})
    for old, new in zip(before.pool.models, after.pool.models, strict=True):
        changed = {**old.model_dump(), **fields} if old.name == which else old.model_dump()
        assert new == ModelSpec.model_validate(changed)
    twin = after.with_model({**LARGE, "name": f"twin{words}", "price_source": words})
    assert twin.pool.models[-1].price_source == words
    assert twin.without(twin.pool.names[-1]).pool.models == after.pool.models
