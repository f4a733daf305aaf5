"""Calls between the workers of one service, over gRPC on private unix sockets.

A decision is open in the worker that made it, and its id says which one that is. A report, an
escalation or an entry of Envoy's access log that reaches another worker is handed on as it came.
The same handlers answer it there, so that status codes and messages travel by themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio

from routoo.api.security.caller import ADMIN, ROUTE, Caller
from routoo.api.security.gate import Admission
from routoo.api.status import ForwardedError

if TYPE_CHECKING:
    from routoo.api.worker_address import WorkerAddress

_ANSWER_TIMEOUT_S = 10.0
_LONGEST_BYTES = 64 * 1024 * 1024
_TENANT = "routoo-tenant-bin"
_ANSWERED = "routoo-worker"
ANSWERED: Final = ((_ANSWERED, "answered"),)
"""Trailers of every refusal between workers: it is an answer, and not a worker that is away."""
OPTIONS: Final = (
    ("grpc.max_send_message_length", _LONGEST_BYTES),
    ("grpc.max_receive_message_length", _LONGEST_BYTES),
    # A worker that was started again is found again at once.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


class PeerAwayError(Exception):
    """A worker does not answer: it has ended, or is about to."""


class Peers:
    """Calls of one worker to the others. Lives on the event loop that serves.

    Args:
        address: of this worker.
    """

    def __init__(self, address: WorkerAddress) -> None:
        self._address = address
        self._channels: dict[int, grpc.aio.Channel] = {}

    def owner_of(self, decision_id: str) -> int | None:
        """The other worker that made a decision; None: this one, or none of these."""
        return self._address.other_owner(decision_id)

    async def ask(self, owner: int, method: str, body: bytes, tenant: str | None) -> bytes:
        """Hands a call on.

        Args:
            owner: the worker's index.
            method: its path, ``/SERVICE/RPC``.
            body: the message.
            tenant: what the caller is confined to; None: nothing.

        Raises:
            PeerAwayError: that worker does not answer.
            ForwardedError: it has refused the call.
        """
        channel = self._channels.get(owner)
        if channel is None:
            target = f"unix:{self._address.beside(owner).calls_socket}"
            channel = self._channels[owner] = grpc.aio.insecure_channel(target, OPTIONS)
        metadata = () if tenant is None else ((_TENANT, tenant.encode()),)
        call: Any = channel.unary_unary(method)  # type: ignore[call-arg] # raw bytes
        try:
            answer: bytes = await call(body, metadata=metadata, timeout=_ANSWER_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            trailers: Any = error.trailing_metadata() or ()
            if _ANSWERED not in dict(trailers):
                raise PeerAwayError(f"worker {owner}: {error.details()}") from None
            refused = ForwardedError(error.code(), error.details() or "")
            raise refused from None
        return answer

    async def close(self) -> None:
        """Closes the channels."""
        for channel in self._channels.values():
            await channel.close(None)
        self._channels.clear()


class PeerGate:
    """Lets calls of other workers in, which have asked the caller who it is.

    Only this service's processes can reach the socket on which it stands.

    Attributes:
        anyone: None, as each call says whom it is for.
    """

    anyone: Admission | None = None

    def admit(self, context: Any, rpc: str) -> Admission:  # noqa: ARG002 - one signature for gates
        """Lets a call in as its caller was let in by the worker that hands it on."""
        metadata = dict(context.invocation_metadata())
        tenant = metadata.get(_TENANT)
        return Admission(
            Caller("", None if tenant is None else tenant.decode(), frozenset({ROUTE, ADMIN}))
        )

    def check_unread(self, metadata: Any) -> None:
        """Refuses nothing."""
