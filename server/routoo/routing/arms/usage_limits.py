"""Limits of providers on the use of their models, as the pool file spells them."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

REQUESTS: Final = "requests_per_minute"
INPUT_TOKENS: Final = "input_tokens_per_minute"
OUTPUT_TOKENS: Final = "output_tokens_per_minute"
TOKENS: Final = "tokens_per_minute"
CONCURRENT: Final = "max_concurrent"
KINDS: Final = (REQUESTS, INPUT_TOKENS, OUTPUT_TOKENS, TOKENS, CONCURRENT)
"""The kinds of limit; a row has the position of its kind."""

Amount = Annotated[int | None, Field(gt=0, le=10**12, strict=True)]


class UsageLimits(BaseModel):
    """The limits of a provider, over all its models, or of one model; None: there is none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests_per_minute: Amount = None
    """Most requests in any minute."""
    input_tokens_per_minute: Amount = None
    """Most input tokens in any minute."""
    output_tokens_per_minute: Amount = None
    """Most output tokens in any minute."""
    tokens_per_minute: Amount = None
    """Most input and output tokens together in any minute."""
    max_concurrent: Amount = None
    """Most requests that are sent and not answered yet."""

    @property
    def limits(self) -> dict[str, int]:
        """The limits that are set, by their kinds."""
        found = {kind: getattr(self, kind) for kind in KINDS}
        return {kind: limit for kind, limit in found.items() if limit is not None}


class ProviderSpec(UsageLimits):
    """One provider of the pool file's section ``providers``."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.limits:
            raise ValueError(f"sets no limit; set one of {', '.join(KINDS)}, or leave it out")
        return self


def without_unset_limits(values: dict[str, Any]) -> None:
    """Removes the limits that are not set from the plain values of a model."""
    for kind in KINDS:
        if values.get(kind) is None:
            values.pop(kind, None)
