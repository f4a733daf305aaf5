"""Settings of Envoy's external processor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, field_validator, model_validator

from routoo.config.section import Section

RoutingFailure = Literal[
    "no_eligible_model", "budget_spent", "overloaded", "unavailable", "internal"
]


class CapabilityNames(Section):
    """The pool's names of the capabilities that a request's body asks for; None: not required."""

    tools: str | None = "tools"
    """Required when the request brings tools or functions."""
    images: str | None = "vision"
    """Required when a message has an image."""
    audio: str | None = "audio"
    """Required when a message has a recording, or the reply is to be one."""
    video: str | None = "video"
    """Required when a message has a film."""
    files: str | None = None
    """Required when a message has a document, such as a PDF."""
    json_output: str | None = "json"
    """Required when the reply has to be JSON, with or without a schema."""
    kinds: Mapping[str, str | None] = Field(default_factory=dict)
    """Capabilities by kinds of parts that are not known here and are no text. A kind that is not
    named requires the capability of its own name."""


class MediaRates(Section):
    """Input tokens of what is no text. Images that show their size are counted by it."""

    tokens_per_audio_s: float = Field(default=32.0, ge=0.0, le=10_000.0, allow_inf_nan=False)
    """Of a second of a recording."""
    tokens_per_video_s: float = Field(default=300.0, ge=0.0, le=100_000.0, allow_inf_nan=False)
    """Of a second of a film, its sound included."""
    unknown_s: float = Field(default=300.0, ge=0.0, le=1e6, allow_inf_nan=False)
    """Length that is assumed for a recording or film of which only an address is known."""
    bytes_per_file_token: float = Field(default=10.0, gt=0.0, le=1e6, allow_inf_nan=False)
    """Of a file that is no text, such as a PDF, whose pages are read as text and as images."""
    tokens_per_file: int = Field(default=30_000, ge=0, le=10_000_000)
    """Of a file of which only an address or an id is known: some ten pages."""


class ProcessorSettings(Section):
    """Envoy's external processor: picks the model of OpenAI- and Anthropic-style HTTP requests."""

    enabled: bool = False
    """Whether Envoy's external processing is served."""
    route_names: tuple[str, ...] = Field(default=("auto",), min_length=1)
    """Requests whose ``model`` is one of these are routed; all others pass untouched. After a colon
    a name may tell a policy that is offered, as in auto:quality."""
    max_body_bytes: int = Field(default=6 * 1024 * 1024, ge=1024, le=1024**3)
    """Longest request body that is read. It has to fit in a message, see
    ``limits.max_message_bytes``."""
    on_too_large: Literal["head", "pass", "refuse"] = "head"
    """A longer body is routed by its first ``max_body_bytes``, where they have its ``model``, and
    else passed on as it came; or passed on in any case; or refused with 413."""
    on_unreadable: Literal["pass", "refuse"] = "pass"
    """A body in an unknown coding, or one that is not JSON and holds no route name, is passed on as
    it came, or refused with 415 or 400."""
    usage_from: Literal["reply", "access_log"] = "reply"
    """Source of the number of tokens that a reply took. reply: Envoy sends every piece of the reply
    here and waits for an answer. access_log: Envoy logs the tokens, as set up in
    deploy/envoy/envoy.yaml."""
    failed_upstream: Literal["estimate", "zero"] = "estimate"
    """Books of a request that Envoy itself ended with an error, such as 504 after its time-out,
    while the upstream may have worked for it. estimate: the predicted cost. zero: nothing, as for
    an upstream's own error, and for one that was never reached."""
    max_reply_bytes: int = Field(default=4 * 1024 * 1024, ge=1024, le=1024**3)
    """Longest event of a streamed reply in which the usage is looked for. Envoy's filter for the
    access log has a limit of its own, 4 MiB."""
    uncompressed_replies: bool = True
    """Removes accept-encoding from routed requests: the usage is not read in a compressed reply."""
    first_byte_s: float = Field(default=60.0, ge=0.0, le=3600.0, allow_inf_nan=False)
    """Longest wait for the reply to a streamed request to begin, before Envoy asks its fallback. A
    reply that is not streamed begins when it is complete, so that there the route's time-out alone
    counts. 0: no limit but the route's."""
    cap_answers: bool = True
    """Writes the longest answer that keeps ``x-routoo-max-cost-usd`` into requests that set none:
    ``max_completion_tokens`` in chats, ``max_output_tokens`` in responses, else ``max_tokens``.
    Such an answer may be cut off, but it costs no more than was allowed. Unset it to have the limit
    hold for the predicted cost alone."""
    named_models: Literal["pass", "book", "refuse"] = "pass"
    """Requests that name a model instead of a route name. pass: they go on as they came, and are
    paid by no budget. book: those that name a model of the pool go on as they came, and are
    reserved and settled like requests that are routed to it, or refused where the budgets have not
    enough left; others are refused. refuse: they are refused. The last two need ``on_too_large``
    and ``on_unreadable`` to be ``refuse``, as nobody knows which model such a body names."""
    answers_questions: bool = True
    """Answers what no model has to: ``GET /v1/models`` with the route names and the pool, a count
    of tokens for a route name, and the wish for a websocket (426). Unset: they are sent on."""
    fallback_model: str = ""
    """Model for requests that cannot be routed for a reason of ``fallback_on``. Empty: they are
    refused."""
    fallback_on: tuple[RoutingFailure, ...] = (
        "no_eligible_model",
        "overloaded",
        "unavailable",
        "internal",
    )
    """Reasons for the fallback: unavailable is a service that stops, internal one that fails. With
    ``budget_spent``, no budget pays for the fallback."""
    messages_models: tuple[str, ...] = ()
    """Models of the pool that take Anthropic's messages; empty: all of them."""
    openai_models: tuple[str, ...] = ()
    """Models of the pool that take OpenAI's requests; empty: all of them."""
    capabilities: CapabilityNames = CapabilityNames()
    tokens_per_image: int = Field(default=1600, ge=0, le=1_000_000)
    """Tokens of an image whose size is not known, in the context window and in the cost."""
    media: MediaRates = MediaRates()

    @field_validator("route_names")
    @classmethod
    def _not_empty(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not all(names):
            raise ValueError("an empty name; a request without a model is not routed")
        return names

    @model_validator(mode="after")
    def _nothing_gets_by(self) -> ProcessorSettings:
        passing = [
            name for name in ("on_too_large", "on_unreadable") if getattr(self, name) != "refuse"
        ]
        if self.named_models != "pass" and passing:
            raise ValueError(
                f"named_models: {self.named_models} needs {' and '.join(passing)} to be refuse, or"
                " requests that are not read would get by unpaid"
            )
        return self

    @model_validator(mode="after")
    def _fallback_is_no_route(self) -> ProcessorSettings:
        if self.fallback_model in self.route_names:
            raise ValueError(f"fallback_model {self.fallback_model!r} is itself a route name")
        return self
