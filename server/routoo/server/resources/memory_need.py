"""The memory that a worker comes to need, from its settings.

The figures were measured with ``benchmarks/memory.py``, which compares this sum with the most
memory that a real process has had, and fails where they differ by more than a tenth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from routoo.server.sessions import are_kept

if TYPE_CHECKING:
    from routoo.config.settings import Settings

MIB: Final = 1024 * 1024
_CACHES_BYTES: Final = 16 * MIB
_DECISION_BYTES: Final = 1_300
_DECISION_AND_MODEL_BYTES: Final = 105
_LOGGED_BYTES: Final = 3_000


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """The memory of one worker in bytes, by what takes it.

    Attributes:
        idle: the process with its predictor, before the first request, and what its caches grow to.
        open_decisions: decisions that may still be reported.
        sessions: what is kept of sessions.
        log: entries of the decision log that wait to be written.
        in_flight: calls in progress.
    """

    idle: int
    open_decisions: int
    sessions: int
    log: int
    in_flight: int

    @property
    def total(self) -> int:
        """The sum."""
        return self.idle + self.open_decisions + self.sessions + self.log + self.in_flight

    def line(self) -> str:
        """Returns one line for people."""
        parts = (
            f"{self.idle / MIB:.0f} idle",
            f"{self.open_decisions / MIB:.0f} open decisions (outcomes.max_open_decisions)",
            f"{self.sessions / MIB:.0f} sessions (sessions.max_bytes)",
            f"{self.log / MIB:.0f} decision log (decision_log.max_waiting)",
            f"{self.in_flight / MIB:.0f} calls in progress (limits.max_in_flight_bytes)",
        )
        return f"memory up to {self.total / MIB:.0f} MiB a worker: {', '.join(parts)}"


def memory_findings(need: MemoryNeed, workers: int, limit_bytes: int | None) -> list[str]:
    """Returns one line about what the workers come to need, and one if they do not have it.

    Args:
        need: the need of one of them.
        workers: their number.
        limit_bytes: the limit of the container's memory; None: there is none.
    """
    lack = memory_lack(need, workers, limit_bytes)
    return [need.line(), *([f"warning: {lack}"] if lack else [])]


def memory_lack(need: MemoryNeed, workers: int, limit_bytes: int | None) -> str:
    """Returns what the workers lack, and what to do; empty: nothing.

    Args:
        need: the need of one of them.
        workers: their number.
        limit_bytes: the limit of the container's memory; None: there is none.
    """
    if limit_bytes is None or need.total * workers <= limit_bytes:
        return ""
    return (
        f"{workers} worker{'s' if workers > 1 else ''} may need"
        f" {need.total * workers / MIB:.0f} MiB, and the container has"
        f" {limit_bytes / MIB:.0f}; give it more, or lower limits.max_in_flight_bytes,"
        " outcomes.max_open_decisions or sessions.max_bytes, or calls are refused early"
    )


def memory_need(settings: Settings, models: int, idle_bytes: int) -> MemoryNeed:
    """Computes what a worker comes to need.

    Args:
        settings: its settings.
        models: the number of models of its pool.
        idle_bytes: what its process has before the first request.
    """
    decision_bytes = _DECISION_BYTES + models * _DECISION_AND_MODEL_BYTES
    log = settings.decision_log
    return MemoryNeed(
        idle=idle_bytes + _CACHES_BYTES,
        open_decisions=settings.outcomes.max_open_decisions * decision_bytes,
        sessions=settings.sessions.max_bytes if are_kept(settings) else 0,
        log=0 if log.path is None else log.max_waiting * _LOGGED_BYTES,
        in_flight=settings.limits.max_in_flight_bytes,
    )
