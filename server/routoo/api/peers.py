"""Calls between the workers of one service, over gRPC on private unix sockets.

A decision is open in the worker that made it, and its id says which one that is. A report, an
escalation or an entry of Envoy's access log that reaches another worker is handed on unchanged.
The same handlers answer it there, and the caller gets their status codes and messages.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio

from routoo.api.security.caller import ADMIN, ROUTE, Caller
from routoo.api.security.gate import Admission
from routoo.api.status import ForwardedError

if TYPE_CHECKING:
    from routoo.api.worker_address import WorkerAddress

_ANSWER_TIMEOUT_S = 10.0
_SOON_S = 1.0
_LONGEST_BYTES = 64 * 1024 * 1024
_LONGEST_METADATA_BYTES = 16 * 1024 * 1024
_TENANT = "routoo-tenant-bin"
_ANSWERED = "routoo-worker"
ANSWERED: Final = ((_ANSWERED, "answered"),)
"""Trailers of every refusal between workers; an error without them means a worker that is away."""
OPTIONS: Final = (
    ("grpc.max_send_message_length", _LONGEST_BYTES),
    ("grpc.max_receive_message_length", _LONGEST_BYTES),
    # The tenant travels in the metadata, and may be as long as a token's name of it.
    ("grpc.max_metadata_size", _LONGEST_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", _LONGEST_METADATA_BYTES),
    # Short, so that a worker that was started again is reached soon.
    ("grpc.initial_reconnect_backoff_ms", 50),
    # By this name gRPC has the longest time for a connection. A worker that has ended refuses it at
    # once; one on a busy machine may take a while, and what is asked of it must not get lost.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


class PeerAwayError(Exception):
    """Another worker does not answer, because it has ended or is about to."""


class Peers:
    """Calls of one worker to the others. Lives on the event loop that serves.

    Args:
        address: of this worker.
    """

    def __init__(self, address: WorkerAddress) -> None:
        self._address = address
        self._channels: dict[int, grpc.aio.Channel] = {}

    def owner_of(self, decision_id: str) -> int | None:
        """Returns the index of the other worker that made a decision.

        None: this worker made it, or no worker of this service.
        """
        return self._address.other_owner(decision_id)

    async def ask(
        self,
        owner: int,
        method: str,
        body: bytes,
        tenant: str | None,
        timeout_s: float = _ANSWER_TIMEOUT_S,
    ) -> bytes:
        """Hands a call on to another worker and returns its answer.

        Args:
            owner: the worker's index.
            method: its path, ``/SERVICE/RPC``.
            body: the message.
            tenant: the tenant that the caller is confined to; None: not confined.
            timeout_s: the longest wait for the answer.

        Raises:
            PeerAwayError: that worker does not answer.
            ForwardedError: that worker has refused the call.
        """
        channel = self._channels.get(owner)
        if channel is None:
            target = f"unix:{self._address.beside(owner).calls_socket}"
            channel = self._channels[owner] = grpc.aio.insecure_channel(target, OPTIONS)
        metadata = () if tenant is None else ((_TENANT, tenant.encode()),)
        call: Any = channel.unary_unary(method)  # type: ignore[call-arg] # raw bytes
        try:
            answer: bytes = await call(body, metadata=metadata, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            trailers: Any = error.trailing_metadata() or ()
            if _ANSWERED not in dict(trailers):
                raise PeerAwayError(f"worker {owner}: {error.details()}") from None
            refused = ForwardedError(error.code(), error.details() or "")
            raise refused from None
        return answer

    async def ask_all(self, method: str, body: bytes) -> list[bytes]:
        """Asks all other workers, and returns the answers of those that answer soon.

        Args:
            method: its path, ``/SERVICE/RPC``.
            body: the message.
        """
        others = [one for one in range(self._address.workers) if one != self._address.index]
        answers = await asyncio.gather(
            *(self.ask(one, method, body, None, _SOON_S) for one in others), return_exceptions=True
        )
        return [one for one in answers if isinstance(one, bytes)]

    async def close(self) -> None:
        """Closes the channels."""
        for channel in self._channels.values():
            await channel.close(None)
        self._channels.clear()


class PeerGate:
    """Lets in the calls of other workers, whose own gates have already checked the caller.

    It guards a socket that only this service's processes can reach.

    Attributes:
        anyone: None, as each call names the tenant that it is confined to.
    """

    anyone: Admission | None = None

    def admit(self, context: Any, rpc: str) -> Admission:
        """Lets a call in, confined to the tenant that the worker that hands it on has named."""
        return Admission(self.identify(context, rpc))

    def identify(self, context: Any, rpc: str) -> Caller:  # noqa: ARG002 - one signature for gates
        """Returns the caller, confined to the tenant that the worker that hands on has named."""
        tenant = dict(context.invocation_metadata()).get(_TENANT)
        named = None if tenant is None else tenant.decode()
        return Caller("", named, frozenset({ROUTE, ADMIN}))

    def check_unread(self, metadata: Any) -> None:
        """Refuses nothing."""
