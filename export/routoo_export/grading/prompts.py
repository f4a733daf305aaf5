"""Prompts to grade: of a file with references, or of a decision log."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from routoo.telemetry.decision_log.header import Setup
from routoo_export.errors import GradingError
from routoo_export.grading.graders.reference import check_reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

TESTS: Final = "tests"


@dataclass(frozen=True, slots=True)
class LoggedPredictions:
    """What a decision was made from.

    Attributes:
        models: the pool's columns, [m].
        scores: predicted, [m].
        score_std: of the scores, [m]; empty: the predictor tells none.
        costs_usd: predicted, [m].
        eligible: whether the request could go to the model, [m].
        price: score per USD.
        chosen: the model that was decided.
    """

    models: tuple[str, ...]
    scores: tuple[float, ...]
    score_std: tuple[float, ...]
    costs_usd: tuple[float, ...]
    eligible: tuple[bool, ...]
    price: float
    chosen: str


@dataclass(frozen=True, slots=True)
class GradedPrompt:
    """One prompt to grade.

    Attributes:
        prompt_id: unique; of a log, the decision's id.
        prompt: the text.
        domain: its topic; None: not known.
        grader: exact, numeric, regex, json or tests; empty: it has no reference.
        reference: the right answer of the first four.
        tests: sources of unit tests.
        predictions: of the log; None: the prompt is of a file.
    """

    prompt_id: str
    prompt: str
    domain: str | None = None
    grader: str = ""
    reference: str = ""
    tests: tuple[str, ...] = ()
    predictions: LoggedPredictions | None = None


@dataclass(slots=True)
class PromptsToGrade:
    """All prompts of a run.

    Attributes:
        prompts: in their order.
        findings: what was left out, and why.
    """

    prompts: list[GradedPrompt] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


def read_prompts(paths: Sequence[Path]) -> PromptsToGrade:
    """Reads files of JSON lines, each a file of prompts or a decision log.

    A line of a prompts' file has ``prompt``, and may have ``id``, ``domain``, ``grader``,
    ``reference`` and ``tests``. A reference alone is graded as ``exact``.

    Raises:
        GradingError: a file cannot be read, or a line does not fit; names both.
    """
    found, seen = PromptsToGrade(), dict[str, str]()
    setups: dict[str, tuple[str, ...]] = {}
    without = 0
    for path in paths:
        for where, line in _lines(path):
            kind = line.get("kind")
            if kind == "setup":
                setups[str(line.get("setup"))] = _columns(line)
            if kind is not None and kind != "decision":
                continue
            if kind == "decision" and not isinstance(line.get("prompt"), str):
                without += 1
                continue
            one = _logged(where, line, setups) if kind == "decision" else _given(where, line)
            if one.prompt_id in seen:
                if seen[one.prompt_id] == one.prompt:
                    continue
                raise GradingError(
                    f"{where}: the id {one.prompt_id!r} has two prompts; name them apart"
                )
            seen[one.prompt_id] = one.prompt
            found.prompts.append(one)
    if without:
        found.findings.append(
            f"{without} decisions without a prompt are left out; set decision_log.prompts: text to"
            " log prompts from now on"
        )
    if not found.prompts:
        raise GradingError(
            f"{', '.join(map(str, paths))}: no prompt; give lines with a prompt, or a decision log"
            " that has prompts (decision_log.prompts: text)"
        )
    return found


def _lines(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                where = f"{path}: line {number}"
                if not line.strip():
                    continue
                try:
                    values = orjson.loads(line)
                except orjson.JSONDecodeError:
                    if not line.endswith(b"\n"):  # a log that is written at this moment
                        continue
                    raise GradingError(f"{where}: no JSON; mend or remove the line") from None
                if not isinstance(values, dict):
                    raise GradingError(f"{where}: no object; give one with a prompt")
                yield where, values
    except OSError as error:
        raise GradingError(f"{path}: cannot be read ({error.strerror})") from error


def _given(where: str, line: Mapping[str, Any]) -> GradedPrompt:
    prompt = line.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise GradingError(f"{where}: prompt is missing or empty")
    tests = line.get("tests", [])
    tests = [tests] if isinstance(tests, str) else tests
    if not isinstance(tests, list) or not all(isinstance(one, str) for one in tests):
        raise GradingError(f"{where}: tests are no list of texts")
    reference = line.get("reference")
    if reference is not None and not isinstance(reference, str):
        reference = orjson.dumps(reference).decode()
    grader = line.get("grader") or (TESTS if tests else "exact" if reference is not None else "")
    if grader and (not tests if grader == TESTS else reference is None):
        needs = TESTS if grader == TESTS else "a reference"
        raise GradingError(f"{where}: the grader {grader} needs {needs}")
    if grader and grader != TESTS:
        try:
            check_reference(grader, str(reference))
        except GradingError as error:
            raise GradingError(f"{where}: {error}") from None
    named = line.get("id", line.get("prompt_id"))
    made = hashlib.sha256(prompt.encode()).hexdigest()[:16]
    domain = line.get("domain")
    return GradedPrompt(
        prompt_id=made if named is None else str(named),
        prompt=prompt,
        domain=None if domain is None else str(domain),
        grader=grader,
        reference=reference or "",
        tests=tuple(tests),
    )


def _logged(
    where: str, line: Mapping[str, Any], setups: Mapping[str, tuple[str, ...]]
) -> GradedPrompt:
    models = setups.get(str(line.get("setup")), ())
    try:
        predictions = LoggedPredictions(
            models=models,
            scores=tuple(map(float, line["scores"])),
            score_std=tuple(map(float, line.get("score_std", ()))),
            costs_usd=tuple(map(float, line["costs_usd"])),
            eligible=tuple(mark == "1" for mark in line["eligible"]),
            price=float(line["price"]),
            chosen=str(line["model"]),
        )
        if not models or len(predictions.scores) != len(models):
            raise GradingError(f"{where}: the decision's setup is in an older file; name it first")
        return GradedPrompt(
            str(line["id"]), line["prompt"], line.get("task"), predictions=predictions
        )
    except (KeyError, TypeError, ValueError):
        raise GradingError(f"{where}: the decision is damaged; remove the line") from None


def _columns(line: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of a setup's columns, those of arms with their arm."""
    try:
        return tuple(Setup.read(line).pool.names)
    except ValueError:
        return ()
