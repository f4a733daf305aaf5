"""Settings of the policies that choose a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from routoo.config.section import Section
from routoo.config.sections.exploration import ExploreSettings
from routoo.config.sections.trials import WatchSettings
from routoo.request_fields import PERCENTILES
from routoo.selector.policies import POLICIES, policy_class


def _known(name: str) -> str:
    if name not in POLICIES:
        *first, last = map(repr, POLICIES)
        raise ValueError(f"Input should be {', '.join(first)} or {last}")
    return name


def _percentile(value: int) -> int:
    if value not in PERCENTILES:
        *first, last = map(str, PERCENTILES)
        raise ValueError(f"Input should be {', '.join(first)} or {last}")
    return value


Percentile = Annotated[int, AfterValidator(_percentile)]
PolicyName = Annotated[str, AfterValidator(_known)]


class ThresholdSettings(Section):
    """Policy ``threshold``: the strong model where it is expected to be better by a threshold."""

    strong: str
    """The better model of the pair."""
    weak: str
    """The cheaper model of the pair."""
    threshold: float = Field(ge=-1, le=1, allow_inf_nan=False)
    """Predicted score of ``strong`` minus that of ``weak``."""

    @model_validator(mode="after")
    def _two_models(self) -> Self:
        if self.strong == self.weak:
            raise ValueError("strong and weak are the same model; name two")
        return self


class QualityGapSettings(Section):
    """Policy ``quality_gap``: the small model unless it is expected to be too much worse."""

    small: str
    """The cheaper model of the pair."""
    large: str
    """The better model of the pair."""
    tolerance: float = Field(default=0.05, ge=0, le=1, allow_inf_nan=False)
    """The gap in score that is allowed, for requests without a ``max_quality_gap``."""

    @model_validator(mode="after")
    def _two_models(self) -> Self:
        if self.small == self.large:
            raise ValueError("small and large are the same model; name two")
        return self


class FixedSettings(Section):
    """Policy ``fixed``: one model for every request."""

    model: str
    """The model that answers all requests; another one does where it is not eligible."""


class RoundRobinSettings(Section):
    """Policy ``round_robin``: models that take turns."""

    models: tuple[str, ...] = ()
    """The models in their order. Empty: the whole pool, in its order."""


class GuaranteeSettings(Section):
    """Policy ``guarantee``: the cheapest price proven to keep quality near a reference model's."""

    reference: str
    """The model whose quality is promised."""
    max_drop: float = Field(gt=0, lt=1, allow_inf_nan=False)
    """Most that the mean score of the routed answers may be below that of ``reference``."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1, allow_inf_nan=False)
    """The chance, over the choice of the labelled prompts, that the promise holds."""
    labels: Path | None = None
    """Labelled prompts; JSON Lines. Without ``price`` they are predicted at every start."""
    labels_sha256: str = ""
    """SHA-256 of the file that ``price`` was learned from; ``labels``, if set, has to match it."""
    price: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Score per USD that ``routoo calibrate --policy guarantee`` has proven."""
    predictor_version: str = ""
    """The predictor that ``price`` was proven with; another one is refused."""
    pool_digest: str = ""
    """The pool that ``price`` was proven for; another one is refused."""
    watch: WatchSettings | None = None
    """Graded answers watch the promise; where they refute it, the reference answers until there is
    a new calibration. Unset: nobody watches."""

    @model_validator(mode="after")
    def _is_learned_or_can_be(self) -> Self:
        if self.price is None and self.labels is None:
            raise ValueError("needs labels, or the price that `routoo calibrate` learns from them")
        if self.price is not None and not (self.predictor_version and self.pool_digest):
            raise ValueError(
                "a price needs the predictor_version and the pool_digest that it was proven with;"
                " take all of them from `routoo calibrate`"
            )
        return self


SHRINK = "shrink"
"""The value of ``policy.unsure.choose`` that lets every model's mean score decide."""


class UnsureSettings(Section):
    """Prompts that the predictor does not know; of the two thresholds at least one is set."""

    ood_above: float | None = Field(default=None, ge=0, lt=1, allow_inf_nan=False)
    """Prompts that are more unlike the training prompts than this, in [0, 1]."""
    confidence_below: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False)
    """Prompts whose most probable task is less probable than this."""
    choose: str
    """The model that answers them, where it is eligible; ``shrink``: each model's mean score
    stands in for its predicted one."""

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if self.ood_above is None and self.confidence_below is None:
            raise ValueError("needs ood_above or confidence_below, or both")
        return self


