"""``DecisionLog``, through which the service logs decisions, reports and escalations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic, time
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import structlog

from routoo.telemetry.decision_log.header import Setup
from routoo.telemetry.decision_log.prompts.lines import PromptLines
from routoo.telemetry.decision_log.record import BatchRecord
from routoo.telemetry.decision_log.rotating_file import RotatingFile
from routoo.telemetry.decision_log.sampling import Sampler
from routoo.telemetry.decision_log.usage_line import usage_line
from routoo.telemetry.decision_log.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from prometheus_client import CollectorRegistry

    from routoo.config.sections.observability import DecisionLogSettings
    from routoo.routing.decision import Chosen, DecidedBatch, Prepared
    from routoo.routing.escalation import Escalation, EscalationRequest
    from routoo.routing.outcome import OutcomeReport
    from routoo.routing.policies import Policies
    from routoo.routing.pool import Pool
    from routoo.routing.request import PromptRequest

_log = structlog.get_logger("routoo.decision_log")
_CLOSE_GRACE_S = 5.0


class DecisionLog:
    """Takes decisions and reports, from any thread, without waiting.

    Attributes:
        prompts: what is kept of prompts; its reader is to be set where features are.

    Args:
        path: the file of the log.
        settings: the settings of the log.
        registry: gets the metrics.
        clock_s: returns seconds since 1970.
        monotonic_s: returns seconds on a clock that never goes back.
    """

    def __init__(
        self,
        path: Path,
        settings: DecisionLogSettings,
        registry: CollectorRegistry,
        *,
        clock_s: Callable[[], float] = time,
        monotonic_s: Callable[[], float] = monotonic,
    ) -> None:
        self._clock_s = clock_s
        self.prompts = PromptLines.of(settings.kept, settings.prompt_key_file)
        if isinstance(settings.prompts, bool) and settings.prompts:
            _log.warning("decision_log.prompts: true is an old form; write prompts: text")
        self._sampler = Sampler(settings.sample_ratio)
        file = RotatingFile(path, settings.max_file_bytes, settings.max_files)
        self._writer = Writer(file, settings.max_waiting, monotonic_s, registry)

    @classmethod
    def open(cls, settings: DecisionLogSettings, registry: CollectorRegistry) -> DecisionLog | None:
        """Opens the log that the settings ask for; None where they ask for none."""
        return None if settings.path is None else cls(settings.path, settings, registry)

    def recorder(self, pool: Pool, policies: Policies) -> Recorder:
        """Returns the recorder of decisions that are made with this pool and these policies."""
        return Recorder(Setup.of(pool, policies), self)

    def reported(self, outcome: OutcomeReport) -> None:
        """Logs an accepted report if its decision is in the log."""
        if self._sampler.takes_id(outcome.decision_id):
            self._writer.put(_Report(outcome, self._now()))

    def failed(self, decision_id: str, reason: str, model: str) -> None:
        """Logs a request for which no decision was made, whatever the sample.

        Args:
            decision_id: the id that it was given.
            reason: a word.
            model: the model that answers all the same; empty: none.
        """
        self._writer.put(_Failure(decision_id, reason, model, self._now()))

    def capped(self, decision_id: str, reported_usd: float, booked_usd: float) -> None:
        """Logs that a report was booked in part, if its decision is in the log; for any thread."""
        if self._sampler.takes_id(decision_id):
            self._writer.put(_Capped(decision_id, reported_usd, booked_usd, self._now()))

    def weighed(self, request: EscalationRequest, found: Escalation) -> None:
        """Logs an escalation request's result if its decision, or the new one, is in the log."""
        new = found.decision
        ids = [request.decision_id] if new is None else [request.decision_id, new.decision_id]
        if any(map(self._sampler.takes_id, ids)):
            self._writer.put(_Weighed(request, found, self._now()))

    def close(self) -> bool:
        """Writes what waits, for at most 5 s, and returns whether all of it was tried."""
        return self._writer.close(_CLOSE_GRACE_S)

    def _now(self) -> str:
        now = datetime.fromtimestamp(self._clock_s(), UTC)
        return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def decided(
        self,
        setup: Setup,
        requests: Sequence[PromptRequest],
        prepared: Prepared,
        chosen: Chosen,
        batch: DecidedBatch,
    ) -> None:
        """Logs the sampled decisions of a batch; ``Recorder.decided`` describes the arguments."""
        prefix = prepared.ids[0].partition("-")[0]
        taken = self._sampler.takes(prefix, prepared.case.tickets)
        # A joint batch is one linear program, which replay needs all rows for.
        if chosen.joint is not None:
            taken[:] = taken[0]
        rows = np.flatnonzero(taken)
        if rows.size:
            self._writer.put(
                BatchRecord(
                    setup, self._now(), rows, requests, prepared, chosen, batch, self.prompts
                )
            )


