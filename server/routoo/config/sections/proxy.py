"""Settings of the doors that forward requests to the providers of the pool's models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from routoo.config.section import Section

ApiForm = Literal["openai", "anthropic", "chat", "responses", "completions"]
"""chat, responses, completions: OpenAI's three APIs. openai: all of these. anthropic: messages and
the counting of their tokens."""
EVERY_MODEL: Final = "*"
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")


def _base_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(
            "has to be an address such as https://api.openai.com/v1, up to and including the"
            " version"
        )
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a password; name the key under api_key_env or api_key_file")
    parts.port  # noqa: B018 - raises if it is none
    return text.rstrip("/")


def _headers(values: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in values.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"{name[:60]!r} is no header with a value of one line in ASCII")
    return {name.lower(): value for name, value in values.items()}


class UpstreamSettings(Section):
    """One provider, or the provider of one model."""

    base_url: Annotated[str, AfterValidator(_base_url)] | None = None
    """The address up to and including the version. Unset: that of a known provider."""
    apis: tuple[ApiForm, ...] | None = Field(default=None, min_length=1)
    """The forms of requests that it takes: anthropic, openai, or of OpenAI's APIs chat, responses
    and completions. Unset: those of a known provider, or else openai."""
    api_key_env: str | None = None
    """Environment variable that holds the key. Unset: that of a known provider, or else none."""
    api_key_file: Path | None = None
    """File that holds the key alone; read again when it changes. It goes before the variable."""
    forward_authorization: bool = False
    """Set to pass the caller's own key on to the provider, if the caller sends one."""
    headers: Annotated[Mapping[str, str], AfterValidator(_headers)] = Field(default_factory=dict)
    """Further headers of every request; they replace the caller's."""
    upstream_models: Mapping[str, str] = Field(default_factory=dict)
    """The provider's names of models, by the pool's."""
    cut_provider: bool | None = None
    """Whether the provider knows its models without the part of the pool's name before the first
    slash. Unset: as for a known provider, or else true for an entry of a provider and false for
    one of all models."""
    ca: Path | None = None
    """PEM: authorities that sign its certificate. Unset: those of the system."""
    verify: bool = True
    """Clear to take any certificate, which lets anybody in between read the key."""
    connect_timeout_s: float = Field(default=5.0, gt=0, le=600, allow_inf_nan=False)
    """Longest time until a connection is there."""
    first_byte_timeout_s: float = Field(default=600.0, gt=0, le=86_400, allow_inf_nan=False)
    """Longest time from the request to the headers of the reply: for a reply that is not streamed,
    the time in which the model answers."""
    idle_timeout_s: float = Field(default=600.0, gt=0, le=86_400, allow_inf_nan=False)
    """Longest time between two pieces of a reply."""
    max_connections: int = Field(default=256, ge=1, le=100_000)
    """Most connections to it; further requests wait for one."""

    @model_validator(mode="after")
    def _verifies_or_not(self) -> Self:
        if self.ca is not None and not self.verify:
            raise ValueError("ca has no effect with verify: false; remove one of them")
        return self


KNOWN: Final[Mapping[str, UpstreamSettings]] = {
    "openai": UpstreamSettings(
        base_url="https://api.openai.com/v1", apis=("openai",), api_key_env="OPENAI_API_KEY"
    ),
    "anthropic": UpstreamSettings(
        base_url="https://api.anthropic.com/v1",
        apis=("anthropic",),
        api_key_env="ANTHROPIC_API_KEY",
    ),
    "google": UpstreamSettings(
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        apis=("chat",),
        api_key_env="GEMINI_API_KEY",
    ),
    "deepseek": UpstreamSettings(
        base_url="https://api.deepseek.com/v1", apis=("chat",), api_key_env="DEEPSEEK_API_KEY"
    ),
    "mistralai": UpstreamSettings(
        base_url="https://api.mistral.ai/v1", apis=("chat",), api_key_env="MISTRAL_API_KEY"
    ),
    EVERY_MODEL: UpstreamSettings(
        base_url="https://openrouter.ai/api/v1",
        apis=("openai", "anthropic"),
        api_key_env="OPENROUTER_API_KEY",
        cut_provider=False,
        # Its names of models of the shipped pool; without one, it knows a model by the pool's.
        upstream_models={
            "anthropic/claude-opus-4-8": "anthropic/claude-opus-4.8",
            "anthropic/claude-sonnet-4-6": "anthropic/claude-sonnet-4.6",
            "openai/gpt-5.2-2025-12-11": "openai/gpt-5.2",
            "openai/gpt-5.5-2026-04-23": "openai/gpt-5.5",
            "qwen/qwen3-235b-a22b-instruct-2507": "qwen/qwen3-235b-a22b-2507",
            "qwen/qwen3.7-max-2026-05-20": "qwen/qwen3.7-max",
        },
    ),
}
"""Providers whose addresses and usual variables are known; a gateway that has every model last."""


class ProxySettings(Section):
    """The OpenAI- and Anthropic-compatible doors of the HTTP front."""

    enabled: bool = True
    """Whether requests of LLM clients are taken there."""
    known_providers: bool = True
    """Whether providers that are known are asked without being listed under ``upstreams``, if their
    key stands in the environment under its usual name."""
    upstreams: Mapping[str, UpstreamSettings] = Field(default_factory=dict)
    """Where requests go: by a model of the pool, by its provider (``provider`` in the pool, or else
    the part of its name before the first slash), or by ``*`` for all others. A model without an
    entry cannot be reached through these doors."""
    retry_on: tuple[int, ...] = (404, 408, 409, 410, 425, 429, 500, 502, 503, 504, 529)
    """Statuses of a provider after which the next fallback of the decision is asked."""
    max_error_bytes: int = Field(default=64 * 1024, ge=0, le=16 * 1024 * 1024)
    """Most of a reply to a failed attempt that is read, so that its connection can be used again.
    """
