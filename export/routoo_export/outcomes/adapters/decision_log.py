"""Logs of a service that routes: what it decided, joined with what was reported of it.

The log of ``decision_log.path`` has a line of JSON per decision and per report; reports that were
gathered elsewhere may stand in files of the same form. A row is a decision whose own model's answer
was graded. The service knows no other model's outcome, so that the table is that of partial
feedback, with the propensity of each choice: 1 where the line has none, as the policies choose
without chance. Lines are joined by id alone, whatever their times say, as clocks differ.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa

from routoo.telemetry.decision_log.header import FORMAT_VERSION, Setup
from routoo_export.errors import OutcomeError
from routoo_export.outcomes.adapters.cells import as_number
from routoo_export.outcomes.bad_rows import BadRows
from routoo_export.outcomes.feature_prompts import feature_prompt
from routoo_export.outcomes.splits import stem_group

_FIGURES: Final = ("cost_usd", "input_tokens", "output_tokens", "latency_ms")
_TYPES: Final = {name: pa.float64() for name in ("score", "propensity", *_FIGURES)}
_NO_PROMPT: Final = (
    "the decision has no prompt; set decision_log.prompts: text, or features, to log it from now on"
)
_CLOCKS: Final = "reports that are older than their decision; clocks differ, and it changes nothing"
_READ: Final = frozenset({"decision", "outcome", "capped", "setup"})


@dataclass(slots=True)
class _Joined:
    """Lines by decision id, with the places where they stand."""

    decisions: dict[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    outcomes: dict[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    booked_usd: dict[str, float | None] = field(default_factory=dict)
    setups: dict[str, Setup] = field(default_factory=dict)


def read_decision_logs(inputs: Sequence[str], bad: BadRows) -> pa.Table:
    """Read the graded decisions of logs, the oldest file first.

    Columns: prompt_id (the decision id), prompt, model, score in [0, 1], propensity in (0, 1],
    domain (the task that the predictor found), cost_usd, input_tokens, output_tokens, latency_ms
    and reason_code where they were reported, and predictor and prices, the versions that decided.
    Where the log has features instead of texts, ``prompt`` holds them (see ``feature_prompts``),
    and dup_group the keyed hash. Decisions without a grade are counted in ``bad.notes``.

    Raises:
        OutcomeError: a file cannot be read, a line does not fit, or no decision was graded.
    """
    joined = _Joined()
    for source in inputs:
        for where, line in _lines(Path(source), bad):
            _take(joined, where, line, bad)
    rows = list(_rows(joined, bad))
    for decision_id, (where, _) in joined.outcomes.items():
        if decision_id not in joined.decisions:
            bad.add(where, "a report of a decision that is not in the log; name its older files")
    if not rows and bad.skipped[_NO_PROMPT]:
        raise OutcomeError(f"{', '.join(inputs)}: {_NO_PROMPT}")
    if not rows:
        raise OutcomeError(
            f"{', '.join(inputs)}: no decision has a graded answer; report scores with"
            " ReportOutcome or `routoo report ID --score X`"
        )
    for what in ("predictor", "prices"):
        versions = {row[what] for row in rows}
        if len(versions) > 1:
            bad.notes[f"versions of {what} that decided"] = len(versions)
    names = list(rows[0])
    columns = {name: pa.array([row[name] for row in rows], type=_TYPES.get(name)) for name in names}
    return pa.table({name: one for name, one in columns.items() if one.null_count < len(one)})


def _lines(path: Path, bad: BadRows) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                where = f"{path}: line {number}"
                if not line.strip():
                    continue
                try:
                    values = orjson.loads(line)
                except orjson.JSONDecodeError:
                    bad.add(where, "the line is cut off or no JSON")
                    continue
                if not isinstance(values, dict) or "kind" not in values:
                    bad.add(where, "the line is not one of a decision log")
                elif values["kind"] in _READ:
                    yield where, values
    except OSError as error:
        raise OutcomeError(f"{path}: cannot be read: {error.strerror}") from error


def _take(joined: _Joined, where: str, line: Mapping[str, Any], bad: BadRows) -> None:
    kind, decision_id = line["kind"], line.get("id")
    if kind == "setup":
        if line.get("format") != FORMAT_VERSION:
            raise OutcomeError(
                f"{where}: the log has format {line.get('format')}, and {FORMAT_VERSION} is read;"
                " convert it with the routoo that wrote it"
            )
        try:
            joined.setups[str(line.get("setup"))] = Setup.read(line)
        except ValueError as error:
            bad.add(where, str(error))
        return
    if not isinstance(decision_id, str) or not decision_id:
        bad.add(where, "the line has no id")
    elif kind == "capped":
        joined.booked_usd[decision_id] = _number(line.get("booked_usd"))
    elif decision_id in (known := joined.decisions if kind == "decision" else joined.outcomes):
        before = known[decision_id][1]
        if before == line:
            bad.duplicates += 1
        elif kind == "outcome" and (before.get("score") is None) != (line.get("score") is None):
            # The doors report the usage by themselves, and a grade comes later.
            told = {name: value for name, value in before.items() if value is not None}
            known[decision_id] = where, {**line, **told}
        else:
            bad.add(where, f"a second {kind} of one id")
    else:
        known[decision_id] = where, line


def _rows(joined: _Joined, bad: BadRows) -> Iterator[dict[str, Any]]:
    for decision_id, (where, decision) in joined.decisions.items():
        _, outcome = joined.outcomes.get(decision_id, ("", None))
        reason = _ungraded(decision, outcome)
        if reason or outcome is None:
            bad.notes[reason] += 1
            continue
        setup = joined.setups.get(str(decision.get("setup")))
        fault = _fault(decision, outcome) or _not_of(decision, setup)
        prompt, fault = ("", fault) if fault else _prompt(decision)
        if fault:
            bad.add(where, fault)
            continue
        if str(outcome.get("time", "~")) < str(decision.get("time", "")):
            bad.notes[_CLOCKS] += 1
        usage = outcome.get("usage") or {}
        figures = {name: _number(outcome.get(name, usage.get(name))) for name in _FIGURES}
        if decision_id in joined.booked_usd:
            figures["cost_usd"] = joined.booked_usd[decision_id]
        yield {
            "prompt_id": decision_id,
            "prompt": prompt,
            "model": decision["model"],
            "score": float(outcome["score"]),
            "propensity": float(decision.get("propensity", 1.0)),
            "domain": decision.get("task"),
            **figures,
            "reason_code": _text(outcome.get("reason_code")),
            "predictor": _text(decision.get("predictor")),
            "prices": _text(decision.get("prices")),
            "dup_group": _group(decision.get("prompt_hash")),
        }


def _ungraded(decision: Mapping[str, Any], outcome: Mapping[str, Any] | None) -> str:
    """Why a decision tells nothing of its model's quality; empty: it does."""
    if outcome is None:
        return "decisions without a report"
    if outcome.get("failed"):
        return "decisions whose provider failed"
    if outcome.get("score") is None:
        return "decisions that were reported without a score"
    if outcome.get("model") not in (None, "", decision.get("model")):
        return "decisions that another model answered"
    if decision.get("propensity", 1.0) is None:
        return "decisions whose propensity is not known"
    return ""


