"""An arm of a model as the pool file spells it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, get_args

import orjson
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
)

from routoo.routing.arms.efforts import (
    DEFAULT_EFFORT,
    EFFORTS,
    OUTPUT_TOKENS,
    RANKS,
    SCORE_ODDS,
    Effort,
    effort_of_budget,
)
from routoo.routing.arms.sold_prices import Multiplier, ServiceTier

Api = Literal["chat", "responses", "completions", "messages"]
APIS: Final[tuple[Api, ...]] = get_args(Api)
_KINDS = ("ask",)
# The caller's own words, and what decides where and how the answer goes.
_NOT_ASKED = frozenset({"model", "messages", "input", "prompt", "system", "stream", "tools"})


def _known_kind(value: object) -> object:
    if value not in _KINDS:
        raise ValueError(
            f"unknown kind of arm {value!r}; this version has {', '.join(_KINDS)} (one answer,"
            " asked for with the arm's parameters): remove the arm, or update Routoo"
        )
    return value


def _known_effort(value: object) -> object:
    if value is not None and value not in EFFORTS:
        raise ValueError(f"no API knows effort {value!r}; there are {', '.join(EFFORTS)}")
    return value


KnownEffort = Annotated[Effort, BeforeValidator(_known_effort)]
ArmName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$", min_length=1, max_length=64)
]


def _names(fields: Mapping[str, Any]) -> Iterator[Any]:
    for name, value in fields.items():
        yield name
        if isinstance(value, Mapping):
            yield from _names(value)


class ArmSpec(BaseModel):
    """One way to ask a model. What is not set is as for its model, and no parameter asks for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ArmName
    """The arm is named ``model@name``."""
    kind: Annotated[Literal["ask"], BeforeValidator(_known_kind)] = "ask"
    """``ask``: one answer is asked for, with the arm's parameters."""
    effort: KnownEffort | None = None
    """The reasoning effort."""
    thinking_budget_tokens: int | None = Field(default=None, ge=1024, le=2**31 - 1)
    """The most tokens of reasoning, as Anthropic's ``thinking.budget_tokens``."""
    max_output_tokens: int | None = Field(default=None, gt=0, le=2**31 - 1)
    """The longest answer that is asked for; the smaller of this and the request's own is sent."""
    service_tier: ServiceTier | None = None
    """The service tier that is asked for; the model's ``service_tiers`` price it."""
    body: Mapping[Api, Mapping[str, Any]] = Field(default={}, max_length=len(APIS))
    """By API, the fields that ask for the effort instead of the API's own, such as a vendor's."""
    predictor_name: str = Field(default="", max_length=256)
    """The predictor's row of the arm; empty: ``model@name``, where it has one."""
    score_odds: Multiplier | None = None
    """Where the predictor has no row of the arm: multiplies the odds of a good answer of the model,
    score / (1 - score). None: as learned for the effort."""
    output_tokens_factor: Multiplier | None = None
    """The same for output tokens, reasoning included."""
    time_to_first_token_ms: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Time to the first token, in ms; None: the model's."""
    time_per_output_token_ms: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Time per further token, in ms; None: the model's."""

    @field_validator("body")
    @classmethod
    def _can_be_written(
        cls, body: Mapping[Api, Mapping[str, Any]]
    ) -> Mapping[Api, Mapping[str, Any]]:
        for api, fields in body.items():
            for name in _names(fields):
                if not isinstance(name, str) or not (name.isidentifier() and name.isascii()):
                    raise ValueError(f"{api}: {name!r} is no name of a field")
            for name in _NOT_ASKED.intersection(fields):
                raise ValueError(f"{api}: {name!r} is the request's own; leave it out")
            try:
                orjson.dumps(fields)
            except TypeError as error:
                raise ValueError(f"{api}: is no JSON ({error})") from None
        return body

    @property
    def rank(self) -> int:
        """The position of the arm's effort, or of the one that its budget comes to, among all."""
        if self.effort is not None:
            return RANKS[self.effort]
        if self.thinking_budget_tokens is not None:
            return RANKS[effort_of_budget(self.thinking_budget_tokens)]
        return RANKS[DEFAULT_EFFORT]

    @property
    def reasons_as_told(self) -> bool:
        """Whether the arm tells the model how much to reason."""
        return self.effort is not None or self.thinking_budget_tokens is not None

    def offset(self, base: int) -> tuple[float, float]:
        """Returns by how much the odds of a good answer and the output tokens are multiplied.

        Args:
            base: the rank of the effort that the known figures are of.
        """
        own, other = EFFORTS[self.rank], EFFORTS[base]
        told = self.reasons_as_told
        odds = SCORE_ODDS[own] / SCORE_ODDS[other] if told else 1.0
        tokens = OUTPUT_TOKENS[own] / OUTPUT_TOKENS[other] if told else 1.0
        return (
            odds if self.score_odds is None else self.score_odds,
            tokens if self.output_tokens_factor is None else self.output_tokens_factor,
        )
