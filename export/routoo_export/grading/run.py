"""A grading run: prompts, answers and their grades; it goes on where it was stopped."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

from routoo_export.errors import GradingError
from routoo_export.grading.agreement import Agreement, agreement_of
from routoo_export.grading.asking import NotAnsweredError, OutOfMoneyError
from routoo_export.grading.graders.reference import grade_by_reference
from routoo_export.grading.graders.unit_tests import TestLimits, grade_by_tests
from routoo_export.grading.grades import AnswerGrade
from routoo_export.grading.prompts import TESTS
from routoo_export.grading.sampling import draw, inclusion, label_values
from routoo_export.progress import nothing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from routoo_export.grading.answer_cache import ModelAnswer
    from routoo_export.grading.asking import ModelAsker
    from routoo_export.grading.graders.judge import AnswerJudge
    from routoo_export.grading.grades import GradeFile
    from routoo_export.grading.prompts import GradedPrompt
    from routoo_export.progress import Advance

GraderChoice = Literal["reference", "judge", "person"]
Grading: TypeAlias = "Callable[[GradedPrompt, ModelAnswer], Awaitable[tuple[float, str] | None]]"
"""Grades an answer to a prompt: its score and what graded it; None: no grade."""
UNKNOWN_STD: Final = 0.25
"""Standard deviation of a score where the log tells none."""
MOST_UNREADABLE: Final = 0.2
_FEWEST_UNREADABLE: Final = 10


@dataclass(frozen=True, slots=True)
class DrawnPrompt:
    """A prompt that was drawn, with its probability."""

    prompt: GradedPrompt
    inclusion: float


@dataclass(slots=True)
class RunResult:
    """What a run has done.

    Attributes:
        graded: new grades.
        before: grades that were there already.
        unanswered: cells without an answer.
        unpaid: cells for which the cap left no room.
        skipped: cells without a grade.
        reasons: why cells have no answer or grade, the last reason of each model.
    """

    graded: int = 0
    before: int = 0
    unanswered: int = 0
    unpaid: int = 0
    skipped: int = 0
    reasons: dict[str, str] = field(default_factory=dict)


def draw_prompts(
    prompts: Sequence[GradedPrompt], models: Sequence[str], wanted: int, seed: int
) -> list[DrawnPrompt]:
    """Draws prompts whose labels change decisions most, spread over tasks and chosen models.

    Prompts of a file have no predictions, and are drawn evenly; those of a log by the sum over the
    models of what a label is expected to gain.
    """
    values = np.array([_value_of(one, models) for one in prompts])
    known = values[np.isfinite(values)]
    values[~np.isfinite(values)] = float(known.mean()) if len(known) else 1.0
    chances = inclusion(values, min(wanted, len(prompts)))
    strata = [_stratum(one) for one in prompts]
    rows = draw(chances, strata, np.random.default_rng(seed))
    return [DrawnPrompt(prompts[row], float(chances[row])) for row in rows.tolist()]


async def grade_cells(
    drawn: Sequence[DrawnPrompt],
    models: Sequence[str],
    asker: ModelAsker,
    grading: Grading,
    grades: GradeFile,
    *,
    parameters: Mapping[str, Any],
    at_once: int,
    advance: Advance = nothing,
) -> RunResult:
    """Has every model answer every prompt, and every answer graded.

    Cells that the cap left no room for are tried again when other calls turned out cheaper.

    Args:
        drawn: the prompts.
        models: the pool's names.
        asker: asks them.
        grading: grades an answer; None: no grade.
        grades: keeps the grades; cells that are there already are not asked.
        parameters: of every request.
        at_once: the most calls at one time.
        advance: called for each cell that is done.
    """
    result = RunResult()
    cells = [(one, model) for one in drawn for model in models]
    waiting = [
        (one, model) for one, model in cells if (one.prompt.prompt_id, model) not in grades.grades
    ]
    result.before = len(cells) - len(waiting)
    advance(result.before)
    free = asyncio.Semaphore(at_once)

    async def one_cell(one: DrawnPrompt, model: str) -> bool:
        """Returns whether the cell is done, with or without a grade."""
        async with free:
            try:
                messages = [{"role": "user", "content": one.prompt.prompt}]
                answer = await asker.ask(model, messages, parameters)
                found = await grading(one.prompt, answer)
            except OutOfMoneyError as error:
                result.reasons[model] = str(error)
                return False
            except NotAnsweredError as error:
                result.unanswered += 1
                result.reasons[model] = str(error)
                advance(1)
                return True
        advance(1)
        if found is None:
            result.skipped += 1
            return True
        score, grader = found
        grades.add(AnswerGrade.of(one.prompt.prompt_id, answer, score, grader, one.inclusion))
        result.graded += 1
        return True

    while waiting:
        calls = asker.asked.calls
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one_cell(*cell)) for cell in waiting]
        left = [cell for cell, task in zip(waiting, tasks, strict=True) if not task.result()]
        if not left or (len(left) == len(waiting) and asker.asked.calls == calls):
            waiting = left
            break
        waiting = left
    result.unpaid = len(waiting)
    return result


def reference_grading(limits: TestLimits) -> Grading:
    """Grades by the prompts' own references and tests."""
    alone = asyncio.Semaphore(1)  # tests of several answers at once would disturb each other

    async def grade(prompt: GradedPrompt, answer: ModelAnswer) -> tuple[float, str] | None:
        if prompt.grader == TESTS:
            async with alone:
                score = await asyncio.to_thread(grade_by_tests, answer.text, prompt.tests, limits)
            return score, TESTS
        if not prompt.grader:
            return None
        kind: Any = prompt.grader
        return grade_by_reference(kind, answer.text, prompt.reference), prompt.grader

    return grade


