"""Logs as JSON lines on stderr; exceptions are logged without the values that they quote."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

import structlog

from routoo.errors import ConfigError, PredictorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from structlog.typing import FilteringBoundLogger

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

_SAME_AGAIN_S = 1.0
_MOST_TEXTS = 1000
# Routoo writes the texts of these errors; they are about files, settings and backends.
_OURS = (PredictorError, ConfigError)


def configure_logging(level: str) -> None:
    """Sends the process's logs to stderr as JSON lines."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(error_shape),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def error_shape(exc_info: ExcInfo) -> str:
    """Returns types and places of an exception and of its causes, innermost cause first.

    Args:
        exc_info: as ``sys.exc_info`` returns it.
    """
    return "\n".join(_lines(exc_info[1], set()))


def _lines(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and id(cause) not in seen:
        yield from _lines(cause, seen)
        yield "which led to:"
    kind = type(error)
    said = f": {error}" if isinstance(error, _OURS) else ""
    yield f"{kind.__module__}.{kind.__qualname__}{said}"
    for frame in traceback.extract_tb(error.__traceback__):
        yield f"  {frame.filename}:{frame.lineno} in {frame.name}"
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            if id(one) not in seen:
                yield from _lines(one, seen)


class ForeignLogs(logging.Handler):
    """Logs the records of libraries: logger, level, and text without the values in it.

    The same text is logged once a second at most: gRPC writes one for every header that is not
    text, and any client can send those.

    Args:
        log: the log to write to.
        clock_s: seconds on a clock that never goes back.
    """

    def __init__(self, log: FilteringBoundLogger, clock_s: Callable[[], float] = monotonic) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self._clock_s = clock_s
        self._said_s: dict[tuple[str, str], float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Logs a record as one line; an exception with its type and place only."""
        # asyncio and gRPC quote the failed call, with its values, on the lines that follow.
        text = str(record.msg).partition("\n")[0]
        now_s, key = self._clock_s(), (record.name, text)
        if now_s - self._said_s.get(key, -inf) < _SAME_AGAIN_S:
            return
        if len(self._said_s) >= _MOST_TEXTS:
            self._said_s.clear()
        self._said_s[key] = now_s
        values: dict[str, Any] = {"logger": record.name, "text": text}
        if record.exc_info and record.exc_info[1] is not None:
            values["exc_info"] = record.exc_info
        self._log.log(record.levelno, "a library says", **values)


def keep_values_out() -> None:
    """Logs records of libraries and errors of threads without values; for a serving process."""
    log = structlog.get_logger("routoo.libraries")
    logging.getLogger().addHandler(ForeignLogs(log))

    def ended(arguments: threading.ExceptHookArgs) -> None:
        error = arguments.exc_value
        if error is not None:
            thread = arguments.thread.name if arguments.thread else ""
            log.error("a thread ended", thread=thread, exc_info=error)

    threading.excepthook = ended
