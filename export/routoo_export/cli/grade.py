"""``routoo-export grade``: answers of pool models, paid within a cap, and their grades."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import orjson
import typer

from routoo.api.http.proxy.upstreams import Upstreams
from routoo.config.loading import load_settings
from routoo.routing.pool import load_pool
from routoo_export.cli.common import AsJson, print_result, progress_bar
from routoo_export.errors import GradingError
from routoo_export.grading.agreement import LEAST_KAPPA, Agreement
from routoo_export.grading.answer_cache import AnswerCache, ModelAnswer
from routoo_export.grading.asking import ModelAsker
from routoo_export.grading.graders.judge import AnswerJudge
from routoo_export.grading.graders.person import PersonStoppedError, grade_by_person
from routoo_export.grading.graders.unit_tests import TestLimits
from routoo_export.grading.grades import AnswerGrade, GradeFile, write_outcomes
from routoo_export.grading.prompts import GradedPrompt, PromptsToGrade, read_prompts
from routoo_export.grading.purse import GradingPurse
from routoo_export.grading.run import (
    DrawnPrompt,
    GraderChoice,
    Grading,
    RunResult,
    draw_prompts,
    grade_cells,
    judge_grading,
    measure_judge,
    reference_grading,
)

EXIT_UNFINISHED: Final = 1
_LABEL_FIELDS: Final = ("prompt", "answer_a", "answer_b", "winner")
_WINNERS: Final = ("a", "b", "tie")


@dataclass(frozen=True, slots=True)
class GradeOptions:
    """The options of a run that several steps read."""

    grader: GraderChoice
    judge: str | None
    judge_labels: Path | None
    trust_judge: bool
    least_kappa: float
    baseline: str | None
    max_tokens: int
    at_once: int
    limits: TestLimits
    seed: int


def grade(  # noqa: PLR0913 - one parameter per option
    inputs: Annotated[
        list[Path],
        typer.Argument(
            help="Prompts as JSON lines, or decision logs with prompts.", metavar="FILE..."
        ),
    ],
    *,
    out: Annotated[Path, typer.Option(help="Outcomes that are written, .parquet.")],
    budget_usd: Annotated[
        float, typer.Option(help="The most that all runs with this --work may spend.", min=0.0)
    ],
    licence: Annotated[str, typer.Option(help="Of the prompts and answers, SPDX.")],
    grader: Annotated[GraderChoice, typer.Option(help="Who grades.")] = "reference",
    config: Annotated[
        Path | None, typer.Option(help="Settings with the pool and proxy.upstreams.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A model that answers; repeatable; default: the pool.")
    ] = None,
    prompts: Annotated[int, typer.Option(help="Prompts that are drawn.", min=1)] = 200,
    work: Annotated[
        Path, typer.Option(help="Folder of the answers, grades and books; a later run goes on.")
    ] = Path("artifacts/grading"),
    judge: Annotated[
        str | None, typer.Option(help="judge: the model of the pool that compares.")
    ] = None,
    judge_labels: Annotated[
        Path | None, typer.Option(help="judge: labelled pairs of answers, JSON lines.")
    ] = None,
    trust_judge: Annotated[
        bool, typer.Option("--trust-judge", help="judge: take it without, or against, labels.")
    ] = False,
    least_kappa: Annotated[
        float, typer.Option(help="judge: agreement that it has to reach.", min=-1.0, max=1.0)
    ] = LEAST_KAPPA,
    baseline: Annotated[
        str | None, typer.Option(help="judge: the model that answers are compared with.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="The longest answer.", min=1)] = 2048,
    at_once: Annotated[int, typer.Option(help="Calls at one time.", min=1, max=256)] = 8,
    test_seconds: Annotated[int, typer.Option(help="tests: the longest run.", min=1)] = 10,
    allow_network: Annotated[
        bool, typer.Option("--allow-network", help="tests: run where it cannot be shut off.")
    ] = False,
    reports: Annotated[
        Path | None,
        typer.Option(help="Write grades of logged decisions as bodies of POST /v1/outcomes."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same prompts.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Have pool models answer prompts, grade the answers, and write outcomes to train on.

    Exit code 1: some answers or grades are missing; the same command goes on.
    """
    options = GradeOptions(
        grader=grader,
        judge=judge,
        judge_labels=judge_labels,
        trust_judge=trust_judge,
        least_kappa=least_kappa,
        baseline=baseline,
        max_tokens=max_tokens,
        at_once=at_once,
        limits=TestLimits(seconds=test_seconds, network=allow_network),
        seed=seed,
    )
    settings = load_settings(config)
    pool = load_pool(settings.pool)
    models = tuple(dict.fromkeys(model or [one.name for one in pool.models]))
    found = read_prompts(inputs)
    drawn = draw_prompts(_gradable(found, options), models, prompts, seed)
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GradingError(f"{work}: cannot be made ({error.strerror})") from error
    purse = GradingPurse(work / "purse.journal", budget_usd)
    try:
        with GradeFile(work / "grades.jsonl") as grades:
            upstreams = Upstreams(settings.proxy, pool)
            asker = ModelAsker(pool, upstreams, purse, AnswerCache(work / "answers"))
            result, agreement, compared = _run(asker, upstreams, drawn, models, grades, options)
            kept = _of_run(grades, drawn, models)
            by_id = {one.prompt.prompt_id: one.prompt for one in drawn}
            rows = write_outcomes(kept, by_id, out, name=out.stem, licence=licence) if kept else 0
            if reports is not None:
                _write_reports(reports, kept, by_id)
        told = _told(out, rows, result, asker, purse, agreement, compared)
        print_result({**told, "findings": found.findings}, as_json=as_json)
    finally:
        purse.close()
    for name, reason in result.reasons.items():
        typer.echo(f"{name}: {reason}", err=True)
    if result.unanswered or result.unpaid:
        raise typer.Exit(EXIT_UNFINISHED)


