"""Options that both clients share, and the parts that are built from them."""

from __future__ import annotations

import time
from random import Random
from typing import TYPE_CHECKING, TypedDict

from routoo.client.fallback import DEFAULT_BREAKER, StandIn
from routoo.client.retry import Retries, RetryPolicy
from routoo.predictor.breaker import Breaker

if TYPE_CHECKING:
    from collections.abc import Callable

    from routoo.client.channel import Tls
    from routoo.client.fallback import Fallback
    from routoo.predictor.breaker import BreakerTerms


class ClientOptions(TypedDict, total=False):
    """Options of a client beside address and deadline.

    Attributes:
        retry: how failed calls are tried again; ``NO_RETRIES``: not at all.
        fallback_model: the model that ``route`` returns while the service cannot be reached or
            sheds load; such a reply is ``degraded`` and has no ``decision_id``. None: ``route``
            raises the error.
        on_fallback: called for each such reply; it has to be quick and must not raise.
        breaker: after how many failures the service is not asked, and how often it is probed.
        tls: the settings of an encrypted connection; None: a plain one.
        token: identifies the caller, as ``routoo token new`` printed it; over a plain connection it
            is sent to this machine only.
        clock: returns seconds, monotonic.
        rng: draws the pauses and the times of probes.
    """

    retry: RetryPolicy
    fallback_model: str | None
    on_fallback: Callable[[Fallback], None] | None
    breaker: BreakerTerms
    tls: Tls | None
    token: str | None
    clock: Callable[[], float]
    rng: Random


def make_retries(options: ClientOptions) -> Retries:
    """Makes the retries of a client."""
    clock = options.get("clock", time.monotonic)
    return Retries(options.get("retry", RetryPolicy()), clock, options.get("rng", Random()))  # noqa: S311 - pauses


def make_stand_in(options: ClientOptions) -> StandIn | None:
    """Makes the fallback model of a client; None where the options name none."""
    model = options.get("fallback_model")
    if model is None:
        return None
    terms = options.get("breaker", DEFAULT_BREAKER)
    clock = options.get("clock", time.monotonic)
    breaker = Breaker(terms, clock, options.get("rng", Random()))  # noqa: S311 - pauses
    return StandIn(model, breaker, options.get("on_fallback"))
