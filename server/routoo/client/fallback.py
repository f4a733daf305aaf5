"""The model that stands in while the service is away: never silently, and without waiting for it.

A circuit breaker keeps a dead service from costing every call its timeout: after a few failures in
a row the stand-in answers at once, and one call at a time finds out whether the service is back.
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
    """One call that the stand-in answered.

    Attributes:
        model: the stand-in.
        request_id: the request's own, as it was given.
        error: what the service's last attempt ended with.
        asked: whether this call was tried; False: the circuit was open.
    """

    model: str
    request_id: str
    error: RouterError
    asked: bool


class StandIn:
    """A model that answers ``route`` while the service cannot. For any thread.

    Args:
        model: its name.
        breaker: whether the service is asked.
        on_fallback: told of each call that it answered, on the thread or task of that call.
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
        """How many calls it answered."""
        return self._answered

    def allowed_by(self, request: RouteRequest) -> bool:
        """Whether the request's own lists allow this model; its other limits cannot be checked."""
        if self._model in request.denied_models:
            return False
        return not request.allowed_models or self._model in request.allowed_models

    def unasked(self, request: RouteRequest) -> RouteResponse | None:
        """The reply of an open circuit; None: ask the service, and say how that ended."""
        if self._breaker.allows or self._breaker.begin_probe():
            return None
        error = self._last_error
        assert error is not None  # noqa: S101 - a circuit is opened by an error
        return self._reply(request, error, asked=False)

    def succeeded(self) -> None:
        """The service answered, be it with a refusal of this request."""
        reopened = self._breaker.state is State.HALF_OPEN
        self._breaker.succeeded()
        if reopened:
            _log.warning("the routing service answers again")

    def abandoned(self) -> None:
        """The call ended without an answer and without an error, e.g. it was cancelled."""
        if self._breaker.state is State.HALF_OPEN:
            self._breaker.failed()

    def instead_of(self, error: RouterError, request: RouteRequest) -> RouteResponse:
        """The reply of the stand-in.

        Raises:
            RouterError: ``error``, where the service did answer and said no.
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
