"""A pool of three models whose prices, windows and latencies make every constraint testable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from routoo.routing.pool import ModelSpec, Pool

if TYPE_CHECKING:
    from pathlib import Path

SMALL = {
    "name": "small",
    "usd_per_1m_input_tokens": 0.1,
    "usd_per_1m_output_tokens": 0.2,
    "price_status": "stated",
    "context_window_tokens": 4096,
    "capabilities": ["chat", "audio"],
    "time_to_first_token_ms": 100,
    "time_per_output_token_ms": 2,
}
MEDIUM = {
    "name": "medium",
    "usd_per_1m_input_tokens": 1,
    "usd_per_1m_output_tokens": 2,
    "price_status": "stated",
    "context_window_tokens": 32768,
    "capabilities": ["chat", "tools"],
    "time_to_first_token_ms": 200,
    "time_per_output_token_ms": 5,
}
LARGE = {
    "name": "large",
    "usd_per_1m_input_tokens": 10,
    "usd_per_1m_output_tokens": 30,
    "price_status": "assumed",
    "context_window_tokens": 131072,
    "capabilities": ["chat", "tools", "vision"],
    "time_to_first_token_ms": 500,
    "time_per_output_token_ms": 10,
}
# ``medium`` at three efforts; ``large`` short, whole, and at once.
MEDIUM_ARMS = [{"name": one, "effort": one} for one in ("low", "medium", "high")]
LARGE_ARMS: list[dict[str, Any]] = [
    {"name": "short", "max_output_tokens": 40},
    {"name": "whole"},
    {"name": "at-once", "service_tier": "priority", "time_to_first_token_ms": 50},
]
ARMED: tuple[dict[str, Any], ...] = (
    SMALL,
    {**MEDIUM, "arms": MEDIUM_ARMS},
    {**LARGE, "service_tiers": {"priority": 2.0}, "arms": LARGE_ARMS},
)
ARMED_NAMES = (
    "small",
    "medium@low",
    "medium@medium",
    "medium@high",
    "large@short",
    "large@whole",
    "large@at-once",
)
SPECS: tuple[dict[str, Any], ...] = (SMALL, MEDIUM, LARGE)


def tiny_pool() -> Pool:
    """Makes the pool without a file."""
    return Pool.of(tuple(ModelSpec.model_validate(spec) for spec in SPECS))


def write_tiny_pool(path: Path) -> Path:
    """Writes the pool to a file."""
    path.write_text(yaml.safe_dump({"models": list(SPECS)}), encoding="utf-8")
    return path


def pool_of(*specs: dict[str, Any]) -> Pool:
    """Makes a pool of these models."""
    return Pool.of(tuple(ModelSpec.model_validate(spec) for spec in specs))


def armed_pool() -> Pool:
    """Makes the pool with arms without a file."""
    return pool_of(*ARMED)


def write_armed_pool(path: Path) -> Path:
    """Writes the pool with arms to a file."""
    path.write_text(yaml.safe_dump({"models": list(ARMED)}), encoding="utf-8")
    return path