class PricesSettings(Section):
    """The prices that follow the budgets; without budgets the price is fixed."""

    resolve_interval_s: float = Field(default=0.5, gt=0, le=3600, allow_inf_nan=False)
    """Time between two solutions; budgets with a period of seconds need a shorter one."""


class FallbackSettings(Section):
    """The models to ask next where the chosen one's provider fails; in every reply."""

    count: int = Field(default=2, ge=0, le=16)
    """The most fallbacks of a decision. 0: none, and Envoy tries nothing again."""
    reserve: Literal["answer", "most"] = "answer"
    """The amount that budgets reserve. answer: the most that the chosen model may cost; fallbacks
    that may cost more are not offered, but for the first one of a request through Envoy, which
    asks it by itself and reports the cost. most: the most that any fallback may cost, for every
    request; an answer that is never reported is then booked at that."""


class PolicySettings(Section):
    """The policy in force, further policies, and a section with the settings of each."""

    name: PolicyName = "lp"
    """The policy in force."""
    max_mean_cost_usd: float = Field(default=0.001, gt=0, allow_inf_nan=False)
    """Mean predicted cost per request that the shadow price keeps to. With budgets the price is the
    greater of this one and theirs; left out, it holds where no budget sets a price."""
    offered: tuple[PolicyName, ...] = ()
    """Policies that requests may name besides the one in force."""
    shadow: PolicyName | None = None
    """A policy that runs beside the one in force; its choices are only counted."""
    threshold: ThresholdSettings | None = None
    """The pair and the threshold of the policy ``threshold``."""
    quality_gap: QualityGapSettings | None = None
    """The pair and the tolerance of the policy ``quality_gap``."""
    fixed: FixedSettings | None = None
    """The model of the policy ``fixed``."""
    round_robin: RoundRobinSettings = RoundRobinSettings()
    guarantee: GuaranteeSettings | None = None
    """The promise of the policy ``guarantee``."""
    cascade: Path | None = None
    """The rule for ``Escalate`` and the policy ``cascade``; ``routoo calibrate`` writes it."""
    prices: PricesSettings = PricesSettings()
    fallbacks: FallbackSettings = FallbackSettings()
    unsure: UnsureSettings | None = None
    """A rule for prompts that the predictor does not know; it goes before every policy."""

    explore: ExploreSettings | None = None
    """Exploring: a share of the decisions goes to another model than the best. Unset: none does."""
    latency_percentile: Percentile | None = None
    """The percentile of its latency that ``max_latency_ms`` of a request is compared with, where
    the request names none: 50, 90, 95 or 99. Unset: the mean."""

    @property
    def mean_cost_is_set(self) -> bool:
        """Returns whether the settings name ``max_mean_cost_usd``, which then holds everywhere."""
        return "max_mean_cost_usd" in self.model_fields_set

    @model_validator(mode="after")
    def _sections_are_there(self) -> Self:
        named = (
            ("name", (self.name,)),
            ("offered", self.offered),
            ("shadow", () if self.shadow is None else (self.shadow,)),
        )
        for setting, policies in named:
            for policy in policies:
                # A policy without settings has no section, and one with defaults always has one.
                if getattr(self, policy, self) is None:
                    raise ValueError(
                        f"policy.{setting} is {policy}, which needs the section policy.{policy}"
                    )
        if self.shadow == self.name:
            raise ValueError(f"policy.shadow is {self.shadow}, the policy in force; name another")
        if self.unsure is not None and "guarantee" in (self.name, *self.offered):
            raise ValueError(
                "policy.unsure would change choices that policy guarantee has proven; leave one of"
                " the two out"
            )
        if self.explore is not None and not any(
            policy_class(name).at_price for name in (self.name, *self.offered)
        ):
            raise ValueError(
                f"policy.explore explores the choices of policies at a price, and {self.name} is"
                " none; set policy.name: lp, or leave policy.explore out"
            )
        return self
