"""A door of the HTTP front: one method of one path, and what answers there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from routoo.api.http.call import HttpCall
from routoo.api.http.problem import send_problem

if TYPE_CHECKING:
    from google.protobuf.message import Message

Answer = Callable[[HttpCall], Awaitable[None]]
Refuse = Callable[[HttpCall, Exception, str], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Door:
    """One method of one path.

    Attributes:
        method: ``GET``, which takes ``HEAD`` too, ``POST`` or ``DELETE``.
        path: the whole path; or, with ``/*`` at its end, what all paths below it begin with.
        answer: replies to a call that was let in.
        rpc: names the call for roles, metrics and logs; empty: anybody may call, and nothing is
            counted.
        sheds: whether calls are refused under overload.
        most_bytes: the greatest length of a body, which is read before ``answer``; None: that of
            the setting ``limits.max_message_bytes``; 0: ``answer`` reads it by itself.
        decodes: whether ``answer`` reads bodies that are compressed; others are refused.
        summary: a sentence in the API's description; empty: it is not described.
        messages: the types of the request and the reply, where ``rpc`` names none of gRPC's calls.
        takes: the type of the request's body, for the API's description.
        media: the type of the reply's body, for the API's description.
        refuse: replies to a call that has failed, and returns the code of the refusal.
    """

    method: str
    path: str
    answer: Answer
    rpc: str = ""
    sheds: bool = False
    most_bytes: int | None = None
    decodes: bool = False
    summary: str = ""
    messages: tuple[type[Message], type[Message]] | None = None
    takes: str = "application/json"
    media: str = "application/json"
    refuse: Refuse = send_problem
