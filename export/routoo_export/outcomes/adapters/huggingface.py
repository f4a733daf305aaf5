"""Datasets of the Hugging Face hub, by name, folder or file, including SPROUT's format.

Three formats are distinguished by the fields of a row:
- SPROUT (huggingface.co/datasets/CARROT-LLM-Routing/SPROUT, arXiv 2502.03261): ``prompt``, ``key``,
  ``dataset``, and per model an object {score, num_input_tokens, num_output_tokens, response};
- wide: ``prompt`` and ``score:<model>``, with the other figures of ``outcomes.wide``;
- long: ``prompt``, ``model``, ``score``, with the other columns of ``outcomes.long``.
A dataset with other names is read by renaming its fields: columns={"prompt": "question",
"score:gpt-4": "gpt4.correct"}; a dot leads into an object.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from routoo_export.errors import OutcomeError
from routoo_export.outcomes.adapters.cells import Cell, CellRows, Where, is_missing, tokens_of
from routoo_export.outcomes.adapters.files import need
from routoo_export.outcomes.adapters.records import read_records
from routoo_export.outcomes.bad_rows import BadRows
from routoo_export.outcomes.columns import CHARS_PER_TOKEN, OutcomeGrid
from routoo_export.outcomes.long import NUMBER_COLUMNS
from routoo_export.outcomes.wide import (
    INPUT_TOKENS,
    LATENCY,
    OUTPUT_TOKENS,
    RESPONSE_CHARS,
    SCORE,
    TRUE_COST,
)

_ID_FIELDS: Final = ("prompt_id", "key", "id", "question_id")
_DOMAIN_FIELDS: Final = ("domain", "dataset", "eval_name", "category")


def read_huggingface(
    inputs: Sequence[str],
    bad: BadRows,
    *,
    split: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> OutcomeGrid:
    """Read the rows of all inputs.

    Args:
        inputs: Names, folders or files.
        bad: Treats rows that do not fit.
        split: Split of the dataset; None = all.
        columns: The dataset's field for each field of the project that has another name there.

    Raises:
        OutcomeError: a source cannot be read, has none of the formats, or a row does not fit.
    """
    cells = CellRows(bad)
    renamed = columns or {}
    for source in inputs:
        for where, found in read_records(source, bad, split=split):
            record = {**found, **{new: _field(found, old) for new, old in renamed.items()}}
            if need(record, ("prompt",), where, bad):
                for cell in _cells(where, record):
                    cells.add(cell)
    return cells.grid(", ".join(inputs))


def _cells(where: Where, record: dict[str, Any]) -> Iterator[Cell]:
    if "model" in record and "score" in record:
        yield _long_cell(where, record)
        return
    wide = [name.removeprefix(SCORE) for name in record if name.startswith(SCORE)]
    objects = {name: v for name, v in record.items() if isinstance(v, Mapping) and "score" in v}
    if not wide and not objects:
        raise OutcomeError(
            f"{where}: neither model and score, nor score:<model>, nor an object with a score per"
            f" model among {', '.join(record)}; name the fields with --map, for example"
            " --map score:gpt-4=gpt4_correct"
        )
    prompt_id = _prompt_id(record) or f"{where.name}-{where.row}"
    for model in wide:
        if not is_missing(record[f"{SCORE}{model}"]):
            yield _wide_cell(where, record, prompt_id, model)
    for model, outcome in objects.items():
        if not is_missing(outcome["score"]):
            tokens = outcome.get("num_output_tokens")
            yield Cell(
                where,
                prompt_id,
                record["prompt"],
                model,
                outcome["score"],
                domain=_domain(record),
                cost_usd=outcome.get("cost_usd"),
                input_tokens=outcome.get("num_input_tokens"),
                output_tokens=tokens_of(outcome.get("response")) if tokens is None else tokens,
            )


def _long_cell(where: Where, record: dict[str, Any]) -> Cell:
    """The outcome of a row in long form; without an id, prompts with the same text are the same."""
    digest = hashlib.sha1(str(record["prompt"]).encode(), usedforsecurity=False).hexdigest()
    return Cell(
        where,
        _prompt_id(record) or digest[:16],
        record["prompt"],
        str(record["model"]),
        record["score"],
        domain=_domain(record),
        **{name: record.get(name) for name in NUMBER_COLUMNS},
    )


def _wide_cell(where: Where, record: dict[str, Any], prompt_id: str, model: str) -> Cell:
    tokens = record.get(f"{OUTPUT_TOKENS}{model}")
    chars = record.get(f"{RESPONSE_CHARS}{model}")
    if tokens is None and isinstance(chars, int | float) and chars >= 0:
        tokens = chars / CHARS_PER_TOKEN
    return Cell(
        where,
        prompt_id,
        record["prompt"],
        model,
        record[f"{SCORE}{model}"],
        domain=_domain(record),
        cost_usd=record.get(f"{TRUE_COST}{model}"),
        input_tokens=record.get(f"{INPUT_TOKENS}{model}"),
        output_tokens=tokens,
        latency_ms=record.get(f"{LATENCY}{model}"),
    )


def _prompt_id(record: dict[str, Any]) -> str | None:
    return next((str(record[name]) for name in _ID_FIELDS if record.get(name) is not None), None)


def _domain(record: dict[str, Any]) -> str | None:
    values = (record.get(name) for name in _DOMAIN_FIELDS)
    return next((value for value in values if isinstance(value, str) and value), None)


def _field(record: Mapping[str, Any], path: str) -> Any:
    """The value record["a"]["b"] for "a.b", unless a field is named "a.b"; None if missing."""
    if path in record:
        return record[path]
    value: Any = record
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
