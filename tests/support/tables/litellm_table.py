"""A table of LiteLLM's form with a handful of models, for tests of the catalogues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from pathlib import Path

TABLE: dict[str, dict[str, Any]] = {
    "sample_spec": {"litellm_provider": "one of many", "max_tokens": "a text"},
    "zai/glm-9": {
        "litellm_provider": "zai",
        "input_cost_per_token": 1e-07,
        "cache_read_input_token_cost": 2e-08,
        "cache_creation_input_token_cost": 0,
        "output_cost_per_token": 3.2e-06,
        "max_input_tokens": 200000,
        "max_output_tokens": 128000,
        "supports_function_calling": True,
        "supports_vision": False,
        "supports_reasoning": True,
        "deprecation_date": "2027-06-01",
    },
    "somehost/Big-Model": {
        "litellm_provider": "somehost",
        "input_cost_per_token": 4e-06,
        "output_cost_per_token": 8e-06,
        "max_input_tokens": 1000,
    },
    "gemini/gemini-9-flash": {
        "litellm_provider": "gemini",
        "input_cost_per_token": 5e-07,
        "output_cost_per_token": 2e-06,
        "max_input_tokens": 1000,
        "deprecation_date": "when it ends",
    },
    "claude-opus-4-8": {
        "litellm_provider": "anthropic",
        "input_cost_per_token": 9e-06,
        "output_cost_per_token": 9e-06,
        "max_input_tokens": 5,
        "max_output_tokens": 128000,
        "supports_response_schema": True,
    },
    "unpriced/model": {"litellm_provider": "unpriced", "max_input_tokens": 1000},
}


def write_table(folder: Path) -> Path:
    """Writes the table to a file."""
    path = folder / "table.json"
    path.write_bytes(orjson.dumps(TABLE))
    return path
