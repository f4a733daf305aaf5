"""MMLU-Pro's published answers: eval_results/ of TIGER-AI-Lab/MMLU-Pro.

Format: github.com/TIGER-AI-Lab/MMLU-Pro, evaluate_from_local.py and evaluate_from_api.py (written),
compute_accuracy.py (graded). JSON arrays of {question_id, question, options, answer, category,
pred, model_outputs | response | generated_text}: one file for all categories, often zipped, named
model_outputs_<model>_<k>shots.json, or one folder per model with <category>_result.json. A null
``pred`` is extracted again from the text by the patterns of compute_accuracy.py; where that finds
nothing the answer counts as wrong (the script guesses at random). Licence: Apache-2.0.
"""

import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Final

from routoo_export.errors import OutcomeError
from routoo_export.outcomes.adapters.cells import Cell, CellRows, tokens_of
from routoo_export.outcomes.adapters.files import find_files, need, objects, parse_json_records
from routoo_export.outcomes.bad_rows import BadRows
from routoo_export.outcomes.columns import OutcomeGrid

_ONE_FILE: Final = re.compile(r"^model_outputs_(?P<model>.+)_\d+shots?$")
_CATEGORY: Final = re.compile(r"_result$")
_SUMMARY: Final = re.compile(r"summary$")
_FIELDS: Final = ("question_id", "question", "options", "answer")
_TEXTS: Final = ("model_outputs", "response", "generated_text")
_ANSWERS: Final = (
    re.compile(r"answer is \(?([A-J])\)?"),
    re.compile(r".*[aA]nswer:\s*([A-J])"),
    re.compile(r"([A-J])(?=[^A-J]*$)"),
)


def read_mmlu_pro(inputs: Sequence[str], bad: BadRows) -> OutcomeGrid:
    """Read json and zip files, or those of folders; summaries beside them are left out.

    Raises:
        OutcomeError: a file cannot be read, or a row does not fit (for example a question whose
            options differ between two models' files, as in two versions of the benchmark).
    """
    cells = CellRows(bad)
    for path in find_files(inputs, ".json", ".zip"):
        for name, model, text in _documents(path):
            for where, record in objects(parse_json_records(text, name), name, bad):
                if not need(record, _FIELDS, where, bad):
                    continue
                if not _has_options(record["options"]):
                    bad.add(str(where), "options is not an array of text")
                    continue
                answer = next((record[t] for t in _TEXTS if isinstance(record.get(t), str)), None)
                cells.add(
                    Cell(
                        where,
                        f"mmlupro-{record['question_id']}",
                        _prompt(record["question"], record["options"]),
                        model,
                        _choice(record.get("pred"), answer) == record["answer"],
                        domain=record.get("category"),
                        output_tokens=tokens_of(answer),
                    )
                )
    return cells.grid(", ".join(inputs))


def _documents(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """Yield name, model and JSON text of each results file in ``path``."""
    if path.suffix == ".json":
        if not _SUMMARY.search(path.stem):
            yield str(path), _model(path), path.read_bytes()
        return
    try:
        with zipfile.ZipFile(path) as archive:
            for member in sorted(archive.namelist()):
                inner = Path(member)
                # Archives made on macOS have resource forks beside the files.
                if inner.suffix != ".json" or inner.name.startswith("."):
                    continue
                if not _SUMMARY.search(inner.stem):
                    alone = len(inner.parts) == 1
                    model = _model(Path(path.stem) / inner if alone else inner)
                    yield f"{path}/{member}", model, archive.read(member)
    except (OSError, zipfile.BadZipFile) as error:
        raise OutcomeError(f"{path}: not a readable zip file ({error})") from error


def _model(path: Path) -> str:
    """The model of a results file, from its name, or from its folder's if it is of one category."""
    for name in (path.stem, path.parent.name):
        if found := _ONE_FILE.match(name):
            return found["model"]
    return path.parent.name if _CATEGORY.search(path.stem) and path.parent.name else path.stem


def _has_options(options: object) -> bool:
    return isinstance(options, list) and all(isinstance(option, str) for option in options)


def _prompt(question: object, options: list[str]) -> object:
    """Question and lettered options, without the fillers "N/A" of the benchmark's first version."""
    if not isinstance(question, str):
        return question
    real = [option for option in options if option != "N/A"]
    lines = [f"{letter}. {option}" for letter, option in zip(ascii_uppercase, real, strict=False)]
    return "\n".join([question, *lines])


def _choice(pred: Any, answer: str | None) -> str | None:
    """The chosen letter: the recorded one, or else the first that a pattern finds in the text."""
    if isinstance(pred, str) and pred:
        return pred
    for pattern in _ANSWERS:
        if answer is not None and (found := pattern.search(answer)):
            return found[1]
    return None
