"""The decision of one HTTP request: it finds the model by the request's body and headers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from routoo.api.extproc.body import asked_by
from routoo.api.extproc.headers import (
    COST_USD,
    DECISION_ID,
    MODEL,
    SCORE,
    STAY_REASON,
    SWITCH_COST_USD,
    read_fields,
)
from routoo.api.extproc.refusal import Refusal, refusal_of
from routoo.api.session_of_body import session_of
from routoo.errors import DrainingError, InvalidRequestError, NoEligibleModelError
from routoo.predictor.conversation import TURN, contents
from routoo.predictor.tokenizers.families import count_by_family
from routoo.routing.estimates import INPUT_MARGIN
from routoo.routing.request import PromptRequest
from routoo.routing.sessions.stay import Stay

if TYPE_CHECKING:
    from collections.abc import Callable

    from routoo.api.extproc.body import Api, Asked
    from routoo.api.extproc.messages import Header
    from routoo.api.overload import Overload
    from routoo.api.security.caller import Caller
    from routoo.api.security.gate import Admission
    from routoo.config.processor import CapabilityNames, ProcessorSettings
    from routoo.config.settings import Settings
    from routoo.engine.current import ActiveEngine
    from routoo.engine.engine import Engine
    from routoo.routing.decision import Decision
    from routoo.routing.pool import Pool
    from routoo.telemetry.tracing import Tracing

_NEEDS = (
    ("tools", "tools"),
    ("images", "images"),
    ("audio", "audio"),
    ("video", "video"),
    ("files", "files"),
    ("json_output", "JSON as output"),
)


RPC = "Process"
# The text for the predictor of a request that has none that can be read, such as one of tokens.
_NOT_READ = "tokens"


@dataclass(frozen=True, slots=True)
class Head:
    """The parts of a request's headers that are kept.

    Attributes:
        api: the API, found by the path.
        ours: the headers with the prefix ``x-routoo-``.
        names: the names of all headers.
        request_id: the id that the caller or Envoy has set.
        traceparent: the trace that the request is part of; empty: of none.
    """

    api: Api
    ours: tuple[Header, ...]
    names: frozenset[str]
    request_id: str
    traceparent: str


@dataclass(frozen=True, slots=True)
class Routed:
    """A routed request.

    Attributes:
        model: the name, in the pool, of the model that answers.
        headers: tell the upstream and the caller of the decision.
        decision: the decision; None: the fallback model answers, for which nothing is predicted.
    """

    model: str
    headers: tuple[Header, ...]
    decision: Decision | None


class Router:
    """Decides for the processor; keeps no state of a request.

    Attributes:
        open: whether requests are still decided.

    Args:
        current: the engine and the settings in force.
        overload: refuses requests that would wait too long; shared with the calls of the API.
        tracing: gets the decisions; None: nothing is traced.
    """

    def __init__(
        self, current: ActiveEngine, overload: Overload, tracing: Tracing | None = None
    ) -> None:
        self.open = True
        self._tracing = tracing
        self._current = current
        self._overload = overload

    async def route(
        self, head: Head, body: dict[str, Any], admit: Callable[[], Admission]
    ) -> Routed | Refusal:
        """Decides a request; an error becomes a refusal, or the fallback if the settings say so.

        Args:
            head: the request's headers.
            body: the request's JSON object.
            admit: lets the sender in, or raises.
        """
        settings = self._current.settings
        entered_s = None
        admission: Admission | None = None
        try:
            self._overload.check()
            admission = admit()
            if not self.open:
                raise DrainingError("the service is stopping; send again")  # noqa: TRY301
            # Read after the last await, as a reload may exchange the engine during one.
            engine = self._current.engine
            request = _request(head, body, admission.caller, settings, engine)
            entered_s = self._overload.enter()
            decision = await engine.route(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an answer
            refusal = refusal_of(error, RPC)
            fallback = settings.processor
            if fallback.fallback_model and refusal.failure in fallback.fallback_on:
                model = fallback.fallback_model
                return Routed(model, ((MODEL, model),), None)
            return refusal
        finally:
            if entered_s is not None:
                self._overload.leave(entered_s)
            if admission is not None and admission.counts:
                admission.leave()
        return Routed(decision.model, _told(decision), decision)

    def trace(self, decision: Decision, traceparent: str) -> None:
        """Adds a decision to the trace of its HTTP request, if traces are on."""
        if self._tracing is not None:
            self._tracing.decided_over_http(decision, traceparent)


def _told(decision: Decision) -> tuple[Header, ...]:
    """Returns the headers that tell of a decision."""
    batch, row = decision.batch, decision.row
    headers = (
        (MODEL, decision.model),
        (DECISION_ID, decision.decision_id),
        (SCORE, f"{batch.scores[row]:.4f}"),
        (COST_USD, f"{batch.costs_usd[row]:.6g}"),
    )
    sessions = batch.sessions
    if sessions is None or sessions.rows.current[row] < 0:
        return headers
    switch = (SWITCH_COST_USD, f"{sessions.switch_costs_usd[row]:.6g}")
    stay = Stay(sessions.stays[row])
    return (
        (*headers, switch) if stay is Stay.NONE else (*headers, (STAY_REASON, stay.label), switch)
    )


def _request(
    head: Head, body: dict[str, Any], caller: Caller, settings: Settings, engine: Engine
) -> PromptRequest:
    """Converts an HTTP request to a request of the engine.

    Raises:
        InvalidRequestError: a header is wrong, or the text is missing or too long.
        NoEligibleModelError: no model of the pool can take the request.
        PermissionDeniedError: the request names another tenant.
    """
    fields = read_fields(head.ours)
    asked = asked_by(head.api, body)
    needed = _needed(asked, settings.processor.capabilities, engine.pool)
    fields["required_capabilities"] = (*fields.get("required_capabilities", ()), *needed)
    fields["allowed_models"] = _allowed(
        head.api, fields.get("allowed_models", ()), settings.processor
    )
    if caller.tenant is not None:
        fields["tenant"] = caller.tenant_for(fields.get("tenant", ""))
    processor = settings.processor
    media_tokens = asked.media.tokens(processor.media, processor.tokens_per_image)
    return PromptRequest.of(
        _text(asked, settings.limits.max_prompt_chars),
        fields,
        request_id=head.request_id,
        max_output_tokens=asked.max_output_tokens,
        answers=asked.answers,
        added_input_tokens=asked.other_tokens + media_tokens,
        added_output_tokens=_predicted_tokens(asked),
        unread=asked.unread,
        longest_share=asked.longest_share,
        mixed=asked.caches or asked.speaks or not asked.media.is_empty,
        images=asked.media.pieces,
        media=None
        if asked.media.is_empty
        else asked.media.amounts(processor.media, processor.tokens_per_image),
        service_tier=asked.service_tier,
        session=session_of(
            head.api,
            body,
            fields,
            derives=settings.sessions.derive and engine.accounting.sessions.keeps,
            marked=asked.caches,
        ),
    )


def _predicted_tokens(asked: Asked) -> int:
    """Returns the most tokens that a prediction of the answer adds to it, if it is wrong."""
    if not asked.predicted:
        return 0
    return math.ceil(float(count_by_family([asked.predicted]).max()) * INPUT_MARGIN) + 1


def _text(asked: Asked, most_chars: int) -> str:
    said = contents(asked.text) if asked.text[:1] == TURN else asked.text
    if len(said) > most_chars:
        raise InvalidRequestError(f"{len(said)} characters of text; send at most {most_chars}")
    if said and not said.isspace():
        return asked.text
    if asked.needs or asked.kinds:
        return " ".join(sorted({*asked.needs, *asked.kinds}))
    if asked.unread or asked.other_tokens:
        return _NOT_READ
    raise InvalidRequestError("there is no text in the request; nothing can be routed")


def _needed(asked: Asked, names: CapabilityNames, pool: Pool) -> list[str]:
    needed = []
    asked_for = [(getattr(names, need), what) for need, what in _NEEDS if need in asked.needs]
    asked_for += [(names.kinds.get(kind, kind), f"parts of kind {kind!r}") for kind in asked.kinds]
    for capability, what in asked_for:
        if capability is not None:
            if capability not in pool.capabilities:
                raise NoEligibleModelError(
                    f"no model of the pool has the capability {capability!r}, which the"
                    f" request needs for {what}",
                    constraint="required_capabilities",
                )
            needed.append(capability)
    return needed


def _allowed(api: Api, asked: tuple[str, ...], settings: ProcessorSettings) -> tuple[str, ...]:
    """Returns the models that the request allows and that speak its API; empty: all."""
    speak = settings.messages_models if api == "messages" else settings.openai_models
    if not speak or not asked:
        return speak or asked
    allowed = tuple(name for name in asked if name in speak)
    if not allowed:
        raise NoEligibleModelError(
            f"none of the allowed models takes this kind of request; {', '.join(speak)} do",
            constraint="allowed_models",
        )
    return allowed
