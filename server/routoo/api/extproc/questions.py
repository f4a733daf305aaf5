"""Requests that no model answers: for the list of models, a count of tokens, or a websocket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from routoo.api.aside import LARGE_BYTES
from routoo.api.extproc import messages
from routoo.api.llm.bodies.request_body import read_body
from routoo.api.llm.body import api_of
from routoo.api.llm.content_coding import decoded
from routoo.api.llm.model_lists import listed, one_of
from routoo.api.llm.refusal import Refusal
from routoo.api.llm.token_estimate import estimated_tokens
from routoo.errors import InvalidRequestError, TooLargeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from routoo.api.aside import Aside
    from routoo.engine.current import ActiveEngine

_MODELS: Final = "/models"
_COUNT_TOKENS: Final = "/messages/count_tokens"
_JSON: Final = ("content-type", "application/json")
# Of a reply whose figure is an estimate of the service, and not the provider's word.
_ESTIMATED: Final = ("x-routoo-estimated", "input_tokens")


class OwnAnswers:
    """Answers them where Envoy would send them on.

    Args:
        current: the engine and the settings in force.
        aside: reads large bodies.
    """

    def __init__(self, current: ActiveEngine, aside: Aside) -> None:
        self._current = current
        self._aside = aside

    def asks_for_count(self, path: str) -> bool:
        """Returns whether a POST to a path asks for a count of tokens."""
        asked = path.partition("?")[0].rstrip("/")
        return self._current.settings.processor.answers_questions and asked.endswith(_COUNT_TOKENS)

    def answer(self, path: str, headers: Mapping[str, str]) -> bytes | None:
        """Answers a request without a body; None: it is no question, and goes on.

        Args:
            path: in small letters, with or without a query.
            headers: those of the request, by name.
        """
        settings = self._current.settings.processor
        if not settings.answers_questions or headers.get(":method") not in ("GET", "HEAD"):
            return None
        if headers.get("upgrade", "").lower() == "websocket" and api_of(path) is not None:
            return messages.refused(
                Refusal(426, "upgrade_required", "there is no websocket here; send it by HTTP"),
                api_of(path) or "chat",
            )
        at, found, name = path.partition("?")[0].rpartition(_MODELS)
        if not found or not at.endswith(("/v1", "/openai", "/anthropic")):
            return None
        models = self._models()
        # Every client of Anthropic's API sends this header.
        anthropic = "anthropic-version" in headers
        if not name.strip("/"):
            body = listed(settings.route_names, models, anthropic=anthropic)
        else:
            one = one_of(name.strip("/"), settings.route_names, models, anthropic=anthropic)
            if one is None:
                return None
            body = one
        return messages.immediate(200, [_JSON], body, "routoo_models")

    def _models(self) -> Sequence[str]:
        if self._current.settings.processor.named_models == "refuse":
            return ()
        pool = self._current.engine.pool
        return tuple(dict.fromkeys(pool.model_of(column) for column in pool.index.values()))

    async def count(self, data: bytes, codings: Sequence[str]) -> bytes | None:
        """Counts the input tokens of a request, if a model is to be chosen for it.

        None: it names its model, whose provider counts by itself, or is not understood.

        Args:
            data: the body of the question, which is a request without its limits.
            codings: those of the body.
        """
        # What a compressed body takes is not known before.
        size_bytes = LARGE_BYTES + 1 if codings else len(data)
        try:
            tokens = await self._aside.run_if_large(size_bytes, self._counted, data, codings)
        except (InvalidRequestError, TooLargeError):
            return None
        if tokens is None:
            return None
        body = orjson.dumps({"input_tokens": tokens})
        return messages.immediate(200, [_JSON, _ESTIMATED], body, "routoo_count_tokens")

    def _counted(self, data: bytes, codings: Sequence[str]) -> int | None:
        settings, pool = self._current.settings.processor, self._current.engine.pool
        plain = decoded(data, codings, settings.max_body_bytes)
        body = read_body(plain, settings.route_names)
        if body is None:
            return None
        return estimated_tokens("messages", body.values, body.counted, pool, settings)
