"""The names that providers and their imitators give to the counters of an answer.

Sources: the API references of OpenAI (chat, completions, responses), Anthropic (messages), Google
(generateContent), AWS (Bedrock Converse and invocation metrics), Cohere, DeepSeek, Groq, Mistral,
Moonshot, Ollama, OpenRouter, Perplexity, vLLM and xAI.
"""

from __future__ import annotations

from typing import Final

# Of several names that a reply has, the greatest counter holds, except where a comment says more.
INPUT: Final = (
    "prompt_tokens",
    "promptTokenCount",
    "prompt_token_count",
    "promptTokens",
    "prompt_eval_count",
)
"""Inputs that contain what was read from a cache and written into it."""
BARE_INPUT: Final = ("input_tokens", "inputTokens", "inputTokenCount", "billed_units.input_tokens")
"""Inputs beside which ``CACHED_BESIDE`` and ``WRITTEN_BESIDE`` stand, where a reply has those."""
OUTPUT: Final = (
    "completion_tokens",
    "output_tokens",
    "outputTokens",
    "outputTokenCount",
    "candidatesTokenCount",
    "candidates_token_count",
    "completionTokens",
    "generated_tokens",
    "eval_count",
    "billed_units.output_tokens",
)
TOTAL: Final = ("total_tokens", "totalTokenCount", "total_token_count", "totalTokens")
STEPS: Final = "iterations."
"""A list of the calls behind one answer. Anthropic bills all of them, and leaves those that shorten
a long conversation out of the counters beside the list."""
ADDED_INPUT: Final = ("toolUsePromptTokenCount", "tool_use_prompt_token_count")
"""Inputs that come on top of ``INPUT``."""
ADDED_OUTPUT: Final = ("thoughtsTokenCount", "thoughts_token_count")
"""Outputs that come on top of ``OUTPUT``; they are reasoning."""
REASONING: Final = (
    "completion_tokens_details.reasoning_tokens",
    "output_tokens_details.reasoning_tokens",
    "output_tokens_details.thinking_tokens",
    "reasoning_tokens",
)
CACHED: Final = (
    "prompt_tokens_details.cached_tokens",
    "input_tokens_details.cached_tokens",
    "cached_tokens",
    "num_cached_tokens",
    "prompt_cache_hit_tokens",
    "cachedContentTokenCount",
    "cached_content_token_count",
)
CACHED_BESIDE: Final = (
    "cache_read_input_tokens",
    "cacheReadInputTokens",
    "cacheReadInputTokenCount",
)
MISSED: Final = ("prompt_cache_miss_tokens",)
WRITTEN: Final = (
    "prompt_tokens_details.cache_write_tokens",
    "prompt_tokens_details.cache_creation_tokens",
    "prompt_tokens_details.cache_creation_input_tokens",
    "input_tokens_details.cache_write_tokens",
)
WRITTEN_BESIDE: Final = (
    "cache_creation_input_tokens",
    "cacheWriteInputTokens",
    "cacheWriteInputTokenCount",
)
WRITTEN_5M: Final = ("cache_creation.ephemeral_5m_input_tokens",)
WRITTEN_1H: Final = ("cache_creation.ephemeral_1h_input_tokens",)
AUDIO_INPUT: Final = (
    "prompt_tokens_details.audio_tokens",
    "input_tokens_details.audio_tokens",
    "input_token_details.audio_tokens",
)
IMAGE_INPUT: Final = (
    "prompt_tokens_details.image_tokens",
    "input_tokens_details.image_tokens",
    "input_token_details.image_tokens",
)
VIDEO_INPUT: Final = (
    "prompt_tokens_details.video_tokens",
    "input_tokens_details.video_tokens",
)
AUDIO_OUTPUT: Final = (
    "completion_tokens_details.audio_tokens",
    "output_tokens_details.audio_tokens",
    "output_token_details.audio_tokens",
)
IMAGES: Final = ("billed_units.images",)
COST_USD: Final = ("cost", "cost.total_cost")
MOST_COST_USD: Final = 100_000.0
"""A higher cost of one answer is absurd, and is taken as not told."""
INPUT_MODALITIES: Final = ("promptTokensDetails", "prompt_tokens_details")
"""Lists of objects with a ``modality`` and a ``tokenCount``, of ``INPUT``."""
OUTPUT_MODALITIES: Final = ("candidatesTokensDetails", "candidates_tokens_details")
STANDARD_TIERS: Final = frozenset({"", "default", "standard", "auto", "on_demand", "none"})
"""Names of the standard service tier."""
