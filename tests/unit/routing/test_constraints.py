"""Constraints narrow the models, and the one that removes the last model is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.errors import InvalidRequestError
from routoo.routing.constraints import check_names, narrow
from routoo.routing.estimates import Estimates, costs_usd_of, latencies_ms_of
from routoo.routing.request import PromptRequest
from support.tiny_pool import SPECS, tiny_pool

POOL = tiny_pool()
NAMES = POOL.names


def request(**constraints: Any) -> PromptRequest:
    return PromptRequest("p", constraints=constraints)


def estimates(n: int, output_tokens: float = 100.0, input_tokens: float = 100.0) -> Estimates:
    """Makes estimates with equal rows; the scores are .5 .6 .7."""
    tokens = np.full((n, 3), output_tokens)
    inputs = np.full((n, 3), input_tokens)
    return Estimates(
        scores=np.tile([0.5, 0.6, 0.7], (n, 1)),
        output_tokens=tokens,
        costs_usd=costs_usd_of(POOL, inputs, tokens, 0),
        latencies_ms=latencies_ms_of(POOL, tokens),
        input_tokens=inputs,
    )


# Costs at 100 + 100 tokens: 3e-5, 3e-4, 4e-3 USD; latencies: 300, 700, 1500 ms.
@pytest.mark.parametrize(
    ("constraints", "kept"),
    [
        ({}, "small medium large"),
        ({"allowed_models": ("large", "small")}, "small large"),
        ({"denied_models": ("large", "small")}, "medium"),
        ({"allowed_models": ("small", "medium"), "denied_models": ("small",)}, "medium"),
        ({"required_capabilities": ("tools",)}, "medium large"),
        ({"required_capabilities": ("tools", "vision")}, "large"),
        ({"max_cost_usd": 3e-4}, "small medium"),
        ({"max_cost_usd": 2.99e-4}, "small"),
        ({"max_latency_ms": 700.0}, "small medium"),
        ({"max_latency_ms": 699.9}, "small"),
        ({"min_score": 0.6}, "medium large"),
        ({"min_score": 0.6001}, "large"),
        ({"min_score": 0.6, "max_cost_usd": 1e-3}, "medium"),
    ],
)
def test_a_constraint_keeps_what_it_says(constraints: dict[str, Any], kept: str) -> None:
    eligibility, _ = narrow([request(**constraints)], estimates(1), POOL)
    assert [name for name, on in zip(NAMES, eligibility.mask[0], strict=True) if on] == kept.split()


def test_the_window_holds_input_and_output_even_without_constraints() -> None:
    figures = estimates(1, output_tokens=96.0, input_tokens=4000.0)
    eligibility, narrowings = narrow([PromptRequest("p")], figures, POOL)
    assert eligibility.mask.tolist() == [[True, True, True]]
    assert narrowings == ()
    figures = estimates(1, output_tokens=97.0, input_tokens=4000.0)
    eligibility, narrowings = narrow([PromptRequest("p")], figures, POOL)
    assert eligibility.mask.tolist() == [[False, True, True]]
    assert [one.constraint for one in narrowings] == ["context_window_tokens"]


def test_a_prompt_that_just_fits_its_window_fits_beside_one_that_does_not() -> None:
    figures = estimates(2, output_tokens=96.0, input_tokens=4000.0)
    figures.output_tokens[1] += 1.0
    eligibility, _ = narrow([PromptRequest("p")] * 2, figures, POOL)
    assert eligibility.mask[:, 0].tolist() == [True, False]


@pytest.mark.parametrize(
    ("constraints", "blamed"),
    [
        ({"allowed_models": ("small",), "denied_models": ("small",)}, "denied_models"),
        ({"required_capabilities": ("audio", "vision")}, "required_capabilities"),
        ({"denied_models": ("large",), "required_capabilities": ("vision",)}, "required_capab"),
        ({"max_latency_ms": 1.0}, "max_latency_ms"),
        ({"max_cost_usd": 0.0}, "max_cost_usd"),
        ({"max_latency_ms": 1.0, "max_cost_usd": 0.0, "min_score": 1.0}, "max_latency_ms"),
        ({"max_cost_usd": 0.0, "min_score": 1.0}, "max_cost_usd"),
        ({"min_score": 0.71}, "min_score"),
        ({"max_latency_ms": 700.0, "max_cost_usd": 1e-3, "min_score": 0.65}, "min_score"),
        ({"allowed_models": ("large",), "max_cost_usd": 1e-3, "min_score": 0.9}, "max_cost_usd"),
    ],
)
def test_the_constraint_that_took_the_last_model_is_blamed(
    constraints: dict[str, Any], blamed: str
) -> None:
    eligibility, _ = narrow([request(), request(**constraints)], estimates(2), POOL)
    assert eligibility.empty_rows.tolist() == [1]
    described = eligibility.describe(1)
    assert described is not None
    assert described.startswith(blamed)
    assert described.endswith("leaves no eligible model")
    assert eligibility.describe(0) is None


subsets = st.lists(st.sampled_from(NAMES), max_size=3).map(tuple)
constraint_sets = st.fixed_dictionaries(
    {},
    optional={
        "allowed_models": subsets,
        "denied_models": subsets,
        "required_capabilities": st.lists(
            st.sampled_from(sorted(POOL.capabilities)), max_size=2
        ).map(tuple),
        "max_cost_usd": st.floats(0, 1e-2),
        "min_score": st.floats(0, 1),
        "max_latency_ms": st.floats(0, 3000),
    },
)


def allows(constraints: dict[str, Any], figures: Estimates, row: int, column: int) -> bool:
    """Checks the constraints one by one, as the comments of the API define them."""
    name = NAMES[column]
    needed = figures.input_tokens[row, column] + figures.output_tokens[row, column]
    return bool(
        (not constraints.get("allowed_models") or name in constraints["allowed_models"])
        and name not in constraints.get("denied_models", ())
        and set(constraints.get("required_capabilities", ())) <= set(SPECS[column]["capabilities"])
        and needed <= SPECS[column]["context_window_tokens"]
        and figures.costs_usd[row, column] <= constraints.get("max_cost_usd", np.inf)
        and figures.latencies_ms[row, column] <= constraints.get("max_latency_ms", np.inf)
        and figures.scores[row, column] >= constraints.get("min_score", 0.0)
    )


@given(
    rows=st.lists(constraint_sets, min_size=1, max_size=6),
    output_tokens=st.sampled_from([0.0, 50.0, 100.0, 4000.0, 40_000.0, 200_000.0]),
)
def test_the_mask_is_what_the_constraints_say_row_by_row(
    rows: list[dict[str, Any]], output_tokens: float
) -> None:
    figures = estimates(len(rows), output_tokens)
    eligibility, narrowings = narrow([request(**row) for row in rows], figures, POOL)
    expected = [
        [allows(row, figures, i, column) for column in range(3)] for i, row in enumerate(rows)
    ]
    assert eligibility.mask.tolist() == expected
    left = 3 * len(rows)
    for narrowing in narrowings:
        assert narrowing.mask.sum() < left, f"{narrowing.constraint} removed nothing"
        left = int(narrowing.mask.sum())
    assert left == eligibility.mask.sum()


@given(rows=st.lists(constraint_sets, min_size=2, max_size=6))
def test_a_rows_mask_does_not_depend_on_the_rows_beside_it(rows: list[dict[str, Any]]) -> None:
    together, _ = narrow([request(**row) for row in rows], estimates(len(rows)), POOL)
    for i, row in enumerate(rows):
        alone, _ = narrow([request(**row)], estimates(1), POOL)
        assert alone.mask[0].tolist() == together.mask[i].tolist()
        assert alone.describe(0) == together.describe(i)


@pytest.mark.parametrize("field", ["allowed_models", "denied_models"])
def test_an_unknown_model_is_named_with_its_field(field: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_names(request(**{field: ("small", "gpt-9")}), POOL)
    assert caught.value.field == field
    assert str(caught.value) == (
        f"{field}: unknown model 'gpt-9'; the pool has small, medium, large"
    )


def test_an_unknown_capability_is_named_with_what_there_is() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_names(request(required_capabilities=("chat", "telepathy")), POOL)
    assert str(caught.value) == (
        "required_capabilities: unknown capability 'telepathy'; the pool has audio, chat, tools,"
        " vision"
    )


def test_known_names_pass() -> None:
    check_names(
        request(
            allowed_models=NAMES, denied_models=("small",), required_capabilities=("chat", "audio")
        ),
        POOL,
    )
