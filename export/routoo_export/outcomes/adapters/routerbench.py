"""RouterBench: routerbench_{0shot,5shot,raw}.pkl of withmartian/routerbench, or the same as csv.

Format: huggingface.co/datasets/withmartian/routerbench, made by convert_data.py and
convertors/common.py of github.com/withmartian/routerbench (arXiv 2403.12031). A pandas frame with
one row per prompt: sample_id, prompt (text, or a list of turns, often as its Python text),
eval_name, and per model ``<model>`` (score in [0, 1]), ``<model>|model_response`` (text, or a list
of turns) and ``<model>|total_cost`` (USD, true: whole token counts at list prices).

A 5-shot prompt has demonstrations before its question. Only the question is kept, because prompts
differ only in it for the split and for a router. The costs stay those of the whole prompt.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeGuard

from routoo_export.errors import OutcomeError
from routoo_export.outcomes.adapters.cells import Cell, CellRows, Where, is_missing, tokens_of
from routoo_export.outcomes.adapters.files import csv_rows, find_files, need
from routoo_export.outcomes.bad_rows import BadRows
from routoo_export.outcomes.columns import OutcomeGrid

CUT_NOTE: Final = "demonstrations cut off before the question"
_COST: Final = "|total_cost"
_RESPONSE: Final = "|model_response"
_FIELDS: Final = ("sample_id", "prompt", "eval_name")
_DEMONSTRATION: Final = re.compile(r"Answer:[ \n]{0,2}[^\n]{1,40}\n\n")
_INSTRUCTION: Final = "Please answer with the letter of the correct answer.\n\n"


def read_routerbench(inputs: Sequence[str], bad: BadRows) -> OutcomeGrid:
    """Read pkl and csv files, or those of folders.

    0-shot and 5-shot outcomes differ but share their sample_ids: convert them one by one.

    Raises:
        OutcomeError: a file cannot be read, has no model, or a row does not fit.
    """
    cells = CellRows(bad)
    for path in find_files(inputs, ".pkl", ".csv"):
        for where, record in _records(path, bad):
            if not need(record, _FIELDS, where, bad):
                continue
            prompt, cut = _question(record["prompt"])
            bad.notes[CUT_NOTE] += cut
            for model in _models(path, record):
                if is_missing(record.get(model)):
                    continue
                cells.add(
                    Cell(
                        where,
                        str(record["sample_id"]),
                        prompt,
                        model,
                        record[model],
                        domain=str(record["eval_name"]),
                        cost_usd=record.get(f"{model}{_COST}"),
                        output_tokens=tokens_of(_text(record.get(f"{model}{_RESPONSE}"))),
                    )
                )
    return cells.grid(", ".join(inputs))


def _records(path: Path, bad: BadRows) -> Iterator[tuple[Where, dict[str, Any]]]:
    if path.suffix == ".csv":
        yield from csv_rows(path, bad)
        return
    from routoo_export.outcomes.adapters.frame_pickle import read_frame  # noqa: PLC0415 - imports pandas

    frame = read_frame(path)
    names = [str(name) for name in frame.columns]
    columns = [frame.iloc[:, place].tolist() for place in range(len(names))]
    for row, values in enumerate(zip(*columns, strict=True)):
        yield Where(str(path), row), dict(zip(names, values, strict=True))


def _models(path: Path, record: dict[str, Any]) -> list[str]:
    marked = [
        name.removesuffix(suffix)
        for name in record
        for suffix in (_COST, _RESPONSE)
        if name.endswith(suffix)
    ]
    models = [model for model in dict.fromkeys(marked) if model in record]
    if not models:
        raise OutcomeError(f"{path}: no column <model> with a <model>{_COST} beside it")
    return models


def _question(prompt: object) -> tuple[object, bool]:
    """The question of a prompt, and whether demonstrations were cut off before it."""
    text = _text(prompt)
    if text is None:
        return prompt, False
    demonstrated = _DEMONSTRATION.split(text)
    return demonstrated[-1].lstrip().removeprefix(_INSTRUCTION), len(demonstrated) > 1


def _text(cell: object) -> str | None:
    """The text of a cell; turns of a list, or of the Python text of a list, are joined by lines."""
    if isinstance(cell, str):
        if not (cell.startswith("[") and cell.endswith("]")):
            return cell
        try:
            listed = ast.literal_eval(cell)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return cell
        return "\n".join(listed) if _is_turns(listed) else cell
    return "\n".join(cell) if _is_turns(cell) else None


def _is_turns(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and bool(value) and all(isinstance(t, str) for t in value)
