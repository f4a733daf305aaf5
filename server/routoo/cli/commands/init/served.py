"""The models that an OpenAI-compatible server has: the answer of ``GET /models``."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from routoo.api.llm.model_lists import OWNER
from routoo.cli.output.errors import FAILED, UNREACHABLE, CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_BYTES: Final = 4 * 1024 * 1024
_MOST_MODELS: Final = 200
_TIMEOUT_S: Final = 10.0
_HERE: Final = frozenset({"localhost", "127.0.0.1", "::1"})
# Models that answer no chat are served by the same programs.
_NO_CHAT: Final = ("embed", "rerank", "whisper", "tts", "bge-", "moderation", "dall-e")


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model of a server.

    Attributes:
        id: the server's name of it.
        window: its context window in tokens; None: the server does not tell.
    """

    id: str
    window: int | None


def served_models(base_url: str, key: str) -> list[ServedModel]:
    """Asks a server for its models, and leaves out those that answer no chat.

    Args:
        base_url: the address up to and including the version.
        key: the key to show; empty: none.

    Raises:
        CommandError: there is no answer, or none that lists models, or it is a Routoo's; names the
            remedy.
    """
    headers = {"accept": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
    request = Request(f"{base_url}/models", headers=headers)  # noqa: S310 - http or https, checked
    here = urlsplit(base_url).hostname in _HERE
    opener = build_opener(*((ProxyHandler({}),) if here else ()))
    try:
        with opener.open(request, timeout=_TIMEOUT_S) as reply:
            body = reply.read(_MOST_BYTES)
    except HTTPError as error:
        error.close()
        remedy = "is the address complete, such as http://127.0.0.1:8000/v1?"
        if error.code in (401, 403):
            remedy = "name the variable that holds its key with --key-env"
        raise CommandError(f"{base_url}/models answers {error.code}; {remedy}", FAILED) from None
    except (URLError, OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        words = getattr(reason, "strerror", None) or type(reason).__name__
        raise CommandError(
            f"{base_url} does not answer ({words}); start the server, or correct --base-url",
            UNREACHABLE,
        ) from None
    entries = list(_entries(body))
    if any(one.get("owned_by") == OWNER for one in entries):
        raise CommandError(
            f"{base_url} is a Routoo, which would be asked for the models that it asks others for;"
            " name their server with --base-url"
        )
    found = [ServedModel(name, _window(entry)) for entry in entries if (name := _chat_name(entry))]
    if not found:
        raise CommandError(
            f"{base_url}/models lists no model that answers chats; load one there, or correct"
            " --base-url",
            FAILED,
        )
    return found[:_MOST_MODELS]


def _entries(body: bytes) -> Iterator[dict[str, Any]]:
    try:
        values: Any = json.loads(body)
    except (ValueError, RecursionError):
        return
    entries = values.get("data") if isinstance(values, dict) else None
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict):
            yield entry


def _chat_name(entry: dict[str, Any]) -> str:
    """Returns the name of a model that answers chats; empty: it is none."""
    name = entry.get("id")
    if not isinstance(name, str) or any(word in name.lower() for word in _NO_CHAT):
        return ""
    return name if name.strip() else ""


def _window(entry: dict[str, Any]) -> int | None:
    """Returns the context window as vLLM, llama.cpp and others tell it."""
    meta = entry.get("meta")
    told = (
        entry.get("max_model_len"),
        entry.get("context_length"),
        meta.get("n_ctx") if isinstance(meta, dict) else None,
        meta.get("n_ctx_train") if isinstance(meta, dict) else None,
    )
    return next(
        (one for one in told if isinstance(one, int) and not isinstance(one, bool) and one > 0),
        None,
    )
