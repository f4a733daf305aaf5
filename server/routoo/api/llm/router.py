"""The decision of one HTTP request: it finds the model by the request's body and headers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from routoo.api.aside import LARGE_BYTES, Aside
from routoo.api.llm.body import asked_by
from routoo.api.llm.headers import (
    ARM,
    COST_USD,
    DECISION_ID,
    MODEL,
    PROPENSITY,
    SCORE,
    STAY_REASON,
    SWITCH_COST_USD,
    read_fields,
    with_policy,
)
from routoo.api.llm.named_models import booked_model
from routoo.api.llm.refusal import Refusal, failure_of, fault_of, refusal_of
from routoo.api.session_of_body import session_of, session_of_body
from routoo.errors import DrainingError, InvalidRequestError, NoEligibleModelError
from routoo.predictor.conversation import TURN, contents
from routoo.predictor.tokenizers.families import count_by_family
from routoo.routing.arms.efforts import DEFAULT_EFFORT
from routoo.routing.arms.own import NOTHING_ASKED, own_asking
from routoo.routing.estimates import INPUT_MARGIN
from routoo.routing.request import PromptRequest
from routoo.routing.sessions.stay import Stay

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from routoo.api.llm.bodies.request_body import RequestBody
    from routoo.api.llm.body import Api, Asked
    from routoo.api.llm.headers import Header
    from routoo.api.llm.refusal import Fault
    from routoo.api.overload import Overload
    from routoo.api.security.caller import Caller
    from routoo.api.security.gate import Admission
    from routoo.config.sections.processor import CapabilityNames, ProcessorSettings
    from routoo.config.settings import Settings
    from routoo.engine.current import ActiveEngine
    from routoo.routing.arms.own import OwnAsking
    from routoo.routing.arms.spec import ArmSpec
    from routoo.routing.decision import Decision, FallbackArm
    from routoo.routing.pool import Pool
    from routoo.routing.sessions.facts import SessionFacts
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
TWO_ANSWERS = "cascade"
"""The policy that is not offered here."""
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
        codings: those of the body, in the order in which they were made; see ``codings_of``.
        unseen_bytes: how much of the body is not here and may be input; None: all of it is here.
    """

    api: Api
    ours: tuple[Header, ...]
    names: frozenset[str]
    request_id: str
    traceparent: str
    codings: tuple[str, ...] = ()
    unseen_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Routed:
    """A routed request.

    Attributes:
        model: the name, in the pool, of the model that answers.
        arm: the arm that it is asked for; None: none.
        headers: tell the upstream and the caller of the decision.
        decision: the decision; None: the fallback model answers, for which nothing is predicted.
        is_named: whether the request names its model, so that its body stays as it is.
    """

    model: str
    arm: ArmSpec | None
    headers: tuple[Header, ...]
    decision: Decision | None
    is_named: bool = False

    @property
    def name(self) -> str:
        """The name of the column in the pool: ``model``, or ``model@arm``."""
        return self.model if self.arm is None else f"{self.model}@{self.arm.name}"

    @property
    def fallback(self) -> FallbackArm | None:
        """The model to ask where the upstream fails; None: there is none, or it is named."""
        if self.decision is None or self.is_named:
            return None
        return next(iter(self.decision.fallbacks()), None)


