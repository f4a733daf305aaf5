"""Bodies as twelve clients of LLM APIs send them, five each, and what becomes of them.

They were written by hand after what the clients send. A line of ``clients/CLIENT.jsonl`` has the
``name`` of the case, the ``path`` and the ``headers`` of the request, its ``body``, the
capabilities that a model ``needs`` for it, and the ``outcome``: ``routed``; ``passed`` as it came;
else words of the refusal.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FOLDER = Path(__file__).with_name("clients")


@dataclass(frozen=True, slots=True)
class ClientBody:
    """A request of a client.

    Attributes:
        client: the client.
        name: the case.
        path: the path of the request.
        headers: headers of it.
        content: the body.
        needs: capabilities that a model has to have for it.
        outcome: what becomes of it.
    """

    client: str
    name: str
    path: str
    headers: Mapping[str, str]
    content: bytes
    needs: frozenset[str]
    outcome: str

    def __str__(self) -> str:
        return f"{self.client}: {self.name}"

    def sent_as(self, model: str) -> Any:
        """Returns the parsed body with another model."""
        return {**json.loads(self.content), "model": model}


def client_bodies() -> list[ClientBody]:
    """Reads all of them."""
    return [one for file in sorted(FOLDER.glob("*.jsonl")) for one in _of(file)]


def _of(file: Path) -> Iterator[ClientBody]:
    for line in file.read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        # Clients differ in their spaces and escapes.
        compact = len(values["name"]) % 2 == 0
        content = json.dumps(
            values["body"],
            ensure_ascii=not compact,
            separators=(",", ":") if compact else None,
        )
        yield ClientBody(
            file.stem,
            values["name"],
            values["path"],
            values.get("headers", {}),
            content.encode(),
            frozenset(values.get("needs", ())),
            values["outcome"],
        )
