"""Settings of Envoy's external processor."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from routoo.config.section import Section

RoutingFailure = Literal["no_eligible_model", "budget_spent", "overloaded", "unavailable"]


class CapabilityNames(Section):
    """What the pool calls that which a request's body shows to be needed; None: not required."""

    tools: str | None = "tools"
    """The request brings tools or functions."""
    images: str | None = "vision"
    """A message has an image."""
    audio: str | None = "audio"
    """A message has a recording, or the reply is to be one."""
    files: str | None = None
    """A message has a document, such as a PDF."""
    json_output: str | None = "json"
    """The reply has to be JSON, with or without a schema."""


class ProcessorSettings(Section):
    """Envoy's external processor: picks the model of OpenAI- and Anthropic-style HTTP requests."""

    enabled: bool = False
    route_names: tuple[str, ...] = Field(default=("auto",), min_length=1)
    """Requests whose ``model`` is one of these are routed; all others pass untouched."""
    max_body_bytes: int = Field(default=4 * 1024 * 1024, ge=1024, le=1024**3)
    """Longest request body that is read."""
    on_too_large: Literal["pass", "refuse"] = "pass"
    """A longer body goes on as it came, or is refused with 413."""
    on_unreadable: Literal["pass", "refuse"] = "pass"
    """So does a body that is compressed or not JSON; refused with 415 and 400."""
    usage_from: Literal["reply", "access_log"] = "reply"
    """Where the tokens that a reply took are read: in the reply, of which Envoy sends every piece
    here and waits for an answer; or in Envoy's access log, which has to tell of them as
    deploy/envoy/envoy.yaml has it."""
    max_reply_bytes: int = Field(default=4 * 1024 * 1024, ge=1024, le=1024**3)
    """Longest reply, or event of a streamed one, in which the usage is looked for."""
    uncompressed_replies: bool = True
    """Takes accept-encoding off routed requests: in a compressed reply the usage is not found."""
    fallback_model: str = ""
    """Takes the requests that cannot be routed, for the reasons below. Empty: they are refused."""
    fallback_on: tuple[RoutingFailure, ...] = ("no_eligible_model", "overloaded", "unavailable")
    """The reasons. With ``budget_spent``, the fallback is paid for by no budget."""
    messages_models: tuple[str, ...] = ()
    """Models of the pool that take Anthropic's messages; empty: all of them."""
    openai_models: tuple[str, ...] = ()
    """Models of the pool that take OpenAI's requests; empty: all of them."""
    capabilities: CapabilityNames = CapabilityNames()
    tokens_per_image: int = Field(default=1000, ge=0, le=1_000_000)
    """What an image counts for in the context window and in the cost."""

    @field_validator("route_names")
    @classmethod
    def _not_empty(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not all(names):
            raise ValueError("an empty name; a request without a model is not routed")
        return names

    @model_validator(mode="after")
    def _fallback_is_no_route(self) -> ProcessorSettings:
        if self.fallback_model in self.route_names:
            raise ValueError(f"fallback_model {self.fallback_model!r} is itself a route name")
        return self