def judge_grading(judge: AnswerJudge, baseline: str, parameters: Mapping[str, Any]) -> Grading:
    """Grades by comparison with the reference, or else with the answer of a model.

    Args:
        judge: compares.
        baseline: the pool's name of the model; its own answers get 0.5.
        parameters: of its requests.
    """

    async def grade(prompt: GradedPrompt, answer: ModelAnswer) -> tuple[float, str]:
        grader = f"judge:{judge.model}"
        if prompt.reference:
            against = prompt.reference
        else:
            if answer.model == baseline:
                return 0.5, grader
            messages = [{"role": "user", "content": prompt.prompt}]
            against = (await judge.asker.ask(baseline, messages, parameters)).text
        score = await judge.compare(prompt.prompt, answer.text, against)
        check_readable(judge)
        return score, grader

    return grade


def check_readable(judge: AnswerJudge) -> None:
    """Stop where a judge says no verdicts.

    Raises:
        GradingError: too many of its replies are none.
    """
    counts = judge.counts
    if counts.unreadable >= _FEWEST_UNREADABLE and (
        counts.unreadable > MOST_UNREADABLE * (counts.unreadable + counts.pairs)
    ):
        raise GradingError(
            f"the judge {judge.model} gave no verdict {counts.unreadable} times of"
            f" {counts.unreadable + counts.pairs}; take another model for --judge"
        )


async def measure_judge(
    judge: AnswerJudge, labels: Sequence[Mapping[str, str]], at_once: int
) -> Agreement:
    """Has a judge compare labelled pairs of answers, and measures its agreement.

    Pairs without a verdict count as ties: who trusts the judge gets nothing else of them.

    Args:
        judge: compares.
        labels: each with prompt, answer_a, answer_b and winner (a, b or tie).
        at_once: the most comparisons at one time.
    """
    free = asyncio.Semaphore(at_once)

    async def verdict(label: Mapping[str, str]) -> str:
        async with free:
            try:
                score = await judge.compare(label["prompt"], label["answer_a"], label["answer_b"])
            except NotAnsweredError:
                if judge.asker.is_down(judge.model):
                    raise
                return "tie"
        return "tie" if score == 0.5 else "a" if score > 0.5 else "b"

    verdicts = await asyncio.gather(*map(verdict, labels))
    return agreement_of(verdicts, [label["winner"] for label in labels])


def _value_of(prompt: GradedPrompt, models: Sequence[str]) -> float:
    told = prompt.predictions
    if told is None:
        return float("nan")
    scores, costs_usd = np.array([told.scores]), np.array([told.costs_usd])
    std = np.array([told.score_std or (UNKNOWN_STD,) * len(told.scores)])
    utilities = np.where([told.eligible], scores - told.price * costs_usd, -np.inf)
    asked: NDArray[np.bool_] = np.array([[name in models for name in told.models]])
    return float(label_values(utilities, std, asked).sum())


def _stratum(prompt: GradedPrompt) -> str:
    chosen = "" if prompt.predictions is None else prompt.predictions.chosen
    return f"{prompt.domain or ''}\0{chosen}"