def _gradable(found: PromptsToGrade, options: GradeOptions) -> list[GradedPrompt]:
    """The prompts that the grader can grade.

    Raises:
        GradingError: there is none, or an option of the judge is missing.
    """
    if options.grader == "judge":
        if options.judge is None:
            raise GradingError("--grader judge needs --judge MODEL")
        if options.judge_labels is None and not options.trust_judge:
            raise GradingError(
                "a judge is measured before it is trusted; give --judge-labels FILE with at least"
                " 30 labelled pairs, or trust it unmeasured with --trust-judge"
            )
        bare = any(not one.reference for one in found.prompts)
        if bare and options.baseline is None:
            raise GradingError(
                "prompts without a reference are judged against a model; name it with --baseline"
            )
    if options.grader != "reference":
        return found.prompts
    kept = [one for one in found.prompts if one.grader]
    if len(kept) < len(found.prompts):
        found.findings.append(
            f"{len(found.prompts) - len(kept)} prompts without a reference are left out"
        )
    if not kept:
        raise GradingError(
            "no prompt has a reference or tests; add them, or take --grader judge or person"
        )
    return kept


def _run(
    asker: ModelAsker,
    upstreams: Upstreams,
    drawn: list[DrawnPrompt],
    models: Sequence[str],
    grades: GradeFile,
    options: GradeOptions,
) -> tuple[RunResult, Agreement | None, AnswerJudge | None]:
    """Asks and grades; errors of tasks come out as they are."""
    asked = {*models, *(one for one in (options.judge, options.baseline) if one is not None)}
    for name in sorted(asked):
        asker.target(name)
    waiting: list[tuple[DrawnPrompt, ModelAnswer]] = []

    async def whole() -> tuple[RunResult, Agreement | None, AnswerJudge | None]:
        try:
            return await _graded(asker, drawn, models, grades, options, waiting)
        finally:
            await upstreams.close()

    try:
        result, agreement, judge = asyncio.run(whole())
    except ExceptionGroup as group:
        raise _first(group) from None
    if options.grader == "person":
        _by_person(waiting, grades, result, options.seed)
    return result, agreement, judge


