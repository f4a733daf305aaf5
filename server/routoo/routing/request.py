"""A prompt to be routed, with the constraints that its answer has to keep."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from routoo.request_fields import CONSTRAINTS

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """One request, free of transport.

    Attributes:
        text: what the predictor reads; not empty.
        request_id: the caller's own name for it, returned unchanged.
        constraints: those that are set, by their names in ``routoo.request_fields``.
        tenant: who pays; empty: nobody in particular.
        policy: the policy that decides; empty: the one in force.
        expected_output_tokens: the caller's estimate; replaces the predicted lengths.
        max_output_tokens: the answer is cut off there; no longer one is expected.
        added_input_tokens: what the model reads beside the text, such as tools and images.
        explain: the caller wants every candidate.
    """

    text: str
    request_id: str = ""
    constraints: Mapping[str, Any] = field(default_factory=dict)
    tenant: str = ""
    policy: str = ""
    expected_output_tokens: int | None = None
    max_output_tokens: int | None = None
    added_input_tokens: int = 0
    explain: bool = False

    @classmethod
    def of(cls, text: str, fields: Mapping[str, Any], **more: Any) -> PromptRequest:
        """A request whose fields were read by the table, see ``routoo.request_fields``.

        Args:
            text: the prompt.
            fields: checked values by name; None and empty ones are not set.
            more: attributes that are no fields of the table.
        """
        constraints = {}
        for name, value in fields.items():
            if name in CONSTRAINTS:
                if value is not None and value != ():
                    constraints[name] = value
            elif name in _ATTRIBUTES:
                more[name] = value
        return cls(text, constraints=constraints, **more)


_ATTRIBUTES = ("tenant", "policy", "expected_output_tokens")
