"""Failures of commands: exit codes, and one line that names the remedy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from routoo.errors import PredictorError, RoutooError

if TYPE_CHECKING:
    from routoo.client import RouterError
    from routoo.client.prompts_file import Prompts

FAILED: Final = 1
BAD_INPUT: Final = 2
UNREACHABLE: Final = 3
TOO_LATE: Final = 4
INTERRUPTED: Final = 130

_EXIT_CODES: Final = {
    "INVALID_ARGUMENT": BAD_INPUT,
    "FAILED_PRECONDITION": BAD_INPUT,
    "UNAVAILABLE": UNREACHABLE,
    "DEADLINE_EXCEEDED": TOO_LATE,
    "RESOURCE_EXHAUSTED": TOO_LATE,
    "UNAUTHENTICATED": BAD_INPUT,
    "PERMISSION_DENIED": BAD_INPUT,
}
_BATCH_ITEM: Final = re.compile(r"requests\[(\d+)\](?:\.|: )")


class CommandError(RoutooError):
    """Ends a command with ``exit_code``; the message is the line for stderr.

    ``is_printed`` tells that stdout has the command's object already, and gets none of the error.
    """

    def __init__(
        self, message: str, exit_code: int = BAD_INPUT, *, is_printed: bool = False
    ) -> None:
        self.exit_code = exit_code
        self.is_printed = is_printed
        super().__init__(message)


def exit_code_of(error: RoutooError) -> int:
    """Returns the exit code: of errors outside the service, most mean bad input."""
    if isinstance(error, CommandError):
        return error.exit_code
    return FAILED if isinstance(error, PredictorError) else BAD_INPUT


def explained(
    error: RouterError, address: str, timeout_s: float, prompts: Prompts | None = None
) -> CommandError:
    """Turns a failed call into one line for the person at the terminal.

    Args:
        error: what the client raised.
        address: the address of the call.
        timeout_s: the timeout of the call, in seconds.
        prompts: the file of the call's requests; the line then names its lines; None: no file.
    """
    match error.code.name:
        case "UNAVAILABLE":
            # gRPC chains the causes, some of them in brackets; the first one comes last.
            cause = error.message.rpartition(": ")[2]
            cause = cause if "[" in cause else cause.rstrip("]")
            message = (
                f"cannot reach the service at {address} ({cause}); start it with `routoo serve`,"
                " or name another with --address"
            )
        case "DEADLINE_EXCEEDED":
            message = f"no decision within {timeout_s:g} s; allow more with --timeout-s"
        case "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "RESOURCE_EXHAUSTED":
            message = _located(error.message, prompts)
        case "UNAUTHENTICATED":
            message = f"{error.message}; name a file with a token: routoo --token-file F ..."
        case "PERMISSION_DENIED":
            message = error.message
        case name:
            message = f"the service at {address} failed with {name}: {error.message}"
    return CommandError(message, _EXIT_CODES.get(error.code.name, FAILED))


def _located(message: str, prompts: Prompts | None) -> str:
    # The service counts requests; the reader has a file with lines.
    item = _BATCH_ITEM.match(message)
    if prompts is None or item is None:
        return message
    line = prompts.line_numbers[int(item[1])]
    return f"{prompts.name}:{line}: {message[item.end() :]}"
