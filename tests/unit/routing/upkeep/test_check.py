"""The check of a pool names each doubt with its remedy."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from routoo.routing.pool import ModelSpec, Pool
from routoo.routing.upkeep.check import PoolWarning, pool_warnings
from routoo.routing.upkeep.known_models import KnownModels
from support.tables.tiny_model_table import NAMES, tiny_model_table
from support.tiny_pool import SMALL, tiny_pool

TODAY = date(2026, 11, 30)
KNOWN = KnownModels(("small", "medium", "large"))


def warnings_of(changes: dict[str, Any], *, days: int = 90) -> tuple[PoolWarning, ...]:
    pool = Pool.of((ModelSpec.model_validate({**SMALL, **changes}),))
    return pool_warnings(pool, KNOWN, TODAY, days)


def test_a_pool_without_doubts_has_none() -> None:
    assert pool_warnings(tiny_pool(), KNOWN, TODAY, 90) == ()


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        (
            {"deprecation_date": "2026-12-11"},
            "ends",
            "small ends on 2026-12-11, in 11 days; choose its successor",
        ),
        (
            {"deprecation_date": "2026-11-29"},
            "ends",
            "small ended on 2026-11-29; remove it from the pool",
        ),
        (
            {"usd_per_1m_input_tokens": 0, "usd_per_1m_output_tokens": 0},
            "no_price",
            "small has the price 0 for input and output; set what it costs you",
        ),
        (
            {"provider": "anthropic", "usd_per_1m_cache_write_tokens": 3.75},
            "no_cache_write_price",
            "small has no usd_per_1m_cache_write_1h_tokens, which anthropic asks more for",
        ),
        (
            {"max_output_tokens": 4097},
            "output_above_window",
            "small has max_output_tokens 4,097 above its context_window_tokens 4,096; correct",
        ),
        (
            {"name": "new"},
            "unknown_to_predictor",
            "new is not known to the predictor; remove it from the pool, set its predictor_name,",
        ),
        (
            {"predictor_name": "old"},
            "unknown_to_predictor",
            "small is not known to the predictor (as old); remove it",
        ),
    ],
)
def test_a_doubt_is_one_line_with_its_remedy(
    changes: dict[str, Any], kind: str, message: str
) -> None:
    (warning,) = warnings_of(changes)
    assert warning.kind == kind
    assert warning.model in (SMALL["name"], changes.get("name"))
    assert warning.message.startswith(message)
    assert "\n" not in warning.message


@pytest.mark.parametrize("days", [0, 1, 90])
def test_a_model_that_ends_later_is_no_doubt(days: int) -> None:
    last = TODAY + timedelta(days=days)
    assert len(warnings_of({"deprecation_date": last}, days=days)) == 1
    assert warnings_of({"deprecation_date": last + timedelta(days=1)}, days=days) == ()


def test_a_free_input_alone_or_a_full_window_is_no_doubt() -> None:
    assert warnings_of({"usd_per_1m_input_tokens": 0, "max_output_tokens": 4096}) == ()


def test_every_doubt_is_told_in_the_pool_s_order() -> None:
    found = pool_warnings(tiny_pool(), KnownModels(("medium",)), TODAY, 90)
    assert [one.model for one in found] == ["small", "large"]
    assert pool_warnings(tiny_pool(), None, TODAY, 90) == ()


def test_a_model_that_the_table_knows_by_an_alias_is_no_doubt_and_a_bare_one_is() -> None:
    known = KnownModels(NAMES, tiny_model_table())
    pool = Pool.of(
        tuple(
            ModelSpec.model_validate({**SMALL, "name": name, "predictor_name": asked})
            for name, asked in (("a", "Large@high"), ("b", "lab/guessed"), ("c", "lab/smal"))
        )
    )
    bare, unknown = pool_warnings(pool, known, TODAY, 90)
    assert (bare.model, bare.kind) == ("b", "no_evidence")
    assert bare.message.startswith("b has no graded prompts and no published averages")
    assert (unknown.model, unknown.kind) == ("c", "unknown_to_predictor")
    assert "(the nearest names are lab/small" in unknown.message


def test_arms_are_known_by_their_rows_or_by_that_of_their_model() -> None:
    known = KnownModels(("lab/a", "lab/b@high"))
    arms = [{"name": "high", "effort": "high"}, {"name": "low", "effort": "low"}]
    slip = [{"name": "x", "predictor_name": "lab/a@slip"}]
    pool = Pool.of(
        tuple(
            ModelSpec.model_validate({**SMALL, "name": name, "arms": own})
            for name, own in (("lab/a", arms), ("lab/b", arms), ("lab/c", arms))
        )
    )
    (unknown,) = pool_warnings(pool, known, TODAY, 90)
    assert (unknown.model, unknown.kind) == ("lab/c", "unknown_to_predictor")
    named = Pool.of((ModelSpec.model_validate({**SMALL, "name": "lab/a", "arms": slip}),))
    (wrong,) = pool_warnings(named, known, TODAY, 90)
    assert wrong.message.startswith("lab/a@x is not known to the predictor (as lab/a@slip)")
