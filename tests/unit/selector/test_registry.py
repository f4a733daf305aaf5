"""The registry of policies: one entry and one file each; no other place knows their names."""

from __future__ import annotations

from dataclasses import is_dataclass
from pathlib import Path

import pytest

from routoo.selector import policies
from routoo.selector.policies import POLICIES, policy_class
from routoo.selector.policies.base import Policy
from routoo.selector.reason import Reason
from routoo.v1.route_pb2 import Rule

SHARED = {"__init__", "base", "pair"}


def test_every_file_is_a_policy_that_is_registered() -> None:
    folder = Path(policies.__file__).parent
    assert {path.stem for path in folder.glob("*.py")} - SHARED == set(POLICIES)


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_has_the_name_of_its_file(name: str) -> None:
    kind = policy_class(name)
    assert issubclass(kind, Policy)
    assert is_dataclass(kind)
    assert kind.name.fget(object.__new__(kind)) == name  # type: ignore[attr-defined]


def test_every_reason_has_a_rule_of_the_api() -> None:
    rules = {name.removeprefix("RULE_") for name in Rule.keys()}  # noqa: SIM118 - no dict
    # A spent budget's cheapest model is RULE_CHEAPEST, and no model is an error.
    assert {reason.name for reason in Reason} - {"BUDGET_SPENT", "NONE_ELIGIBLE"} <= rules
