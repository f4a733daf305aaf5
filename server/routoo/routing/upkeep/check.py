"""The check of a pool: models that end soon, have no price, or that the predictor hardly knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from routoo.routing.pool import UNKNOWN_MODEL_REMEDY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from routoo.routing.arms.model import ModelSpec
    from routoo.routing.pool import Pool
    from routoo.routing.upkeep.known_models import KnownModels

_CACHE_WRITES = ("usd_per_1m_cache_write_tokens", "usd_per_1m_cache_write_1h_tokens")
_SELLERS_OF_CACHE_WRITES = frozenset({"anthropic"})


@dataclass(frozen=True, slots=True)
class PoolWarning:
    """A doubt about a model of a pool that can be served all the same, or not at all.

    Attributes:
        model: the model's name.
        kind: a word for programs.
        message: one line that names the model and the remedy.
    """

    model: str
    kind: Literal[
        "ends",
        "no_price",
        "no_cache_write_price",
        "unknown_to_predictor",
        "no_evidence",
        "output_above_window",
    ]
    message: str


def pool_warnings(
    pool: Pool, known: KnownModels | None, today: date, days: int
) -> tuple[PoolWarning, ...]:
    """Returns the doubts about a pool's models, in the pool's order.

    Args:
        pool: the pool.
        known: the models that the predictor knows; None: do not ask.
        today: the day of the check.
        days: a model that ends within so many days of ``today`` is a doubt.
    """
    return tuple(
        warning for model in pool.models for warning in _of(model, known, today=today, days=days)
    )


def predictor_warnings(model: ModelSpec, known: KnownModels) -> Iterator[PoolWarning]:
    """Yields the doubts about what the predictor knows of a model.

    Args:
        model: the model.
        known: the models that the predictor knows.
    """
    asked = model.predictor_name or model.name
    found = known.canonical(asked)
    for arm in model.arms:
        if arm.predictor_name and known.canonical(arm.predictor_name) is None:
            yield PoolWarning(
                model.name,
                "unknown_to_predictor",
                f"{model.name}@{arm.name} is not known to the predictor (as {arm.predictor_name});"
                " correct its predictor_name, or leave it out",
            )
    rows = [known.canonical(one.predictor_name or f"{asked}@{one.name}") for one in model.arms]
    if found is None and any(rows):
        return  # the other arms follow from one that is known
    if found is None:
        known_as = f" (as {model.predictor_name})" if model.predictor_name else ""
        nearest = known.nearest(asked)
        alike = f" (the nearest names are {', '.join(nearest)})" if nearest else ""
        yield PoolWarning(
            model.name,
            "unknown_to_predictor",
            f"{model.name} is not known to the predictor{known_as}; {UNKNOWN_MODEL_REMEDY}{alike}",
        )
        return
    evidence = known.evidence(found)
    if evidence is not None and evidence.is_bare:
        yield PoolWarning(
            model.name,
            "no_evidence",
            f"{model.name} has no graded prompts and no published averages behind its scores;"
            " onboard it again with some",
        )


def _of(
    model: ModelSpec, known: KnownModels | None, *, today: date, days: int
) -> Iterator[PoolWarning]:
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
    unset = [field for field in _CACHE_WRITES if getattr(model, field) is None]
    if model.provider in _SELLERS_OF_CACHE_WRITES and unset:
        yield PoolWarning(
            name,
            "no_cache_write_price",
            f"{name} has no {unset[0]}, which {model.provider} asks more for than for other input;"
            " set it, or such tokens are booked too cheap",
        )
    if known is not None:
        yield from predictor_warnings(model, known)
    if (model.max_output_tokens or 0) > model.context_window_tokens:
        yield PoolWarning(
            name,
            "output_above_window",
            f"{name} has max_output_tokens {model.max_output_tokens:,} above its"
            f" context_window_tokens {model.context_window_tokens:,}; correct one of them",
        )
