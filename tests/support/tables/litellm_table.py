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
    "gpt-9": {
        "litellm_provider": "openai",
        "input_cost_per_token": 5e-06,
        "input_cost_per_token_above_272k_tokens": 1e-05,
        "input_cost_per_token_flex": 2.5e-06,
        "input_cost_per_token_priority": 1e-05,
        "input_cost_per_audio_token": 4e-05,
        "cache_read_input_token_cost": 5e-07,
        "cache_read_input_token_cost_above_272k_tokens": 1e-06,
        "output_cost_per_token": 3e-05,
        "output_cost_per_token_above_272k_tokens": 4.5e-05,
        "output_cost_per_token_flex": 1.5e-05,
        "output_cost_per_token_priority": 7.5e-05,
        "output_cost_per_reasoning_token": 3e-05,
        "max_input_tokens": 1000000,
    },
    "deepseek/deepseek-v9": {
        "litellm_provider": "deepseek",
        "input_cost_per_token": 1.32e-06,
        "output_cost_per_token": 3.96e-06,
        "off_peak_pricing": {
            "input_cost_per_token": 6.6e-07,
            "output_cost_per_token": 1.98e-06,
            "windows": [
                {"hours_utc": ["04:00-06:00", "10:00-00:00"], "weekdays": [1, 5]},
                {"hours_utc": "00:00-00:00", "weekdays": [6, 7]},
            ],
        },
        "max_input_tokens": 1000000,
    },
    "unpriced/model": {"litellm_provider": "unpriced", "max_input_tokens": 1000},
}


def write_table(folder: Path) -> Path:
    """Writes the table to a file."""
    path = folder / "table.json"
    path.write_bytes(orjson.dumps(TABLE))
    return path
