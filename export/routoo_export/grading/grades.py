"""Grades as they are made, kept line by line, and the outcomes that they become."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Self

import orjson
import pyarrow as pa

from routoo_export.errors import GradingError
from routoo_export.outcomes.write import write_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from types import TracebackType

    from routoo_export.grading.answer_cache import ModelAnswer
    from routoo_export.grading.prompts import GradedPrompt


@dataclass(frozen=True, slots=True)
class AnswerGrade:
    """One grade of one model's answer.

    Attributes:
        prompt_id: of the prompt.
        model: the pool's name.
        score: in [0, 1].
        grader: what graded: exact, numeric, regex, json, tests, person, or ``judge:`` and a model.
        cost_usd: of the answer; None: not billed by usage.
        input_tokens: of the answer; None: not told.
        output_tokens: of the answer; None: not told.
        latency_ms: of the answer; None: not known.
        inclusion: the probability with which the prompt was drawn.
    """

    prompt_id: str
    model: str
    score: float
    grader: str
    cost_usd: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    latency_ms: float | None = None
    inclusion: float = 1.0

    @classmethod
    def of(
        cls, prompt_id: str, answer: ModelAnswer, score: float, grader: str, inclusion: float
    ) -> Self:
        """Makes the grade of an answer; a cost that is not of its usage is left out."""
        return cls(
            prompt_id=prompt_id,
            model=answer.model,
            score=score,
            grader=grader,
            cost_usd=answer.cost_usd if answer.billed else None,
            input_tokens=answer.input_tokens,
            output_tokens=answer.output_tokens,
            latency_ms=answer.latency_ms,
            inclusion=inclusion,
        )


class GradeFile:
    """Grades in a file of JSON lines, one for each prompt and model; the first one counts.

    A context manager, which holds the file open.

    Args:
        path: is made where it is missing; a last line that is cut off is taken away.

    Raises:
        GradingError: the file cannot be read or written, or a line is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.grades: dict[tuple[str, str], AnswerGrade] = {}
        try:
            content = path.read_bytes() if path.exists() else b""
            whole = content[: content.rfind(b"\n") + 1]
            for number, line in enumerate(whole.splitlines(), 1):
                self._take(number, line)
            self._file = path.open("r+b" if content else "wb")
            self._file.truncate(len(whole))
            self._file.seek(len(whole))
        except OSError as error:
            raise GradingError(f"{path}: cannot be opened ({error.strerror})") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, grade: AnswerGrade) -> None:
        """Keeps a grade, unless there is one of this prompt and model.

        Raises:
            GradingError: the disk is full or broken.
        """
        place = grade.prompt_id, grade.model
        if place in self.grades:
            return
        try:
            self._file.write(orjson.dumps(asdict(grade), option=orjson.OPT_APPEND_NEWLINE))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise GradingError(
                f"{self._path}: cannot be written ({error.strerror}); free space and run again"
            ) from error
        self.grades[place] = grade

    def _take(self, number: int, line: bytes) -> None:
        try:
            values = orjson.loads(line)
            grade = AnswerGrade(**{one.name: values[one.name] for one in fields(AnswerGrade)})
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise GradingError(
                f"{self._path}: line {number} is no grade; remove it, or take another --work"
            ) from None
        self.grades.setdefault((grade.prompt_id, grade.model), grade)


def write_outcomes(
    grades: Iterable[AnswerGrade],
    prompts: Mapping[str, GradedPrompt],
    path: Path,
    *,
    name: str,
    licence: str,
) -> int:
    """Writes grades in the long form of outcomes, as training reads them; returns the rows.

    Grades of prompts that are not among ``prompts`` are left out. Two columns are further ones:
    ``grader``, and ``inclusion``, the probability with which the prompt was drawn.

    Raises:
        OutcomeError: the file cannot be written.
    """
    rows = [one for one in grades if one.prompt_id in prompts]
    asked = [prompts[one.prompt_id] for one in rows]
    columns: dict[str, pa.Array] = {
        "prompt_id": pa.array([one.prompt_id for one in rows], pa.string()),
        "prompt": pa.array([one.prompt for one in asked], pa.large_string()),
        "model": pa.array([one.model for one in rows], pa.string()),
        "score": pa.array([one.score for one in rows], pa.float64()),
        "grader": pa.array([one.grader for one in rows], pa.string()),
        "inclusion": pa.array([one.inclusion for one in rows], pa.float64()),
    }
    for figure in ("cost_usd", "input_tokens", "output_tokens", "latency_ms"):
        values = [getattr(one, figure) for one in rows]
        if any(value is not None for value in values):
            columns[figure] = pa.array(values, pa.float64())
    if any(one.domain is not None for one in asked):
        columns["domain"] = pa.array([one.domain for one in asked], pa.string())
    write_table(pa.table(columns), path, {"name": name, "licence": licence, "costs": "true"})
    return len(rows)
