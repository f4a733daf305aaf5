"""The arms of a pool as columns, and their figures from what the predictor knows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from routoo.routing.arms.efforts import DEFAULT_EFFORT, RANKS
from routoo.routing.arms.parameters import parameters_of, told_by
from routoo.routing.arms.spec import APIS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from routoo.routing.arms.model import ModelSpec
    from routoo.routing.arms.spec import ArmSpec

    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Offsets:
    """What is known of the columns, and how the others follow from it.

    Attributes:
        predictor_names: [m], the predictor's rows.
        known: bool [m], the row is that of the arm itself, or of a model without arms.
        score_odds: float64 [m], multiply the odds of a good answer, score / (1 - score); None: all
            are 1.
        output_tokens: float64 [m], multiply the output tokens; None: all are 1.
    """

    predictor_names: tuple[str, ...]
    known: NDArray[np.bool_]
    score_odds: Floats | None
    output_tokens: Floats | None

    def scores(self, scores: Floats) -> Floats:
        """Returns the columns' scores, float64 [n, m], from those of their rows, in [0, 1]."""
        if self.score_odds is None:
            return scores
        moved: Floats = scores * self.score_odds
        moved /= 1.0 - scores + moved
        # Exact where nothing is moved, whatever the rounding of the two sums.
        return np.where(self.score_odds == 1.0, scores, moved)

    def tokens(self, output_tokens: Floats) -> Floats:
        """Returns the columns' output tokens, float64 [n, m], at least 0, from their rows'."""
        return output_tokens if self.output_tokens is None else output_tokens * self.output_tokens


@dataclass(frozen=True, slots=True)
class ArmColumns:
    """m columns, of which those of a model stand side by side.

    Attributes:
        specs: [m], the arms; None: a model without arms.
        told: [m], by API the fields that ask for the arm, see ``told_by``.
        models: [m], the names of the columns' models.
        model_of: int [m], the columns' models, by their positions among the k of the file.
        starts: int [k], the first column of each model.
        columns_of: by the name of a model, its columns.
        efforts: float64 [m], the positions of the arms' efforts.
        asked_by: by API, whether it has fields that ask for the arm, bool [m].
        thinking_tokens: float64 [m], the budget of thinking that is asked for; 0: none is.
        longest_answers: float64 [m], the longest answer that is asked for, in tokens, infinite for
            an arm that asks for none; None: no arm asks.
        service_tiers: [m], the service tier that is asked for; empty: none is.
        price_factors: float64 [m], multiply the prices of an estimate; None: all are 1.
        offsets: what the predictor knows of the columns.
    """

    specs: tuple[ArmSpec | None, ...]
    told: tuple[Mapping[str, str], ...]
    models: tuple[str, ...]
    model_of: NDArray[np.intp]
    starts: NDArray[np.intp]
    columns_of: Mapping[str, tuple[int, ...]]
    efforts: Floats
    asked_by: Mapping[str, NDArray[np.bool_]]
    thinking_tokens: Floats
    longest_answers: Floats | None
    service_tiers: tuple[str, ...]
    price_factors: Floats | None
    offsets: Offsets

    @classmethod
    def of(cls, models: Sequence[ModelSpec]) -> Self | None:
        """Makes the columns of a pool's k models, m >= k; None: no model has arms."""
        if not any(model.arms for model in models):
            return None
        pairs = arms_of(models)
        sizes = [max(1, len(model.arms)) for model in models]
        starts = np.cumsum([0, *sizes[:-1]]).astype(np.intp)
        limits = [np.inf if arm is None else arm.max_output_tokens or np.inf for _, arm in pairs]
        factors = [
            1.0
            if arm is None or arm.service_tier is None
            else float(model.tariff.service_multiplier(arm.service_tier))
            for model, arm in pairs
        ]
        return cls(
            specs=tuple(arm for _, arm in pairs),
            told=tuple({} if arm is None else told_by(arm) for _, arm in pairs),
            models=tuple(model.name for model, _ in pairs),
            model_of=np.repeat(np.arange(len(models)), sizes),
            starts=starts,
            columns_of={
                model.name: tuple(range(start, start + size))
                for model, start, size in zip(models, starts.tolist(), sizes, strict=True)
            },
            efforts=np.array(
                [RANKS[DEFAULT_EFFORT] if arm is None else arm.rank for _, arm in pairs], np.float64
            ),
            asked_by={
                api: np.array(
                    [arm is None or parameters_of(arm, api) is not None for _, arm in pairs]
                )
                for api in APIS
            },
            thinking_tokens=np.array(
                [0 if arm is None else arm.thinking_budget_tokens or 0 for _, arm in pairs],
                np.float64,
            ),
            longest_answers=np.array(limits) if np.isfinite(limits).any() else None,
            service_tiers=tuple("" if arm is None else arm.service_tier or "" for _, arm in pairs),
            price_factors=None if all(one == 1.0 for one in factors) else np.array(factors),
            offsets=_offsets(models, lambda _: False),
        )

    def known_to(self, models: Sequence[ModelSpec], knows: Callable[[str], bool]) -> Self:
        """Returns the columns with the offsets that a predictor leaves to them.

        Args:
            models: the pool's models, in its order.
            knows: whether the predictor has a row of a name.
        """
        return replace(self, offsets=_offsets(models, knows))

    def least_of_model(self, values: Floats) -> Floats:
        """Returns for each column the least value, of [n, m], among those of its model."""
        least: Floats = np.minimum.reduceat(values, self.starts, axis=1)[:, self.model_of]
        return least


def arms_of(models: Sequence[ModelSpec]) -> list[tuple[ModelSpec, ArmSpec | None]]:
    """Returns model and arm of each of the m columns."""
    return [(model, arm) for model in models for arm in model.arms or (None,)]


def column_name(model: ModelSpec, arm: ArmSpec | None) -> str:
    """Returns the name of a column: ``model``, or ``model@arm``."""
    return model.name if arm is None else f"{model.name}@{arm.name}"


def _offsets(models: Sequence[ModelSpec], knows: Callable[[str], bool]) -> Offsets:
    """Finds the predictor's row of each column, and the offset from it.

    The figures of an arm without a row are those of the model's row with the nearest effort, at a
    tie the model's own; a declared offset is from the model's own.
    """
    names: list[str] = []
    known: list[bool] = []
    odds: list[float] = []
    tokens: list[float] = []
    for model in models:
        own = model.predictor_name or model.name
        # A row that the pool file names is looked for, so that a slip of the pen is refused.
        rows = {
            arm.name: row
            for arm in model.arms
            if (row := arm.predictor_name) or knows(row := f"{own}@{arm.name}")
        }
        base = RANKS[model.default_effort or DEFAULT_EFFORT]
        near = [(base, own)] if knows(own) or not rows else []
        near += [(arm.rank, rows[arm.name]) for arm in model.arms if arm.name in rows]
        for arm in model.arms or (None,):
            known.append(arm is None or arm.name in rows)
            names.append(own if arm is None else rows.get(arm.name, ""))
            odds.append(1.0)
            tokens.append(1.0)
            if arm is None or known[-1]:
                continue
            declared = arm.score_odds is not None or arm.output_tokens_factor is not None
            rank, names[-1] = (
                near[0]
                if declared or not arm.reasons_as_told
                else min(near, key=lambda one: abs(one[0] - arm.rank))
            )
            odds[-1], tokens[-1] = arm.offset(rank)
    return Offsets(
        tuple(names),
        np.array(known),
        None if all(one == 1.0 for one in odds) else np.array(odds),
        None if all(one == 1.0 for one in tokens) else np.array(tokens),
    )