class Router:
    """Decides for the processor; keeps no state of a request.

    Attributes:
        open: whether requests are still decided.

    Args:
        current: the engine and the settings in force.
        overload: refuses requests that would wait too long; shared with the calls of the API.
        tracing: gets the decisions; None: nothing is traced.
        aside: reads large bodies; None: a thread of its own.
        on_fault: called for each request without a decision by a fault that is not its own.
    """

    def __init__(
        self,
        current: ActiveEngine,
        overload: Overload,
        tracing: Tracing | None = None,
        *,
        aside: Aside | None = None,
        on_fault: Callable[[Fault], None] = lambda _fault: None,
    ) -> None:
        self.open = True
        self._aside = Aside() if aside is None else aside
        self._on_fault = on_fault
        self._tracing = tracing
        self._current = current
        self._overload = overload

    def named(self, body: RequestBody | None, settings: ProcessorSettings) -> str | Refusal:
        """Returns the model that a request names, if it is booked; see ``booked_model``."""
        return booked_model(body, settings, self._current.engine.pool)

    async def route(
        self,
        head: Head,
        body: Mapping[str, Any],
        admit: Callable[[], Admission],
        *,
        counted: Sequence[str] = (),
        size_bytes: int = 0,
        named: str = "",
        offered: tuple[str, ...] | None = None,
    ) -> Routed | Refusal:
        """Decides a request; an error becomes a refusal, or the fallback if the settings say so.

        The fallback model takes no request whose body was not understood: nobody would know what
        it costs.

        Args:
            head: the request's headers.
            body: the members of the request's body.
            admit: lets the sender in, or raises.
            counted: parts of the body that were not read, see ``RequestBody``.
            size_bytes: the size of the body; a large one is read beside the loop.
            named: the pool's model that the request names, and that answers it or none; empty: it
                is routed.
            offered: the models and arms that may be chosen, empty: all; None: those that the
                settings of the processor name for the API.
        """
        entered_s = None
        admission: Admission | None = None
        request: PromptRequest | None = None
        try:
            self._overload.check()
            admission = admit()
            if not self.open:
                raise DrainingError("the service is stopping; send again")  # noqa: TRY301
            if size_bytes > LARGE_BYTES:
                asked, told = await self._aside.run(_read, head, body, counted)
            else:
                asked, told = _read(head, body, counted)
            # Read after the last await, as a reload may exchange the engine during one.
            engine, settings = self._current.engine, self._current.settings
            own = NOTHING_ASKED if engine.pool.arms is None else own_asking(head.api, body)
            forwards = offered is not None
            if offered is None:
                offered = _speaking(head.api, settings.processor)
            if not named:
                head = replace(head, ours=with_policy(head.ours, body.get("model")))
            request = _request(
                head, asked, own, admission.caller, settings, engine.pool, named, offered
            )
            if not named:
                derives = settings.sessions.derive and engine.accounting.sessions.keeps
                session = session_of(read_fields(head.ours), told, derives=derives)
                request = replace(request, session=session, retried=forwards or request.retried)
            entered_s = self._overload.enter()
            decision = await engine.route(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an answer
            if named:
                return self._refused(error, "")
            return self._not_routed(error, understood=request is not None)
        finally:
            if entered_s is not None:
                self._overload.leave(entered_s)
            if admission is not None and admission.counts:
                admission.leave()
        arm = None if named else decision.arm  # its body stays as it is
        return Routed(decision.model, arm, _told(decision, arm), decision, is_named=bool(named))

    def refused(self, error: Exception) -> Refusal:
        """Returns the refusal of a request whose body could not be read, and logs a fault."""
        return self._refused(error, "")

    def _not_routed(self, error: Exception, *, understood: bool) -> Routed | Refusal:
        """Returns the fallback model, where it may answer, or the refusal of a request."""
        settings = self._current.settings.processor
        failure = failure_of(error)
        is_taken = failure in settings.fallback_on and (understood or failure != "internal")
        model = settings.fallback_model if is_taken else ""
        refusal = self._refused(error, model)
        return _fallback(model, self._current.engine.pool) if model else refusal

    def _refused(self, error: Exception, fallback_model: str) -> Refusal:
        """Makes the refusal for an error; a fault of the service is logged and counted."""
        fault = fault_of(error)
        if fault is None:
            return refusal_of(error, RPC)
        engine = self._current.engine
        decision_id = engine.new_id()
        self._on_fault(fault)
        engine.failed(decision_id, fault, fallback_model)
        return refusal_of(error, RPC, decision_id)

    def trace(self, decision: Decision, traceparent: str) -> None:
        """Adds a decision to the trace of its HTTP request, if traces are on."""
        if self._tracing is not None:
            self._tracing.decided_over_http(decision, traceparent)


def _read(
    head: Head, body: Mapping[str, Any], counted: Sequence[str]
) -> tuple[Asked, SessionFacts]:
    """Reads what a body asks for, and the session that it tells."""
    asked = asked_by(head.api, body, counted, head.unseen_bytes)
    return asked, session_of_body(head.api, body, marked=asked.caches)


def _told(decision: Decision, arm: ArmSpec | None) -> tuple[Header, ...]:
    """Returns the headers that tell of a decision."""
    batch, row = decision.batch, decision.row
    headers = (
        (MODEL, decision.model),
        *(() if arm is None else ((ARM, arm.name),)),
        (DECISION_ID, decision.decision_id),
        (SCORE, f"{batch.scores[row]:.4f}"),
        (COST_USD, f"{batch.costs_usd[row]:.6g}"),
        *_propensity(decision),
    )
    sessions = batch.sessions
    if sessions is None or sessions.rows.current[row] < 0:
        return headers
    switch = (SWITCH_COST_USD, f"{sessions.switch_costs_usd[row]:.6g}")
    stay = Stay(sessions.stays[row])
    return (
        (*headers, switch) if stay is Stay.NONE else (*headers, (STAY_REASON, stay.label), switch)
    )


def _propensity(decision: Decision) -> tuple[Header, ...]:
    """Returns the header of the choice's probability, where something may be drawn."""
    batch = decision.batch
    draws = batch.explored is not None or batch.odds is not None
    if not draws or (odds := decision.propensity) is None:
        return ()
    return ((PROPENSITY, repr(odds)),)


def told_of(fallback: FallbackArm, decision_id: str) -> tuple[Header, ...]:
    """Returns the headers that tell of an answer by a fallback of a decision."""
    return (
        (MODEL, fallback.model),
        *(() if fallback.arm is None else ((ARM, fallback.arm.name),)),
        (DECISION_ID, decision_id),
        (SCORE, f"{fallback.score:.4f}"),
        (COST_USD, f"{fallback.cost_usd:.6g}"),
    )


def _fallback(name: str, pool: Pool) -> Routed:
    """Returns the fallback; the name of a model with arms asks for none of them."""
    column = pool.columns_named(name, "processor.fallback_model")[0]
    model, arms = pool.model_of(column), pool.arms
    arm = None if arms is None or name == model else arms.specs[column]
    named = () if arm is None else ((ARM, arm.name),)
    return Routed(model, arm, ((MODEL, model), *named), None)


def _request(
    head: Head,
    asked: Asked,
    own: OwnAsking,
    caller: Caller,
    settings: Settings,
    pool: Pool,
    named: str,
    offered: tuple[str, ...],
) -> PromptRequest:
    """Converts an HTTP request to a request of the engine.

    Raises:
        InvalidRequestError: a header is wrong, or the text is missing or too long.
        NoEligibleModelError: no model of the pool can take the request.
        PermissionDeniedError: the request names another tenant.
    """
    fields = read_fields(head.ours)
    if fields.get("policy", "" if named else settings.policy.name) == TWO_ANSWERS:
        raise InvalidRequestError(
            f"{TWO_ANSWERS} asks two models and compares their answers, and this way in asks one;"
            " name another policy, here or with policy.name, or call Route and Escalate",
            field="x-routoo-policy",
        )
    # A caller that names a model knows what it can do.
    needed = [] if named else _needed(asked, settings.processor.capabilities, pool)
    fields["required_capabilities"] = (*fields.get("required_capabilities", ()), *needed)
    allowed = fields.get("allowed_models", ())
    if named and allowed and named not in allowed:
        raise NoEligibleModelError(
            f"the body names {named}, and the allowed models are others",
            constraint="allowed_models",
        )
    fields["allowed_models"] = _allowed((named,) if named else allowed, offered, pool)
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
        named=bool(named),
        retried=not named,
        api="" if pool.arms is None else head.api,
        # A body that names its model stays as it is: without an effort, the usual one is meant.
        effort=own.effort or (DEFAULT_EFFORT if named and pool.arms is not None else ""),
        forbids_thinking=own.forbids_thinking,
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
    if asked.unread or asked.other_tokens or asked.continues:
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


def _speaking(api: Api, settings: ProcessorSettings) -> tuple[str, ...]:
    """Returns the models that the settings name for an API; empty: all."""
    return settings.messages_models if api == "messages" else settings.openai_models


def _allowed(asked: tuple[str, ...], speak: tuple[str, ...], pool: Pool) -> tuple[str, ...]:
    """Returns the models that the request allows and that speak its API; empty: all."""
    if not speak or not asked:
        return speak or asked
    if pool.arms is None:
        allowed = tuple(name for name in asked if name in speak)
    else:
        both = pool.holds(speak) & pool.holds(name for name in asked if pool.has(name))
        allowed = tuple(pool.names[column] for column in np.flatnonzero(both).tolist())
    if not allowed:
        raise NoEligibleModelError(
            f"none of the allowed models takes this kind of request; {', '.join(speak)} do",
            constraint="allowed_models",
        )
    return allowed
