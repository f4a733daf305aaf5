"""Asking pool models for answers: cached, paid from a purse, tried again where that helps."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson

from routoo.api.http.proxy.provider import AttemptError
from routoo.errors import InvalidRequestError
from routoo.routing.health.failures import Cause
from routoo.tariffs.tariff import NANO_PER_USD, cost_nano_usd
from routoo.tariffs.usage_reader import UsageReader
from routoo_export.errors import GradingError
from routoo_export.grading.answer_cache import ModelAnswer, answer_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from routoo.api.http.proxy.upstreams import Upstreams, UpstreamTarget
    from routoo.routing.pool import Pool
    from routoo_export.grading.answer_cache import AnswerCache
    from routoo_export.grading.purse import GradingPurse

MOST_REPLY_BYTES: Final = 4 * 1024 * 1024
ATTEMPTS: Final = 4
LONGEST_WAIT_S: Final = 60.0
MOST_FAILURES: Final = 5
"""Failures of a model in a row after which it is asked no more."""
_FIRST_WAIT_S: Final = 1.0
_TEMPLATE_TOKENS: Final = 64
_OK, _TIMEOUT, _CONFLICT, _TOO_MANY, _SERVER = 200, 408, 409, 429, 500
_NEW_NAMES: Final = "https://api.openai.com/"


class NotAnsweredError(GradingError):
    """One call has no answer; others may have one."""


class OutOfMoneyError(GradingError):
    """The cap leaves no room for a call."""


@dataclass(slots=True)
class AskedCounts:
    """Counts of a run.

    Attributes:
        calls: requests that were sent.
        cached: answers that were there already.
        failed: calls without an answer.
        reasons: the last failure of each model.
    """

    calls: int = 0
    cached: int = 0
    failed: int = 0
    reasons: dict[str, str] = field(default_factory=dict)


class ModelAsker:
    """Asks models of a pool by their OpenAI-compatible addresses.

    Args:
        pool: the models, with their prices.
        upstreams: their addresses and keys, as the section ``proxy`` of the settings has them.
        purse: pays.
        cache: keeps the answers.
        pause: waits so many seconds before a further try.
        within_s: the longest time of one call.
    """

    def __init__(
        self,
        pool: Pool,
        upstreams: Upstreams,
        purse: GradingPurse,
        cache: AnswerCache,
        *,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        within_s: float = 300.0,
    ) -> None:
        self._pool = pool
        self._upstreams = upstreams
        self._purse = purse
        self._cache = cache
        self._pause = pause
        self._within_s = within_s
        self._in_a_row: dict[str, int] = {}
        self._asking: dict[str, asyncio.Lock] = {}
        self.asked = AskedCounts()

    def target(self, model: str) -> UpstreamTarget:
        """Returns where a model is asked.

        Raises:
            GradingError: it has no OpenAI-compatible address, or its key is missing.
        """
        self._pool.columns_named(model, "models")
        found = self._upstreams.target(model, "chat")
        if found is None:
            raise GradingError(
                f"{model} has no OpenAI-compatible address; name it under proxy.upstreams of"
                " --config, and set its key"
            )
        return found

    def is_down(self, model: str) -> bool:
        """Whether a model failed so often in a row that it is asked no more."""
        return self._in_a_row.get(model, 0) >= MOST_FAILURES

    async def ask(
        self, model: str, messages: Sequence[Mapping[str, str]], parameters: Mapping[str, Any]
    ) -> ModelAnswer:
        """Returns an answer, from the cache if it is there.

        Args:
            model: the pool's name.
            messages: the conversation.
            parameters: further fields of the request; ``max_tokens`` bounds the cost.

        Raises:
            NotAnsweredError: the model is down, or its reply is no answer.
            OutOfMoneyError: the cap leaves no room for the call.
        """
        key = answer_key(model, messages, parameters)
        # What is asked twice at the same time is answered once, and paid once.
        async with self._asking.setdefault(key, asyncio.Lock()):
            known = self._cache.get(key)
            if known is not None:
                # A run that was killed may have kept the answer, and not yet its cost.
                self._purse.settle(known.reservation, known.cost_usd)
                self.asked.cached += 1
                return known
            return await self._asked(key, model, messages, parameters)

    async def _asked(
        self,
        key: str,
        model: str,
        messages: Sequence[Mapping[str, str]],
        parameters: Mapping[str, Any],
    ) -> ModelAnswer:
        if self.is_down(model):
            raise NotAnsweredError(self.asked.reasons[model])
        target = self.target(model)
        body = _body(target, messages, parameters)
        most_usd = self._most_usd(model, messages, int(parameters["max_tokens"]))
        try:
            answer = await self._tried(target, body, most_usd)
        except NotAnsweredError as error:
            self._in_a_row[model] = self._in_a_row.get(model, 0) + 1
            self.asked.failed += 1
            self.asked.reasons[model] = str(error)
            raise
        self._in_a_row[model] = 0
        self._cache.put(key, answer)
        self._purse.settle(answer.reservation, answer.cost_usd)
        return answer

    async def _tried(self, target: UpstreamTarget, body: bytes, most_usd: float) -> ModelAnswer:
        reason, wait_s = "", _FIRST_WAIT_S
        for attempt in range(ATTEMPTS):
            if attempt:
                await self._pause(min(wait_s, LONGEST_WAIT_S))
                wait_s *= 4.0
            reservation = self._purse.reserve(most_usd)
            if not reservation:
                raise OutOfMoneyError(
                    f"the cap of ${self._purse.cap_usd:g} leaves no room for a call of"
                    f" {target.model} (at most ${most_usd:.6f}); ${self._purse.spent_usd:.6f} are"
                    " spent or reserved; raise --budget-usd to go on"
                )
            self.asked.calls += 1
            started_s = time.monotonic()
            try:
                status, retry_after, reply = await self._sent(target, body)
            except AttemptError as error:
                reason = str(error)
                if not error.may_have_worked:
                    self._purse.settle(reservation, 0.0)
                continue  # else the provider may bill it, and it stays reserved
            latency_ms = (time.monotonic() - started_s) * 1e3
            if status == _OK:
                return self._answer(target, reply, reservation, most_usd, latency_ms)
            self._purse.settle(reservation, 0.0)
            reason = f"HTTP status {status}"
            if status < _SERVER and status not in (_TIMEOUT, _CONFLICT, _TOO_MANY):
                break
            wait_s = max(wait_s, retry_after)
        raise NotAnsweredError(f"{target.model}: {reason}")

    async def _sent(self, target: UpstreamTarget, body: bytes) -> tuple[int, float, bytes]:
        """Returns status, the wait in seconds that the reply asks for, and the body."""
        provider = target.provider
        headers = [("content-type", "application/json"), ("accept-encoding", "identity")]
        headers += list(provider.settings.headers.items())
        if provider.key.value and "authorization" not in provider.settings.headers:
            headers.append(("authorization", f"Bearer {provider.key.value}"))
        async with provider.connection(self._within_s):
            reply = await provider.send("/chat/completions", body, headers, self._within_s)
            parts, size = [], 0
            try:
                async with asyncio.timeout(self._within_s):
                    async for piece in reply.pieces():
                        parts.append(piece)
                        size += len(piece)
                        if size > MOST_REPLY_BYTES:
                            break
            except TimeoutError:
                raise AttemptError(Cause.TIMEOUT, "its reply did not end in time") from None
            finally:
                reply.close()
            return reply.status, _seconds(reply.header(b"retry-after")), b"".join(parts)

    def _answer(
        self,
        target: UpstreamTarget,
        reply: bytes,
        reservation: str,
        most_usd: float,
        latency_ms: float,
    ) -> ModelAnswer:
        """Reads a reply; one that is no answer is paid for all the same."""
        reader = UsageReader(streams=False, longest_event=MOST_REPLY_BYTES)
        reader.feed(reply)
        reading = reader.reading(finished=True)
        cost_usd, billed = most_usd, False
        if reading.told:
            column = self._pool.columns_named(target.model, "models")[0]
            tariff = self._pool.prices.tariffs[column]
            try:
                cost_usd = cost_nano_usd(tariff, reading.usage, int(time.time())) / NANO_PER_USD
                billed = True
            except InvalidRequestError:
                pass  # absurd counters: booked as the most
        text = _text_of(reply)
        if text is None:
            self._purse.settle(reservation, cost_usd)
            what = "is longer than 4 MiB" if len(reply) > MOST_REPLY_BYTES else "is no chat reply"
            raise NotAnsweredError(f"{target.model}: its reply {what}")
        return ModelAnswer(
            model=target.model,
            text=text,
            cost_usd=cost_usd,
            billed=billed,
            input_tokens=reading.usage.input_tokens if reading.told else None,
            output_tokens=reading.usage.output_tokens if reading.told else None,
            latency_ms=latency_ms,
            reservation=reservation,
        )

    def _most_usd(
        self, model: str, messages: Sequence[Mapping[str, str]], max_tokens: int
    ) -> float:
        """The most that a call can cost: a token has a byte at least."""
        most_bytes = sum(len(value.encode()) for one in messages for value in one.values())
        column = self._pool.columns_named(model, "models")[0]
        m = len(self._pool.names)
        costs_usd = self._pool.prices.most_usd(
            np.array([float(most_bytes + _TEMPLATE_TOKENS * len(messages))]),
            np.full((1, m), float(max_tokens)),
            np.array([int(time.time())], np.int64),
        )
        return float(costs_usd[0, column])


def _body(
    target: UpstreamTarget, messages: Sequence[Mapping[str, str]], parameters: Mapping[str, Any]
) -> bytes:
    fields = dict(parameters)
    if str(target.provider.settings.base_url).startswith(_NEW_NAMES):
        fields["max_completion_tokens"] = fields.pop("max_tokens")
    asked = {"model": target.upstream_model, "messages": list(messages), **fields}
    return orjson.dumps(asked)


def _text_of(reply: bytes) -> str | None:
    """The text of a chat reply, or its refusal; None: it is none."""
    try:
        message = orjson.loads(reply)["choices"][0]["message"]
        content = message.get("content")
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, AttributeError):
        return None
    if isinstance(content, list):
        texts = [one.get("text") for one in content if isinstance(one, dict)]
        content = "".join(one for one in texts if isinstance(one, str))
    if not content:
        refusal = message.get("refusal")
        content = refusal if isinstance(refusal, str) else content
    return content if isinstance(content, str) else ("" if content is None else None)


def _seconds(text: str) -> float:
    try:
        return max(0.0, min(float(text), LONGEST_WAIT_S))
    except ValueError:
        return 0.0
