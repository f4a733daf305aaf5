"""Reads decision logs into columns, and names the lines that cannot be used."""

from __future__ import annotations

import os
from codecs import BOM_UTF8
from collections import Counter
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from routoo.errors import InvalidRequestError, RoutooError
from routoo.routing.corrections.factors import Factors
from routoo.routing.joint import JointConstraints
from routoo.telemetry.decision_log.columns import Logged
from routoo.telemetry.decision_log.header import FORMAT_VERSION, Setup
from routoo.telemetry.decision_log.usage_line import usage_of_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from routoo.tariffs.usage import Usage

# Lines are turned into arrays in chunks: as Python objects they take several times the memory.
_AT_ONCE = 4096
_WRONG = (KeyError, TypeError, ValueError, AttributeError, OverflowError, InvalidRequestError)


class DecisionLogError(RoutooError):
    """The log cannot be read; the message names the file and what to do."""


@dataclass(frozen=True, slots=True)
class Report:
    """A reported outcome; None: not known.

    Attributes:
        model: the model that answered; empty: the decided one.
        score: in [0, 1].
        cost_usd: in US dollars; of a report that was booked in part, that part.
        input_tokens: as billed.
        output_tokens: as billed.
        usage: all that was billed; None: nothing but these tokens is known.
        failed: whether there was no answer, but an error.
        estimated: whether predicted totals stand in for what the usage lacks.
    """

    model: str
    score: float | None
    cost_usd: float | None
    input_tokens: float | None
    output_tokens: float | None
    usage: Usage | None
    failed: bool
    estimated: bool = False

    def with_more(self, other: Report) -> Report:
        """Returns the report with what it does not tell taken from another.

        One of the two is a grade, which may have come before or after what the answer took: it does
        not tell that nothing failed.
        """
        told = {one.name: getattr(self, one.name) for one in fields(self)}
        # Not by equality: a score of 0 is told.
        known = {
            name: value
            for name, value in told.items()
            if value is not None and value is not False and value != ""
        }
        return replace(other, **known)


@dataclass(frozen=True, slots=True)
class NextAnswer:
    """A decision that another model is asked, after an answer was weighed.

    Attributes:
        id: its decision id.
        weighed: the id of the decision whose answer was weighed.
        model: the model that is asked.
        cost_usd: the predicted cost, in US dollars.
        time_s: the time, in seconds since 1970.
    """

    id: str
    weighed: str
    model: str
    cost_usd: float
    time_s: int


@dataclass(slots=True)
class LogContents:
    """The contents of decision logs.

    Attributes:
        decisions: the decisions, one entry per setup.
        joint: by id of the joint batch, its number of decisions and its constraints.
        reports: by decision id.
        weighed: the number of answers that were weighed.
        next_answers: the decisions that came of it, the oldest first.
        findings: what was left out, and why; one line each.
    """

    decisions: list[Logged] = field(default_factory=list)
    joint: dict[str, tuple[int, JointConstraints]] = field(default_factory=dict)
    reports: dict[str, Report] = field(default_factory=dict)
    weighed: int = 0
    next_answers: list[NextAnswer] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """The number of decisions, without those that came of a weighed answer."""
        return sum(map(len, self.decisions))

    @property
    def not_replayed(self) -> list[str]:
        """What is in the log and is not decided again; a line for people, or none."""
        if not self.weighed:
            return []
        answers = "1 answer was" if self.weighed == 1 else f"{self.weighed} answers were"
        return [f"{answers} weighed, which replay does not do again"]


def read_logs(paths: Iterable[Path]) -> LogContents:
    """Reads files, the oldest first; one that is named twice, by whatever name, is read once.

    Raises:
        DecisionLogError: a file cannot be read, or no file holds a decision.
    """
    reader = _Reader()
    known: set[tuple[int, int]] = set()
    for path in paths:
        try:
            with path.open("rb") as lines:
                file = os.fstat(lines.fileno())
                if (file.st_dev, file.st_ino) in known:
                    continue
                known.add((file.st_dev, file.st_ino))
                reader.read(path, lines)
        except OSError as error:
            raise DecisionLogError(f"{path}: cannot be read: {error.strerror}") from None
    log = reader.finish()
    if not log.count:
        raise DecisionLogError(
            "there is no decision in the log; name files that decision_log.path of a service wrote"
            + "".join(f"; {one}" for one in log.findings[:1])
        )
    return log


