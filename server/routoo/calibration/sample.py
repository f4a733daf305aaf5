"""A file of prompts as arrays: predictions by the configured predictor and pool, and labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from routoo.api.convert.messages import prompt_request
from routoo.calibration.labels import read_labelled_prompts
from routoo.client.prompts_file import PromptsFileError
from routoo.errors import InvalidRequestError
from routoo.predictor.base import join
from routoo.routing.constraints import check_names, check_task, narrow
from routoo.routing.estimates import estimates_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from routoo.calibration.labels import LabelledPrompts
    from routoo.config.sections.tasks import TaskSettings
    from routoo.config.settings import LimitSettings
    from routoo.predictor.base import Predictor
    from routoo.routing.pool import Pool
    from routoo.routing.request import PromptRequest
    from routoo.selector.arrays import BoolArray, FloatArray, IndexArray

CHUNK = 256


@dataclass(frozen=True, slots=True)
class PromptSample:
    """n prompts with predictions and labels for the pool's m models.

    Attributes:
        file: name of the prompts' file.
        sha256: SHA-256 of the file, in hexadecimal.
        line_numbers: line numbers of the n prompts in the file.
        scores: float64 [n, m], predicted.
        costs_usd: float64 [n, m], predicted.
        mask: bool [n, m], the models that the prompt's own constraints and length leave.
        true_scores: float64 [n, m], from the labels; NaN where not known.
        true_costs_usd: float64 [n, m], from the labels; NaN where not known.
        signals: by kind of signal, float64 [n, m]: its feature in the answer of each model; NaN
            where not known.
    """

    file: str
    sha256: str
    line_numbers: list[int]
    scores: FloatArray
    costs_usd: FloatArray
    mask: BoolArray
    true_scores: FloatArray
    true_costs_usd: FloatArray
    signals: dict[str, FloatArray]

    def __len__(self) -> int:
        return len(self.line_numbers)

    def labelled(self, columns: IndexArray) -> BoolArray:
        """Returns bool [n], the rows whose true scores are known for all of these models."""
        return np.asarray(np.isfinite(self.true_scores[:, columns]).all(axis=1), np.bool_)


def read_sample(
    path: Path,
    pool: Pool,
    predictor: Predictor,
    limits: LimitSettings,
    tasks: TaskSettings,
    track: Callable[[range], Iterable[int]] = iter,
) -> PromptSample:
    """Reads a file of prompts and predicts all of them, in process.

    Args:
        path: JSON Lines, see ``routoo.calibration.labels``.
        pool: m models.
        predictor: predicts the prompts.
        limits: the service's limits on the size of a prompt.
        tasks: what becomes of a task that a prompt names and the predictor does not know.
        track: shows progress over the chunks.

    Raises:
        PromptsFileError: a malformed line, or a missing file; one line.
        PredictorError: inference failed.
    """
    known = {*pool.names, *predictor.models}
    try:
        with path.open("rb") as lines:
            labelled = read_labelled_prompts(lines, str(path), known)
    except OSError as error:
        raise PromptsFileError(
            f"{path}: cannot be read: {error.strerror}; name a JSON Lines file"
        ) from None
    requests = _requests(labelled, limits, lambda request: _check(request, pool, predictor, tasks))
    parts = []
    for start in track(range(0, len(requests), CHUNK)):
        chunk = requests[start : start + CHUNK]
        texts, told = [one.text for one in chunk], [one.task for one in chunk]
        parts.append(predictor.predict(texts, None, told))
    columns = pool.columns_in(predictor.models)
    estimates = estimates_of(join(parts), requests, pool, columns, None)
    eligibility, _ = narrow(requests, estimates, pool)
    numbers = labelled.prompts.line_numbers
    if eligibility.empty_rows.size:
        row = int(eligibility.empty_rows[0])
        raise PromptsFileError(f"{path}:{numbers[row]}: {eligibility.describe(row)}")
    kinds = {kind for label in labelled.labels for of in label.signals.values() for kind in of}
    return PromptSample(
        file=str(path),
        sha256=labelled.sha256,
        line_numbers=numbers,
        scores=estimates.scores,
        costs_usd=estimates.costs_usd,
        mask=eligibility.mask,
        true_scores=_columns(labelled, pool, lambda label: label.scores),
        true_costs_usd=_columns(labelled, pool, lambda label: label.costs_usd),
        signals={
            kind: _columns(
                labelled,
                pool,
                lambda label, kind=kind: {
                    model: features[kind]
                    for model, features in label.signals.items()
                    if kind in features
                },
            )
            for kind in sorted(kinds)
        },
    )


def _columns(
    labelled: LabelledPrompts, pool: Pool, of: Callable[..., dict[str, float]]
) -> FloatArray:
    """Returns a figure per prompt and model, float64 [n, m]; NaN where there is none."""
    rows = [of(label) for label in labelled.labels]
    return np.array([[row.get(name, np.nan) for name in pool.names] for row in rows], np.float64)


def _check(request: PromptRequest, pool: Pool, predictor: Predictor, tasks: TaskSettings) -> None:
    check_names(request, pool)
    if request.task:
        check_task(request.task, predictor.tasks, tasks)


def _requests(
    labelled: LabelledPrompts, limits: LimitSettings, check: Callable[[PromptRequest], None]
) -> list[PromptRequest]:
    prompts = labelled.prompts
    requests = []
    for message, number in zip(prompts.requests, prompts.line_numbers, strict=True):
        try:
            request = prompt_request(message, limits)
            check(request)
        except InvalidRequestError as error:
            raise PromptsFileError(f"{prompts.name}:{number}: {error}") from None
        requests.append(request)
    return requests


def require_labels(sample: PromptSample, columns: IndexArray, pool: Pool) -> None:
    """Refuses a sample that lacks a true score of one of these models.

    Raises:
        PromptsFileError: names the first line and the model.
    """
    known = np.isfinite(sample.true_scores[:, columns])
    if known.all():
        return
    row = int((~known.all(axis=1)).argmax())
    model = pool.names[int(columns[int((~known[row]).argmax())])]
    raise PromptsFileError(
        f"{sample.file}:{sample.line_numbers[row]}: has no score of {model}; every line needs"
        f' "scores" with all {len(columns)} models that the policy may choose'
    )
