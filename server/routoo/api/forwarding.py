"""Calls about a decision that another worker of the service made are answered there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from routoo.api.peers import OK, PeerAwayError, ask, socket_of
from routoo.api.status import STATUS, status_of
from routoo.errors import RoutooError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from routoo.api.peers import Place

    # A message's bytes, and the tenant of who sent it; None: as the message says.
    Answer = Callable[[bytes, str | None], Awaitable[bytes]]


async def where_it_is_open(
    place: Place | None, rpc: str, decision_id: str, asked: tuple[bytes, str | None], here: Answer
) -> bytes:
    """Answers in the worker that made the decision; that has checked the caller is taken as done.

    Where that worker has ended, ``here`` does what it does for any decision that it does not know.

    Args:
        place: of this worker; None: there are no others.
        rpc: its name.
        decision_id: says whose it is.
        asked: the message, and the caller's tenant.
        here: answers in this worker.

    Raises:
        RoutooError: as ``here``, wherever it was.
    """
    owner = None if place is None else place.other_owner(decision_id)
    if place is None or owner is None:
        return await here(*asked)
    body, tenant = asked
    try:
        word, answer = await ask(
            socket_of(place.folder, owner), rpc, orjson.dumps(tenant) + b"\n" + body
        )
    except PeerAwayError:
        return await here(*asked)
    if word != OK:
        raise _error_named(word, answer.decode())
    return answer


async def answer_for_another(answer: Answer, sent: bytes) -> tuple[str, bytes]:
    """The other end of it: ``OK`` and the reply, or an error's name and one line."""
    tenant, _, body = sent.partition(b"\n")
    try:
        return OK, await answer(body, orjson.loads(tenant))
    except RoutooError as error:
        _, line = status_of(error)
        return type(error).__name__, line.encode()


def _error_named(name: str, line: str) -> RoutooError:
    """The error of the table that another worker told of; any other is none of a caller's."""
    for kind in STATUS:
        if kind.__name__ == name:
            return kind(line)
    return RoutooError(f"{name} in another worker: {line}")
