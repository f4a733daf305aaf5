"""Arms of models on screens: their names, and how they ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from routoo.v1.route_pb2 import Arm, Candidate, RouteResponse


def chosen(response: RouteResponse) -> str:
    """Returns the name of the chosen model with that of its arm, as the pool has it."""
    return f"{response.model}@{response.arm.name}" if response.HasField("arm") else response.model


def named(candidate: Candidate) -> str:
    """Returns the name of a candidate with that of its arm, as the pool has it."""
    return f"{candidate.model}@{candidate.arm}" if candidate.arm else candidate.model


def fallbacks(response: RouteResponse) -> str:
    """Lists the names of the fallbacks with those of their arms, the best first."""
    return ", ".join(
        f"{one.model}@{one.arm.name}" if one.HasField("arm") else one.model
        for one in response.fallbacks
    )


def asks(arm: Arm) -> str:
    """Describes the parameters of an arm; of one without any that nothing is asked."""
    told = [f"effort {arm.effort}"] if arm.effort else []
    if arm.HasField("thinking_budget_tokens"):
        told.append(f"thinking {arm.thinking_budget_tokens:,}")
    if arm.HasField("max_output_tokens"):
        told.append(f"at most {arm.max_output_tokens:,} tokens")
    if arm.service_tier:
        told.append(f"tier {arm.service_tier}")
    return ", ".join(told) or "no parameters"
