"""The client that other Python services import.

    from routoo.client import RouterClient

    with RouterClient("127.0.0.1:50051", timeout_s=0.5) as router:
        decision = router.route("Prove that sqrt(2) is irrational", max_cost_usd=0.01)
        print(decision.model, decision.predicted_score, decision.predicted_cost_usd)

Arguments are plain Python values named as in ``proto/routoo/v1/route.proto``; replies are the
protobuf messages themselves (``routoo.v1``), whose fields that file documents with their units.
``to_dict`` turns any of them into plain dicts and lists. A refused or failed call raises
``RouterError``; a value that no request can carry raises ``TypeError`` or ``ValueError`` before
anything is sent.

A client holds one HTTP/2 connection, made on the first call and remade when it breaks. Make one
and share it: ``RouterClient`` between threads, ``AsyncRouterClient`` between the tasks of one
event loop. A failure that may pass is tried again within the call's deadline (``RetryPolicy``).
With ``fallback_model``, a service that is away costs its callers a worse choice, not an error.
``Stopwatch`` measures an answer's times for ``report``.
"""

from routoo.client.aio import AsyncRouterClient
from routoo.client.channel import DEFAULT_ADDRESS, DEFAULT_TIMEOUT_S, MAX_MESSAGE_BYTES, Tls
from routoo.client.errors import RouterError
from routoo.client.fallback import Fallback
from routoo.client.messages import (
    BatchOptions,
    Outcome,
    Prompt,
    RequestOptions,
    make_request,
    to_dict,
)
from routoo.client.options import ClientOptions
from routoo.client.retry import NO_RETRIES, RetryPolicy
from routoo.client.stopwatch import Stopwatch
from routoo.client.sync import RouterClient
from routoo.predictor.breaker import BreakerTerms

__all__ = [
    "DEFAULT_ADDRESS",
    "DEFAULT_TIMEOUT_S",
    "MAX_MESSAGE_BYTES",
    "NO_RETRIES",
    "AsyncRouterClient",
    "BatchOptions",
    "BreakerTerms",
    "ClientOptions",
    "Fallback",
    "Outcome",
    "Prompt",
    "RequestOptions",
    "RetryPolicy",
    "RouterClient",
    "RouterError",
    "Stopwatch",
    "Tls",
    "make_request",
    "to_dict",
]
