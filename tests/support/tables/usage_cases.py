"""Replies of many providers with the usage that is in them, from ``usage_cases.jsonl``.

Each line has the reply as one of ``reply`` (JSON), ``events`` (a stream, an event each) and
``text`` (as it stands), the expected ``usage``, and its ``nano_usd``: the price in billionths of a
dollar at $5 per million input tokens and $15 per million output tokens. Cached input costs half of
it, or at Anthropic's prices a tenth; input that is written into a cache 1.25 times, for an hour
twice.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from routoo.tariffs.usage import Usage

_FILE = Path(__file__).parents[2] / "unit" / "routing" / "tariffs" / "usage_cases.jsonl"

# Replies that carry the usage of the other maker's API have the other one's prices.
_SWAPPED = {
    "bedrock converse",
    "usage of messages in chat",
    "litellm, anthropic in chat's words",
    "usage of chat in messages",
}


@dataclass(frozen=True, slots=True)
class UsageCase:
    """A reply and its usage.

    Attributes:
        name: of the case.
        api: the API that the reply belongs to.
        dialect: the provider or the server whose dialect it is.
        content_type: of the reply.
        body: all bytes of the reply.
        cut: whether the reply breaks off after these bytes.
        usage: the expected usage.
        told: whether the provider has told both totals.
        nano_usd: the price of a usage that is told; None: of one that is not.
    """

    name: str
    api: str
    dialect: str
    content_type: str
    body: bytes
    cut: bool
    usage: Usage
    told: bool
    nano_usd: int | None

    @property
    def at_anthropic(self) -> bool:
        """True if ``nano_usd`` is at Anthropic's prices."""
        return (self.api == "messages") != (self.name in _SWAPPED)

    @property
    def streams(self) -> bool:
        """True if the reply is a stream of events."""
        return "event-stream" in self.content_type


def usage_cases() -> list[UsageCase]:
    """Returns all cases."""
    lines = _FILE.read_text(encoding="utf-8").splitlines()
    return [_case(**json.loads(line)) for line in lines]


def _case(
    name: str,
    api: str,
    dialect: str,
    usage: dict[str, object],
    *,
    told: bool,
    nano_usd: int | None,
    content_type: str = "",
    cut: bool = False,
    reply: object = None,
    events: list[object] | None = None,
    text: str | None = None,
) -> UsageCase:
    kind = "application/json"
    if events is not None:
        kind = "text/event-stream"
        text = "".join(map(_event, events))
    elif text is None:
        text = json.dumps(reply, ensure_ascii=False)
    found = Usage(**usage)  # type: ignore[arg-type]
    body = text.encode()
    return UsageCase(name, api, dialect, content_type or kind, body, cut, found, told, nano_usd)


def _event(event: object) -> str:
    if isinstance(event, str):
        return f"data: {event}\n\n"
    name = f"event: {event['type']}\n" if isinstance(event, dict) and "type" in event else ""
    return f"{name}data: {json.dumps(event, ensure_ascii=False)}\n\n"
