"""The fallback model that answers ``route`` while the service is away; its replies are marked.

A circuit breaker keeps a dead service from costing every call its timeout: after a few failures in
a row the fallback model answers at once, and one call at a time tests whether the service is back.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc

from routoo.client.retry import CUT_OFF
from routoo.predictor.breaker import Breaker, BreakerTerms, State
from routoo.v1.route_pb2 import Reason, RouteResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from routoo.client.errors import RouterError
    from routoo.v1.route_pb2 import RouteRequest

DEFAULT_BREAKER: Final = BreakerTerms(failures=3, first_probe_s=1.0, longest_probe_s=15.0)
_AWAY: Final = CUT_OFF | {grpc.StatusCode.DEADLINE_EXCEEDED}
_log = logging.getLogger("routoo.client")


@dataclass(frozen=True, slots=True)
class Fallback:
    """One call that the fallback model answered.

    Attributes:
        model: the fallback model.
        request_id: the ``request_id`` of the request.
        error: the error of the last attempt to reach the service.
        asked: whether this call was sent to the service; False: the circuit was open.
    """

    model: str
    request_id: str
    error: RouterError
    asked: bool


class StandIn:
    """A model that answers ``route`` while the service cannot; safe to use from any thread.

    Args:
        model: its name.
        breaker: decides whether the service is asked.
        on_fallback: called for each call that the model answered, on that call's thread or task.
    """

    def __init__(
        self, model: str, breaker: Breaker, on_fallback: Callable[[Fallback], None] | None
    ) -> None:
        self._model = model
        self._breaker = breaker
        self._on_fallback = on_fallback
        self._lock = threading.Lock()
        self._answered = 0
        self._last_error: RouterError | None = None

    @property
    def answered(self) -> int:
        """The number of calls that the model answered."""
        return self._answered

    def allowed_by(self, request: RouteRequest) -> bool:
        """Returns whether the request's lists allow this model; other limits cannot be checked."""
        if self._model in request.denied_models:
            return False
        return not request.allowed_models or self._model in request.allowed_models

    def unasked(self, request: RouteRequest) -> RouteResponse | None:
        """Returns the reply of an open circuit; None: the service has to be asked.

        After a None, one of ``succeeded``, ``abandoned`` and ``instead_of`` has to be called.
        """
        if self._breaker.allows or self._breaker.begin_probe():
            return None
        error = self._last_error
        assert error is not None  # noqa: S101 - a circuit is opened by an error
        return self._reply(request, error, asked=False)

    def succeeded(self) -> None:
        """Notes that the service answered; a refusal of this request is an answer, too."""
        reopened = self._breaker.state is State.HALF_OPEN
        self._breaker.succeeded()
        if reopened:
            _log.warning("the routing service answers again")

    def abandoned(self) -> None:
        """Notes that the call ended without an answer or an error, e.g. it was cancelled."""
        if self._breaker.state is State.HALF_OPEN:
            self._breaker.failed()

    def instead_of(self, error: RouterError, request: RouteRequest) -> RouteResponse:
        """Returns the fallback model's reply instead of an error.

        Raises:
            RouterError: ``error``, where the service answered and refused the request.
        """
        if error.code not in _AWAY and not error.is_overload:
            self.succeeded()
            raise error
        self._last_error = error
        was_closed = self._breaker.allows
        self._breaker.failed()
        if was_closed and not self._breaker.allows:
            _log.warning(
                "the routing service is away (%s); %s stands in until it answers again",
                error,
                self._model,
            )
        return self._reply(request, error, asked=True)

    def _reply(self, request: RouteRequest, error: RouterError, *, asked: bool) -> RouteResponse:
        with self._lock:
            self._answered += 1
        if self._on_fallback is not None:
            self._on_fallback(Fallback(self._model, request.request_id, error, asked))
        return RouteResponse(
            request_id=request.request_id,
            model=self._model,
            reason=Reason(text=f"the client's fallback model: no decision ({error})"),
            degraded=True,
        )
