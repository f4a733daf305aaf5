"""The policies that the settings name, built for a pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from routoo.errors import ConfigError, InvalidRequestError
from routoo.selector.policies.best import Best
from routoo.selector.policies.cascade import Cascade
from routoo.selector.policies.cheapest import Cheapest
from routoo.selector.policies.fixed import Fixed
from routoo.selector.policies.guarantee import Guarantee
from routoo.selector.policies.lp import Lp
from routoo.selector.policies.quality_gap import QualityGap
from routoo.selector.policies.round_robin import RoundRobin
from routoo.selector.policies.threshold import Threshold

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from routoo.config.policy import PolicySettings
    from routoo.routing.pool import Pool
    from routoo.routing.request import PromptRequest
    from routoo.selector.cascade import Rule
    from routoo.selector.policies.base import Policy

# The policy that reads a request's max_quality_gap.
_READS_QUALITY_GAP = "quality_gap"


@dataclass(frozen=True, slots=True)
class Policies:
    """Who decides.

    Attributes:
        in_force: decides requests that name no policy.
        offered: the policies that a request may name, the one in force among them.
        shadow: runs beside the one in force and decides nothing.
        digest: names the settings that all of them come from.
        rule: what signals of answers say; None: no rule is configured.
    """

    in_force: Policy
    offered: Mapping[str, Policy]
    shadow: Policy | None
    digest: str
    rule: Rule | None = None

    @property
    def version(self) -> str:
        """Names the policy in force and its settings."""
        return self.version_of("")

    def named(self, name: str) -> Policy:
        """The policy of a request that names ``name``; empty: the one in force."""
        return self.offered[name] if name else self.in_force

    def version_of(self, name: str) -> str:
        """What decided a request that names ``name``, and its settings."""
        return f"{self.named(name).name}-{self.digest}"

    def check(self, request: PromptRequest) -> None:
        """Refuses a policy that is not offered, and a tolerance that nobody would read.

        Raises:
            InvalidRequestError: names the field and what is offered.
        """
        if request.policy and request.policy not in self.offered:
            raise InvalidRequestError(
                f"unknown policy {request.policy!r}; this service has {', '.join(self.offered)}",
                field="policy",
            )
        if "max_quality_gap" in request.constraints:
            policy = self.named(request.policy).name
            if policy != _READS_QUALITY_GAP:
                raise InvalidRequestError(
                    f"policy {policy} has no tolerance; leave it out, or name policy"
                    f" {_READS_QUALITY_GAP} where it is offered",
                    field="max_quality_gap",
                )


def build_policies(
    settings: PolicySettings, pool: Pool, digest: str, rule: Rule | None = None
) -> Policies:
    """Builds every policy that the settings name.

    Args:
        settings: with the price of a guarantee, should there be one.
        pool: the models.
        digest: names the settings.
        rule: what the file ``settings.cascade`` says.

    Raises:
        ConfigError: a policy names a model that the pool lacks; one line.
    """
    names: tuple[str, ...] = (settings.name, *settings.offered)
    offered = {name: _build(name, settings, pool, rule) for name in dict.fromkeys(names)}
    shadow = None
    if settings.shadow is not None:
        shadow = offered.get(settings.shadow) or _build(settings.shadow, settings, pool, rule)
    return Policies(offered[settings.name], offered, shadow, digest, rule)


def _build(name: str, settings: PolicySettings, pool: Pool, rule: Rule | None) -> Policy:
    if name == "cascade":
        return _cascade(rule)
    return _BUILDERS[name](settings, pool)


def learned_with_predictor(settings: PolicySettings) -> tuple[str, ...]:
    """The settings that were learned with one predictor and say nothing of another's scores."""
    found = {"policy.guarantee": settings.guarantee, "policy.cascade": settings.cascade}
    return tuple(name for name, section in found.items() if section is not None)


def _column(pool: Pool, setting: str, model: str) -> int:
    return pool.column(model, f"policy.{setting}", ConfigError)


def _threshold(settings: PolicySettings, pool: Pool) -> Policy:
    section = settings.threshold
    assert section is not None  # noqa: S101 - the settings refuse the name without its section
    return Threshold(
        strong=_column(pool, "threshold.strong", section.strong),
        weak=_column(pool, "threshold.weak", section.weak),
        threshold=section.threshold,
    )


def _quality_gap(settings: PolicySettings, pool: Pool) -> Policy:
    section = settings.quality_gap
    assert section is not None  # noqa: S101 - as above
    return QualityGap(
        small=_column(pool, "quality_gap.small", section.small),
        large=_column(pool, "quality_gap.large", section.large),
        tolerance=section.tolerance,
    )


def _fixed(settings: PolicySettings, pool: Pool) -> Policy:
    section = settings.fixed
    assert section is not None  # noqa: S101 - as above
    return Fixed(_column(pool, "fixed.model", section.model))


def _round_robin(settings: PolicySettings, pool: Pool) -> Policy:
    models = settings.round_robin.models or pool.names
    return RoundRobin(tuple(_column(pool, "round_robin.models", model) for model in models))


def _guarantee(settings: PolicySettings, pool: Pool) -> Policy:
    section = settings.guarantee
    assert section is not None  # noqa: S101 - as above
    _column(pool, "guarantee.reference", section.reference)
    if section.price is None:
        raise ConfigError("policy.guarantee has no price yet; learn it from the labels first")
    return Guarantee(section.price)


def _cascade(rule: Rule | None) -> Policy:
    if rule is None or not rule.plans:
        raise ConfigError(
            "policy.cascade: the rule has no plan to begin with two models; learn it by `routoo"
            " calibrate --policy cascade` with --beside"
        )
    return Cascade(rule.plans)


_BUILDERS: dict[str, Callable[[PolicySettings, Pool], Policy]] = {
    "lp": lambda _settings, _pool: Lp(),
    "threshold": _threshold,
    "quality_gap": _quality_gap,
    "cheapest": lambda _settings, _pool: Cheapest(),
    "best": lambda _settings, _pool: Best(),
    "fixed": _fixed,
    "round_robin": _round_robin,
    "guarantee": _guarantee,
}