class _Reader:
    """Reads lines, gathers those of one setup, and notes the first of each kind of trouble."""

    def __init__(self) -> None:
        self.log = LogContents()
        self._setups: dict[str, Setup | None] = {}
        self._corrections: dict[str, Factors] = {}
        self._gathered: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
        self._parts: dict[str, list[Logged]] = {}
        self._trouble: Counter[str] = Counter()
        self._first: dict[str, str] = {}
        self._booked_usd: dict[str, float] = {}
        self._tenants: dict[str, str] = {}
        self._reporters: dict[str, tuple[str, str]] = {}
        self._takes = {
            "decision": self._decision,
            "outcome": self._report,
            "setup": self._setup,
            "correction": self._correction,
            "batch": self._batch,
            "escalation": self._escalation,
            "failure": self._failure,
            "capped": self._capped,
        }

    def read(self, path: Path, lines: Iterator[bytes] | Iterable[bytes]) -> None:
        for number, line in enumerate(lines, 1):
            try:
                values = orjson.loads(line.removeprefix(BOM_UTF8))  # of an editor
            except orjson.JSONDecodeError:
                whole = line.endswith(b"\n")
                if line.strip():
                    self._note("no JSON" if whole else "cut off in the middle", path, number)
                continue
            kind = values.get("kind") if isinstance(values, dict) else None
            take = self._takes.get(kind) if isinstance(kind, str) else None
            if take is None:
                self._note("not of a decision log", path, number)
                continue
            try:
                take(values, f"{path}:{number}")
            except _Other as error:
                self._note(str(error), path, number)
            except _WRONG:
                self._note(f"damaged ({kind})", path, number)

    def finish(self) -> LogContents:
        for name in list(self._gathered):
            self._turn_to_columns(name)
        for parts in self._parts.values():
            self.log.decisions.append(Logged.joined(parts))
        for decision_id, (tenant, where) in self._reporters.items():
            if self._tenants.get(decision_id, tenant) != tenant:
                del self.log.reports[decision_id]
                self._note("a report of another tenant's decision", None, where=where)
        for decision_id, booked_usd in self._booked_usd.items():
            report = self.log.reports.get(decision_id)
            if report is not None:
                self.log.reports[decision_id] = replace(report, cost_usd=booked_usd)
        for what, count in self._trouble.items():
            lines = "1 line is" if count == 1 else f"{count} lines are"
            first = "" if count == 1 else ", the first of them"
            self.log.findings.append(f"{self._first[what]}: {lines} left out{first}: {what}")
        return self.log

    def _note(self, what: str, path: Path | None, number: int = 0, where: str = "") -> None:
        self._trouble[what] += 1
        self._first.setdefault(what, where or f"{path}:{number}")

    def _setup(self, values: Mapping[str, Any], _where: str) -> None:
        if values["format"] != FORMAT_VERSION:
            self._setups[values["setup"]] = None
            raise _Other(
                f"of format {values['format']} (by routoo"
                f" {values.get('software', {}).get('routoo', '?')}), and this routoo reads"
                f" {FORMAT_VERSION}"
            )
        self._setups[values["setup"]] = Setup.read(values)

    def _failure(self, _values: Mapping[str, Any], _where: str) -> None:
        """Leaves out a request for which no decision was made."""

    def _correction(self, values: Mapping[str, Any], _where: str) -> None:
        self._corrections[values["correction"]] = Factors.read(values)

    def _decision(self, values: Mapping[str, Any], where: str) -> None:
        name = values["setup"]
        if name not in self._setups:
            raise _Other("a decision whose setup is in an older file; name it first")
        if self._setups[name] is None:
            raise _Other(f"a decision of a format that is not {FORMAT_VERSION}")
        if values.get("correction") not in (None, *self._corrections):
            raise _Other("a decision whose correction is in an older file; name it first")
        if values["id"] in self._tenants:
            raise _Other("a decision that is in the log already")
        self._tenants[values["id"]] = values.get("tenant", "")
        gathered = self._gathered.setdefault(name, [])
        gathered.append((where, values))
        if len(gathered) >= _AT_ONCE:
            self._turn_to_columns(name)

    def _batch(self, values: Mapping[str, Any], _where: str) -> None:
        constraints = JointConstraints.read(values["constraints"])
        self.log.joint[values["id"]] = (int(values["decisions"]), constraints)

    def _report(self, values: Mapping[str, Any], where: str) -> None:
        def number(name: str) -> float | None:
            return None if values.get(name) is None else float(values[name])

        score = number("score")
        is_grade = score is None or 0.0 <= score <= 1.0
        report = Report(
            model=str(values.get("model", "")),
            score=score if is_grade else None,
            cost_usd=number("cost_usd"),
            input_tokens=number("input_tokens"),
            output_tokens=number("output_tokens"),
            usage=None if values.get("usage") is None else usage_of_line(values["usage"]),
            failed=bool(values.get("failed")),
            estimated=bool(values.get("estimated")),
        )
        before = self.log.reports.get(values["id"])
        if before is not None:
            if before == report:
                raise _Other("a report that is in the log already")
            if (before.score is None) == (report.score is None):
                # The first one counts, as at the service.
                raise _Other("a second report of one decision, which says something else")
            report = before.with_more(report)
        self.log.reports[values["id"]] = report
        if values.get("tenant"):
            self._reporters[values["id"]] = values["tenant"], where
        if not is_grade:
            raise _Other("a score outside 0 to 1; what else was reported counts")

    def _capped(self, values: Mapping[str, Any], _where: str) -> None:
        self._booked_usd[values["id"]] = float(values["booked_usd"])

    def _escalation(self, values: Mapping[str, Any], _where: str) -> None:
        if "next" in values:
            found = NextAnswer(
                id=str(values["next"]),
                weighed=str(values["id"]),
                model=str(values["model"]),
                cost_usd=float(values["extra_cost_usd"]),
                time_s=int(datetime.fromisoformat(values["time"]).timestamp()),
            )
            self.log.next_answers.append(found)
        self.log.weighed += 1

    def _turn_to_columns(self, name: str) -> None:
        lines = self._gathered.pop(name)
        setup = self._setups[name]
        if setup is None:
            return
        parts = self._parts.setdefault(name, [])
        try:
            found = [values for _, values in lines]
            parts.append(Logged.of(setup, found, self._corrections))
        except _WRONG:
            # A line is wrong: find each such line, and keep the others.
            kept = []
            for where, values in lines:
                try:
                    Logged.of(setup, [values], self._corrections)
                except _WRONG:
                    self._note("damaged (decision)", None, where=where)
                else:
                    kept.append(values)
            if kept:
                parts.append(Logged.of(setup, kept, self._corrections))


class _Other(Exception):  # noqa: N818 - a line of another kind, no error of the program
    """A valid line that cannot be used here; the message says why."""
