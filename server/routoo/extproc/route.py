"""One HTTP request's decision: from its body and headers to the model that answers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from routoo.errors import DrainingError, InvalidRequestError, NoEligibleModelError
from routoo.extproc.body import asked_by
from routoo.extproc.constraints import COST_USD, DECISION_ID, MODEL, SCORE, read_constraints
from routoo.extproc.refusal import Refusal, failure_of, refusal_of
from routoo.prompt import PromptRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from routoo.decision import Decision
    from routoo.engine import Engine
    from routoo.extproc.body import Api, Asked
    from routoo.extproc.constraints import Constraints
    from routoo.extproc.replies import Header
    from routoo.pool import Pool
    from routoo.processor_settings import ProcessorSettings

_log = structlog.get_logger("routoo.extproc")
_NEEDS = (
    ("tools", "tools"),
    ("images", "images"),
    ("audio", "audio"),
    ("files", "files"),
    ("json_output", "JSON as output"),
)


@dataclass(frozen=True, slots=True)
class Routed:
    """Which model answers.

    Attributes:
        model: by its name in the pool.
        headers: what tells so, to the upstream and to the caller.
        decision: None: the fallback, of which nothing is predicted.
    """

    model: str
    headers: tuple[Header, ...]
    decision: Decision | None


class Router:
    """Decides for the processor; holds nothing of a request.

    Attributes:
        open: false: nothing is decided any more.

    Args:
        engine: the one in force.
        settings: the processor's.
        max_prompt_chars: longest text that is taken.
    """

    def __init__(
        self, engine: Callable[[], Engine], settings: ProcessorSettings, max_prompt_chars: int
    ) -> None:
        self.open = True
        self._engine = engine
        self._settings = settings
        self._max_prompt_chars = max_prompt_chars

    def is_for_us(self, body: dict[str, Any]) -> bool:
        """Whether the body's model is a route name."""
        model = body.get("model")
        return isinstance(model, str) and model in self._settings.route_names

    async def route(
        self, api: Api, body: dict[str, Any], headers: Sequence[Header], request_id: str
    ) -> Routed | Refusal:
        """Decides; an error becomes a refusal, or the fallback where the settings say so."""
        try:
            if not self.open:
                raise DrainingError("the service is stopping; send again")  # noqa: TRY301
            engine = self._engine()
            request = self._request(api, body, headers, request_id, engine.pool)
            decision = await engine.route(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an answer
            failure = failure_of(error)
            refusal = refusal_of(error)
            if refusal.code == "internal":
                _log.error("a request could not be routed", exc_info=error)
            if self._settings.fallback_model and failure in self._settings.fallback_on:
                model = self._settings.fallback_model
                return Routed(model, ((MODEL, model),), None)
            return refusal
        batch, row = decision.batch, decision.row
        return Routed(
            decision.model,
            (
                (MODEL, decision.model),
                (DECISION_ID, decision.decision_id),
                (SCORE, f"{batch.scores[row]:.4f}"),
                (COST_USD, f"{batch.costs_usd[row]:.6g}"),
            ),
            decision,
        )

    def trace(self, decision: Decision, traceparent: str) -> None:
        """Tells of a decision in the trace of its HTTP request, where traces are on."""
        tracing = self._engine().tracing
        if tracing is not None:
            tracing.decided_over_http(decision, traceparent)

    def _request(
        self,
        api: Api,
        body: dict[str, Any],
        headers: Sequence[Header],
        request_id: str,
        pool: Pool,
    ) -> PromptRequest:
        """The one place where an HTTP request becomes a request of the engine.

        Raises:
            InvalidRequestError, NoEligibleModelError.
        """
        constraints = read_constraints(headers)
        asked = asked_by(api, body)
        capabilities = (*constraints.required_capabilities, *self._needed(asked, pool))
        allowed = self._allowed(api, constraints)
        return PromptRequest(
            text=self._text(asked),
            request_id=request_id,
            max_cost_usd=constraints.max_cost_usd,
            min_score=constraints.min_score,
            max_latency_ms=constraints.max_latency_ms,
            allowed_models=allowed,
            denied_models=constraints.denied_models,
            required_capabilities=capabilities,
            tenant=constraints.tenant,
            policy=constraints.policy,
            max_quality_gap=constraints.max_quality_gap,
            expected_output_tokens=constraints.expected_output_tokens,
            max_output_tokens=asked.max_output_tokens,
            added_input_tokens=asked.other_tokens + asked.images * self._settings.tokens_per_image,
            constrained=bool(
                allowed
                or constraints.denied_models
                or capabilities
                or constraints.max_cost_usd is not None
                or constraints.min_score is not None
                or constraints.max_latency_ms is not None
            ),
        )

    def _text(self, asked: Asked) -> str:
        text = asked.text
        if len(text) > self._max_prompt_chars:
            raise InvalidRequestError(
                f"{len(text)} characters of text; send at most {self._max_prompt_chars}"
            )
        if text and not text.isspace():
            return text
        if asked.images or asked.needs & {"audio", "files"}:
            return " ".join(sorted(asked.needs))
        raise InvalidRequestError("there is no text in the request; nothing can be routed")

    def _needed(self, asked: Asked, pool: Pool) -> list[str]:
        needed = []
        for need, what in _NEEDS:
            if need in asked.needs:
                capability = getattr(self._settings.capabilities, need)
                if capability is None:
                    continue
                if capability not in pool.capabilities:
                    raise NoEligibleModelError(
                        f"no model of the pool has the capability {capability!r}, which the"
                        f" request needs for {what}",
                        constraint="required_capabilities",
                    )
                needed.append(capability)
        return needed

    def _allowed(self, api: Api, constraints: Constraints) -> tuple[str, ...]:
        speak = (
            self._settings.messages_models if api == "messages" else self._settings.openai_models
        )
        if not speak or not constraints.allowed_models:
            return speak or constraints.allowed_models
        allowed = tuple(name for name in constraints.allowed_models if name in speak)
        if not allowed:
            raise NoEligibleModelError(
                f"none of the allowed models takes this kind of request; {', '.join(speak)} do",
                constraint="allowed_models",
            )
        return allowed
