"""The policies that the settings name, built for a pool."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from routoo.config.sections.policy import FallbackSettings
from routoo.errors import InvalidRequestError
from routoo.selector.lp.presets import PRESETS
from routoo.selector.policies import POLICIES, policy_class

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routoo.config.sections.policy import PolicySettings
    from routoo.routing.pool import Pool
    from routoo.routing.request import PromptRequest
    from routoo.routing.unsure import Unsure
    from routoo.selector.cascade import Rule
    from routoo.selector.exploring.exploration import Exploration
    from routoo.selector.policies.base import Policy


@dataclass(frozen=True, slots=True)
class Policies:
    """The policies of a service.

    Attributes:
        in_force: decides requests that name no policy.
        offered: the policies that a request may name, the one in force among them.
        shadow: is compared with the one in force and decides nothing.
        digest: identifies the settings that all of them come from.
        rule: the meaning of answers' signals; None: no rule is configured.
        unsure: the rule for prompts that the predictor does not know; None: there is none.
        fallbacks: the number of fallbacks, and what is reserved for them.
        latency_percentile: the percentile of their latency that ``max_latency_ms`` is compared
            with, of requests that name none; None: the mean.
        exploration: the rule for exploring; None: nothing explores.
        named: the policy of a request by the name that it gives; empty: the one in force.
        versions: the name and the digest of each policy in ``named``.
    """

    in_force: Policy
    offered: Mapping[str, Policy]
    shadow: Policy | None
    digest: str
    rule: Rule | None = None
    unsure: Unsure | None = None
    fallbacks: FallbackSettings = field(default_factory=FallbackSettings)
    latency_percentile: int | None = None
    exploration: Exploration | None = None
    named: Mapping[str, Policy] = field(init=False)
    versions: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        named = {"": self.in_force, **self.offered}
        object.__setattr__(self, "named", named)
        versions = {name: f"{policy.name}-{self.digest}" for name, policy in named.items()}
        object.__setattr__(self, "versions", versions)

    @property
    def version(self) -> str:
        """The name of the policy in force and the digest of its settings."""
        return self.versions[""]

    @property
    def has_presets(self) -> bool:
        """Returns whether a request may be decided at a named point of the curve."""
        return not {*PRESETS}.isdisjoint(self.offered)

    def check(self, request: PromptRequest) -> None:
        """Refuses a policy that is not offered, and a tolerance that the policy does not read.

        Raises:
            InvalidRequestError: names the field and what is offered.
        """
        policy = self.named.get(request.policy)
        if policy is None:
            raise InvalidRequestError(
                f"unknown policy {request.policy!r}; this service has {', '.join(self.offered)};"
                " policy.offered of its settings may name more",
                field="policy",
            )
        if "max_quality_gap" in request.constraints and not policy.reads_quality_gap:
            readers = [name for name in POLICIES if policy_class(name).reads_quality_gap]
            raise InvalidRequestError(
                f"policy {policy.name} has no tolerance; leave it out, or name policy"
                f" {' or '.join(readers)} where it is offered",
                field="max_quality_gap",
            )


def build_policies(
    settings: PolicySettings,
    pool: Pool,
    digest: str,
    rule: Rule | None = None,
    unsure: Unsure | None = None,
    exploration: Exploration | None = None,
) -> Policies:
    """Builds every policy that the settings name.

    Args:
        settings: with the price of a guarantee, if there is one.
        pool: the models.
        digest: identifies the settings.
        rule: the content of the file ``settings.cascade``.
        unsure: the rule of the section ``settings.unsure``.
        exploration: the rule of the section ``settings.explore``.

    Raises:
        ConfigError: a policy names a model that the pool lacks; one line.
    """

    def build(name: str) -> Policy:
        section = getattr(settings, name, None)
        # Where a section is the path of a file, the content of that file is used.
        return policy_class(name).build(rule if isinstance(section, Path) else section, pool)

    offered = {name: build(name) for name in dict.fromkeys((settings.name, *settings.offered))}
    shadow = None
    if settings.shadow is not None:
        shadow = offered.get(settings.shadow) or build(settings.shadow)
    return Policies(
        offered[settings.name],
        offered,
        shadow,
        digest,
        rule,
        unsure,
        settings.fallbacks,
        settings.latency_percentile,
        exploration,
    )


def learned_with_predictor(settings: PolicySettings) -> tuple[str, ...]:
    """Returns the settings that hold only for the predictor with which they were learned."""
    return tuple(
        f"policy.{name}"
        for name in POLICIES
        if getattr(settings, name, None) is not None and policy_class(name).learned
    )