def _fault(decision: Mapping[str, Any], outcome: Mapping[str, Any]) -> str:
    """What is wrong with a graded decision; empty: nothing."""
    score = _number(outcome.get("score"))
    propensity = _number(decision.get("propensity", 1.0))
    if outcome.get("tenant", "") not in ("", decision.get("tenant", "")):
        return "a report of another tenant's decision"
    if not isinstance(decision.get("model"), str):
        return "the decision has no model"
    if score is None or not 0.0 <= score <= 1.0:
        return "score is outside [0, 1]"
    if propensity is None or not 0.0 < propensity <= 1.0:
        return "propensity is not in (0, 1]"
    return ""


def _not_of(decision: Mapping[str, Any], setup: Setup | None) -> str:
    """Why a decision is not one of its setup; empty: it is."""
    if setup is None:
        return "the decision's setup is not in the log, or damaged; name its older file first"
    column = setup.pool.index.get(decision.get("model", ""))
    marks = decision.get("eligible")
    if column is None:
        return "the decision is for a model that its pool lacks"
    if not isinstance(marks, str) or len(marks) != len(setup.pool.names):
        return "the decision is of another pool than its setup"
    if marks[column] != "1":
        return "the decision is for a model that was not eligible"
    if decision.get("prices", setup.prices) != setup.prices:
        return "the decision is of another price version than its setup"
    return ""


def _prompt(decision: Mapping[str, Any]) -> tuple[str, str]:
    """The prompt of a decision, or its features, and what is wrong with it; empty: nothing."""
    text, features = decision.get("prompt"), decision.get("features")
    if isinstance(text, str) and text.strip():
        return text, ""
    if features is None:
        return "", _NO_PROMPT
    tokens = decision.get("input_tokens", 0)
    try:
        length = float(max(tokens)) if isinstance(tokens, list) else float(tokens)
        return feature_prompt(features, length), ""
    except (KeyError, TypeError, ValueError):
        return "", "the features of the prompt are damaged"


def _group(prompt_hash: object) -> str | None:
    """The duplicate group of prompts with one hash, which are split by it."""
    return stem_group(prompt_hash) if isinstance(prompt_hash, str) and prompt_hash else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: object) -> float | None:
    """The number, or None where there is none or something else."""
    try:
        return as_number(value)
    except ValueError:
        return None