async def _graded(
    asker: ModelAsker,
    drawn: list[DrawnPrompt],
    models: Sequence[str],
    grades: GradeFile,
    options: GradeOptions,
    waiting: list[tuple[DrawnPrompt, ModelAnswer]],
) -> tuple[RunResult, Agreement | None, AnswerJudge | None]:
    parameters = {"max_tokens": options.max_tokens}
    agreement = judge = None
    grading: Grading = reference_grading(options.limits)
    if options.grader == "judge":
        judge = AnswerJudge(asker, options.judge or "")
        if options.judge_labels is not None:
            labels = read_labels(options.judge_labels)
            agreement = await measure_judge(judge, labels, options.at_once)
            if not options.trust_judge:
                agreement.require(options.least_kappa)
        grading = judge_grading(judge, options.baseline or "", parameters)
    elif options.grader == "person":
        places = {one.prompt.prompt_id: one for one in drawn}

        async def kept(prompt: GradedPrompt, answer: ModelAnswer) -> None:
            waiting.append((places[prompt.prompt_id], answer))

        grading = kept
    with progress_bar("grading", len(drawn) * len(models)) as advance:
        result = await grade_cells(
            drawn,
            models,
            asker,
            grading,
            grades,
            parameters=parameters,
            at_once=options.at_once,
            advance=advance,
        )
    return result, agreement, judge


def _by_person(
    waiting: list[tuple[DrawnPrompt, ModelAnswer]],
    grades: GradeFile,
    result: RunResult,
    seed: int,
) -> None:
    """Shows the answers in an order that does not tell their models."""
    order = np.random.default_rng(seed).permutation(len(waiting))
    with suppress(PersonStoppedError):
        for number, place in enumerate(order.tolist(), 1):
            one, answer = waiting[place]
            score = grade_by_person(
                one.prompt.prompt, answer.text, f"{number} of {len(waiting)}", input, typer.echo
            )
            if score is not None:
                grades.add(
                    AnswerGrade.of(one.prompt.prompt_id, answer, score, "person", one.inclusion)
                )
                result.graded += 1
                result.skipped -= 1


def read_labels(path: Path) -> list[dict[str, str]]:
    """Read labelled pairs of answers: prompt, answer_a, answer_b, winner (a, b or tie).

    Raises:
        GradingError: the file cannot be read, or a line does not fit.
    """
    labels = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise GradingError(f"{path}: cannot be read ({error.strerror})") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            values = orjson.loads(line)
            label = {name: values[name] for name in _LABEL_FIELDS}
        except (orjson.JSONDecodeError, KeyError, TypeError):
            label = {}
        if not label or not all(isinstance(one, str) for one in label.values()):
            raise GradingError(
                f"{path}: line {number}: give the texts prompt, answer_a, answer_b and winner"
            )
        if label["winner"] not in _WINNERS:
            raise GradingError(f"{path}: line {number}: winner is none of a, b, tie")
        labels.append(label)
    return labels


def _first(group: ExceptionGroup[Any]) -> Exception:
    """The first error of a group that says what to do, or else the first of all."""
    flat: list[Exception] = [
        _first(one) if isinstance(one, ExceptionGroup) else one for one in group.exceptions
    ]
    return next((one for one in flat if isinstance(one, GradingError)), flat[0])


def _of_run(
    grades: GradeFile, drawn: list[DrawnPrompt], models: Sequence[str]
) -> list[AnswerGrade]:
    """The grades of this run's prompts and models, in their order."""
    places = ((one.prompt.prompt_id, name) for one in drawn for name in models)
    return [grades.grades[place] for place in places if place in grades.grades]


def _write_reports(path: Path, kept: list[AnswerGrade], prompts: dict[str, GradedPrompt]) -> None:
    """Writes the grades of the models that were decided, one body of a report a line."""
    lines = []
    for one in kept:
        told = prompts[one.prompt_id].predictions
        if told is not None and told.chosen == one.model:
            lines.append(json.dumps({"decision_id": one.prompt_id, "score": one.score}) + "\n")
    try:
        path.write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise GradingError(f"{path}: cannot be written ({error.strerror})") from error


def _told(
    out: Path,
    rows: int,
    result: RunResult,
    asker: ModelAsker,
    purse: GradingPurse,
    agreement: Agreement | None,
    judge: AnswerJudge | None,
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "out": str(out) if rows else None,
        "outcomes": rows,
        "graded": result.graded,
        "graded_before": result.before,
        "without_answer": result.unanswered,
        "without_money": result.unpaid,
        "without_grade": result.skipped,
        "calls": asker.asked.calls,
        "from_cache": asker.asked.cached,
        "spent_usd": purse.spent_usd,
        "budget_usd": purse.cap_usd,
    }
    if judge is not None:
        counts = judge.counts
        told["judge"] = {
            **asdict(counts),
            "first_share": counts.first_share,
            "turned_share": counts.turned_share,
        }
    if agreement is not None:
        told["agreement"] = asdict(agreement)
    return told
