"""A token that has expired stays so, whatever the machine's clock is set to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry

from routoo.api.security.gate import Gate
from routoo.api.security.tokens import append_token, new_token
from routoo.config.sections.security import SecuritySettings
from routoo.errors import UnauthenticatedError
from support.budgets import FakeClock

if TYPE_CHECKING:
    from pathlib import Path

NOW_S, HOUR_S = 1_800_000_000.0, 3600


class Call:
    """The context of a call that shows a token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def invocation_metadata(self) -> Any:
        return (("authorization", f"Bearer {self._token}"),)

    def auth_context(self) -> dict[str, Any]:
        return {}

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"


@pytest.mark.parametrize("back_s", [60, 5 * HOUR_S, 400 * 24 * HOUR_S])
def test_a_clock_that_is_set_back_makes_no_token_valid_again(tmp_path: Path, back_s: int) -> None:
    path = tmp_path / "tokens.jsonl"
    token, stored = new_token("a", ["route"], NOW_S, HOUR_S)
    append_token(path, stored)
    wall, passed = FakeClock(int(NOW_S)), FakeClock(100)
    settings = SecuritySettings(tokens=path)
    gate = Gate(settings, CollectorRegistry(), clock_s=passed, wall_clock_s=wall)
    with gate.admit(Call(token), "Route") as admission:
        assert admission.caller.tenant == "a"
    wall.now_ns -= back_s
    passed.now_ns += HOUR_S
    wall.now_ns += HOUR_S
    with pytest.raises(UnauthenticatedError):
        gate.admit(Call(token), "Route")


def test_a_clock_that_was_ahead_for_a_while_expires_nothing_for_good(tmp_path: Path) -> None:
    path = tmp_path / "tokens.jsonl"
    token, stored = new_token("a", ["route"], NOW_S, HOUR_S)
    append_token(path, stored)
    wall, passed = FakeClock(int(NOW_S)), FakeClock(100)
    settings = SecuritySettings(tokens=path)
    gate = Gate(settings, CollectorRegistry(), clock_s=passed, wall_clock_s=wall)
    wall.now_ns += 2 * HOUR_S
    with pytest.raises(UnauthenticatedError):
        gate.admit(Call(token), "Route")
    wall.now_ns -= 2 * HOUR_S
    with gate.admit(Call(token), "Route") as admission:
        assert admission.caller.tenant == "a"