@dataclass(frozen=True, slots=True)
class Recorder:
    """Logs the decisions with one pool and its policies."""

    setup: Setup
    log: DecisionLog

    def decided(
        self,
        requests: Sequence[PromptRequest],
        prepared: Prepared,
        chosen: Chosen,
        batch: DecidedBatch,
    ) -> None:
        """Logs the sampled decisions of a batch.

        Args:
            requests: the n requests.
            prepared: the input of the choice.
            chosen: the choice before the money was booked.
            batch: the decisions.
        """
        self.log.decided(self.setup, requests, prepared, chosen, batch)


@dataclass(frozen=True, slots=True)
class _Report:
    """A line for a reported outcome; without the provider's error, which may quote the prompt."""

    outcome: OutcomeReport
    time: str
    heads: tuple[()] = ()
    decisions: int = 1

    def lines(self) -> Iterator[bytes]:
        outcome = self.outcome
        values = {
            "kind": "outcome",
            "id": outcome.decision_id,
            "time": self.time,
            "model": outcome.model or None,
            "score": outcome.score,
            "cost_usd": outcome.cost_usd,
            "input_tokens": outcome.input_tokens,
            "output_tokens": outcome.output_tokens,
            "usage": None if outcome.usage is None else usage_line(outcome.usage),
            "latency_ms": outcome.latency_ms,
            "failed": bool(outcome.error) or None,
            "estimated": outcome.estimated or None,
            "reason_code": outcome.reason_code or None,
        }
        yield _line(values)


@dataclass(frozen=True, slots=True)
class _Capped:
    """A line for a report that told more than its request could have cost."""

    decision_id: str
    reported_usd: float
    booked_usd: float
    time: str
    heads: tuple[()] = ()
    decisions: int = 1

    def lines(self) -> Iterator[bytes]:
        yield _line(
            {
                "kind": "capped",
                "id": self.decision_id,
                "time": self.time,
                "reported_usd": self.reported_usd,
                "booked_usd": self.booked_usd,
            }
        )


@dataclass(frozen=True, slots=True)
class _Failure:
    """A line for a request for which no decision was made."""

    decision_id: str
    reason: str
    model: str
    time: str
    heads: tuple[()] = ()
    decisions: int = 1

    def lines(self) -> Iterator[bytes]:
        yield _line(
            {
                "kind": "failure",
                "id": self.decision_id,
                "time": self.time,
                "reason": self.reason,
                "model": self.model or None,
            }
        )


@dataclass(frozen=True, slots=True)
class _Weighed:
    """A line for an escalation request: the answer was kept, or a new decision was made."""

    request: EscalationRequest
    found: Escalation
    time: str
    heads: tuple[()] = ()
    decisions: int = 1

    def lines(self) -> Iterator[bytes]:
        request, found = self.request, self.found
        new = found.decision
        kind, feature = request.signal or (None, None)
        values = {
            "kind": "escalation",
            "id": request.decision_id,
            "time": self.time,
            "result": found.result,
            "answered": found.answered,
            "signal": kind,
            "feature": feature,
            "answered_models": request.answered_models or None,
            "min_score": request.min_score,
            "max_cost_usd": request.max_cost_usd,
            "kept_score": found.kept_score,
            "price": found.price,
            "next": None if new is None else new.decision_id,
            "model": None if new is None else new.name,
            "gain": None if new is None else found.gain,
            "extra_cost_usd": None if new is None else found.extra_cost_usd,
            "text": found.text,
        }
        yield _line(values)


def _line(values: Mapping[str, Any]) -> bytes:
    """Returns the values that are not None as one JSON line."""
    known = {name: value for name, value in values.items() if value is not None}
    return orjson.dumps(known, option=orjson.OPT_APPEND_NEWLINE)
