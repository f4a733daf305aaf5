"""A problem refuses wrong input with a message that names the place."""

from typing import Any

import numpy as np
import pytest

from routoo.errors import InvalidRequestError, NoEligibleModelError
from routoo.selector.lp.problem import (
    Problem,
    Resource,
    budget,
    capacity,
    mean_latency,
    tenant_budget,
    token_capacity,
)

ONES = np.ones((3, 2))
OPEN = np.ones((3, 2), bool)


def with_cell(figure: float, row: int = 1) -> np.ndarray:
    figures = ONES.copy()
    figures[row, 0] = figure
    return figures


@pytest.mark.parametrize(
    ("scores", "costs", "mask", "message"),
    [
        (np.ones(3), ONES, OPEN, r"scores have shape \(3,\)"),
        (np.ones((0, 2)), ONES, OPEN, r"scores have shape \(0, 2\)"),
        (ONES, np.ones((3, 3)), OPEN, r"costs have shape \(3, 3\), scores \(3, 2\)"),
        (ONES, ONES, np.ones((2, 2), bool), r"mask have shape \(2, 2\), scores \(3, 2\)"),
        (ONES.astype(np.float32), ONES, OPEN, "float32"),
        (with_cell(np.nan), ONES, OPEN, "scores are not finite in row 1$"),
        (with_cell(-np.inf, 2), ONES, OPEN, "scores are not finite in row 2$"),
        (ONES, with_cell(np.inf), OPEN, "costs are not finite in row 1$"),
        (ONES, with_cell(-0.1), OPEN, "costs are negative in row 1$"),
        (ONES, -ONES, OPEN, "costs are negative in rows 0, 1, 2$"),
    ],
)
def test_wrong_arrays_are_refused(scores: Any, costs: Any, mask: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        Problem(scores, costs, mask)


@pytest.mark.parametrize("figure", [np.nan, np.inf, -1.0])
def test_figures_of_closed_cells_do_not_matter(figure: float) -> None:
    mask = OPEN.copy()
    mask[1, 0] = False

    Problem(with_cell(figure), with_cell(figure), mask, (budget(with_cell(figure), 9.0),))


def test_rows_without_a_model_are_named() -> None:
    mask = np.ones((20, 2), bool)
    mask[::2] = False

    with pytest.raises(NoEligibleModelError, match=r"rows 0, 2, .*, \.\.\. \(10 rows\)$"):
        Problem(np.ones((20, 2)), np.ones((20, 2)), mask)


@pytest.mark.parametrize(
    ("resource", "message"),
    [
        (Resource("quota", np.ones(3), 1.0), r"usage of quota has shape \(3,\)"),
        (Resource("quota", with_cell(np.nan), 1.0), "usage of quota are not finite in row 1"),
        (budget(ONES, np.nan), "budget_usd is nan, not finite"),
        (budget(ONES, np.inf), "budget_usd is inf, not finite"),
        (capacity("capacity:a", 0, 2, np.inf), "capacity:a is inf"),
        (mean_latency(ONES, np.nan), "max_mean_latency_ms is nan"),
        (tenant_budget("tenant:a", np.array([0, 3]), ONES, 1.0), "counts prompts that are not 0"),
        (tenant_budget("tenant:a", np.array([-1]), ONES, 1.0), "counts prompts that are not 0 to"),
        (token_capacity("tokens:a", 2, ONES, 1.0), "tokens:a counts model 2, not 0 to 1"),
    ],
)
def test_wrong_resources_are_refused(resource: Resource, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        Problem(ONES, ONES, OPEN, (resource,))


def test_floor_must_be_finite() -> None:
    with pytest.raises(InvalidRequestError, match="min_mean_score is nan"):
        Problem(ONES, ONES, OPEN, (), np.nan)


@pytest.mark.parametrize("price", [-1.0, np.nan, np.inf])
def test_what_a_dollar_is_worth_must_be_an_amount(price: float) -> None:
    with pytest.raises(InvalidRequestError, match="score_per_usd is"):
        Problem(ONES, ONES, OPEN, score_per_usd=price)


def test_large_finite_figures_are_not_taken_for_infinite() -> None:
    Problem(np.full((3, 2), 1e308), ONES, OPEN)
