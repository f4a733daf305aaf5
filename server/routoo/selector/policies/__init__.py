"""Policies: rules that choose one of the eligible models, each in a file that is named after it.

To add a policy, add its file and its line in ``POLICIES``; if it has settings, also add a section
of its name in ``routoo.config.sections.policy``. numpy is loaded with the first policy, not before.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routoo.selector.policies.base import Policy

POLICIES: Final[Mapping[str, str]] = {
    "lp": "Lp",
    "threshold": "Threshold",
    "quality_gap": "QualityGap",
    "cheapest": "Cheapest",
    "best": "Best",
    "fixed": "Fixed",
    "round_robin": "RoundRobin",
    "guarantee": "Guarantee",
    "cascade": "Cascade",
    "economy": "Economy",
    "balanced": "Balanced",
    "quality": "Quality",
}
"""The class of each policy, in the module of the policy's name."""


def policy_class(name: str) -> type[Policy]:
    """Returns the class of a policy that ``POLICIES`` names."""
    found: type[Policy] = getattr(import_module(f"{__name__}.{name}"), POLICIES[name])
    return found
