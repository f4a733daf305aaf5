"""The check of a pool: models that end soon, have no price, or are unknown to the predictor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from routoo.routing.pool import UNKNOWN_MODEL_REMEDY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from routoo.routing.pool import ModelSpec, Pool


@dataclass(frozen=True, slots=True)
class PoolWarning:
    """A doubt about a model of a pool that can be served all the same, or not at all.

    Attributes:
        model: the model's name.
        kind: a word for programs.
        message: one line that names the model and the remedy.
    """

    model: str
    kind: Literal["ends", "no_price", "unknown_to_predictor", "output_above_window"]
    message: str


def pool_warnings(
    pool: Pool, predictor_models: tuple[str, ...] | None, today: date, days: int
) -> tuple[PoolWarning, ...]:
    """Returns the doubts about a pool's models, in the pool's order.

    Args:
        pool: the pool.
        predictor_models: the models that the predictor knows; None: do not ask.
        today: the day of the check.
        days: a model that ends within so many days of ``today`` is a doubt.
    """
    unknown = () if predictor_models is None else pool.unknown_to(predictor_models)
    return tuple(
        warning
        for model in pool.models
        for warning in _of(model, is_unknown=model in unknown, today=today, days=days)
    )


def _of(model: ModelSpec, *, is_unknown: bool, today: date, days: int) -> Iterator[PoolWarning]:
    name = model.name
    if model.deprecation_date is not None:
        left = (model.deprecation_date - today).days
        if left < 0:
            yield PoolWarning(
                name, "ends", f"{name} ended on {model.deprecation_date}; remove it from the pool"
            )
        elif left <= days:
            yield PoolWarning(
                name,
                "ends",
                f"{name} ends on {model.deprecation_date}, in {left} days; choose its successor",
            )
    if model.usd_per_1m_input_tokens == 0 and model.usd_per_1m_output_tokens == 0:
        yield PoolWarning(
            name,
            "no_price",
            f"{name} has the price 0 for input and output; set what it costs you, or it always"
            " looks cheapest",
        )
    if is_unknown:
        known_as = f" (as {model.predictor_name})" if model.predictor_name else ""
        yield PoolWarning(
            name,
            "unknown_to_predictor",
            f"{name} is not known to the predictor{known_as}; {UNKNOWN_MODEL_REMEDY}",
        )
    if (model.max_output_tokens or 0) > model.context_window_tokens:
        yield PoolWarning(
            name,
            "output_above_window",
            f"{name} has max_output_tokens {model.max_output_tokens:,} above its"
            f" context_window_tokens {model.context_window_tokens:,}; correct one of them",
        )
