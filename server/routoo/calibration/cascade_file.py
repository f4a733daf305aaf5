"""The rule for ``Escalate`` as a YAML file, as ``routoo calibrate --policy cascade`` writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from routoo.config.section import Section
from routoo.config.yaml_files import describe_validation_error, read_yaml_mapping
from routoo.errors import ConfigError
from routoo.selector.cascade import CascadePlan, Correction, Rule, SignalKind

if TYPE_CHECKING:
    from pathlib import Path

    from routoo.routing.pool import Pool

FORMAT_VERSION = 1


class _Weights(Section):
    intercept: float = Field(allow_inf_nan=False)
    slope: float = Field(allow_inf_nan=False)


class _Chance(Section):
    intercept: float = Field(allow_inf_nan=False)
    answered_by: float = Field(allow_inf_nan=False)
    beside: float = Field(allow_inf_nan=False)


class _Correction(Section):
    signal: SignalKind
    answered_by: str
    """The model that gave the answer in which the signal was seen."""
    centre: float = Field(allow_inf_nan=False)
    models: dict[str, _Weights] = Field(min_length=1)
    beside: str = ""
    """Agreement only: the other cheap model, for the policy ``cascade``."""
    chance: _Chance | None = None
    """Chance that the two agree: weights of the log-odds of their predicted scores."""


class _CascadeFile(Section):
    format_version: Literal[1]
    predictor_version: str
    """The predictor whose scores are corrected; a file for another one is refused."""
    corrections: tuple[_Correction, ...] = Field(min_length=1)


def load_rule(path: Path, pool: Pool, predictor_version: str) -> Rule:
    """Reads a rule from its file.

    Raises:
        ConfigError: the file is missing, is no rule, was learned with another predictor, or names a
            model that the pool lacks; one line.
    """
    try:
        content = _CascadeFile.model_validate(read_yaml_mapping(path))
    except ValidationError as error:
        raise ConfigError(describe_validation_error(str(path), error)) from None
    if content.predictor_version != predictor_version:
        raise ConfigError(
            f"{path}: was learned with predictor {content.predictor_version}, and this is"
            f" {predictor_version}; run `routoo calibrate --policy cascade` again"
        )
    corrections: dict[tuple[SignalKind, int], Correction] = {}
    plans: list[CascadePlan] = []
    for item in content.corrections:
        beside = (item.beside,) if item.beside or item.chance else ()
        columns = {
            name: pool.column(name, str(path), ConfigError)
            for name in (item.answered_by, *beside, *item.models)
        }
        key = (item.signal, columns[item.answered_by])
        if key in corrections:
            raise ConfigError(f"{path}: {item.signal} of {item.answered_by} stands twice")
        if item.answered_by not in item.models:
            raise ConfigError(
                f"{path}: {item.signal} of {item.answered_by} says nothing of that model itself"
            )
        intercepts, slopes = np.full((2, len(pool.names)), np.nan)
        for name, weight in item.models.items():
            intercepts[columns[name]] = weight.intercept
            slopes[columns[name]] = weight.slope
        correction = corrections[key] = Correction(item.centre, intercepts, slopes)
        if item.chance is not None:
            weights = (item.chance.intercept, item.chance.answered_by, item.chance.beside)
            plans.append(CascadePlan(key[1], columns[item.beside], correction, weights))
    return Rule(corrections, tuple(plans))


def rule_values(rule: Rule, pool: Pool, predictor_version: str) -> dict[str, Any]:
    """Returns the content of a rule's file; ``load_rule`` reads it back."""
    plans = {("agreement", plan.kept): plan for plan in rule.plans}
    return {
        "format_version": FORMAT_VERSION,
        "predictor_version": predictor_version,
        "corrections": [
            {
                "signal": kind,
                "answered_by": pool.names[kept],
                "centre": round(one.centre, 6),
                "models": {
                    name: {
                        "intercept": round(float(one.intercepts[j]), 6),
                        "slope": round(float(one.slopes[j]), 6),
                    }
                    for j, name in enumerate(pool.names)
                    if np.isfinite(one.intercepts[j])
                },
                **_plan_values(plans.get((kind, kept)), pool),
            }
            for (kind, kept), one in rule.corrections.items()
        ],
    }


def _plan_values(plan: CascadePlan | None, pool: Pool) -> dict[str, Any]:
    if plan is None:
        return {}
    names = ("intercept", "answered_by", "beside")
    chance = dict(zip(names, (round(one, 6) for one in plan.chance), strict=True))
    return {"beside": pool.names[plan.beside], "chance": chance}
