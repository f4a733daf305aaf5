"""LLMRouter's routing data: default_routing_{train,test}_data.jsonl of ulab-uiuc/LLMRouter.

Format: github.com/ulab-uiuc/LLMRouter, llmrouter/data/README.md, "Routing Data JSONL". One object
per query and model: task_name, query, ground_truth, metric, choices (JSON text), model_name,
performance in [0, 1], input_tokens, output_tokens, response_time in seconds. A query is identified
by (task_name, query, ground_truth, metric), as in that repository. Licence: MIT.
"""

import hashlib
import json
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any, Final

from routoo_export.outcomes.adapters.cells import Cell, CellRows, as_number
from routoo_export.outcomes.adapters.files import find_files, json_lines, need
from routoo_export.outcomes.bad_rows import BadRows
from routoo_export.outcomes.columns import OutcomeGrid

_IDENTITY: Final = ("task_name", "query", "ground_truth", "metric")
_MULTIPLE_CHOICE: Final = "em_mc"
_MS_PER_S: Final = 1_000.0


def read_llmrouter(inputs: Sequence[str], bad: BadRows) -> OutcomeGrid:
    """Read jsonl files, or those of folders.

    Raises:
        OutcomeError: a file cannot be read, or a row does not fit.
    """
    cells = CellRows(bad)
    for path in find_files(inputs, ".jsonl"):
        for where, record in json_lines(path, bad):
            if not need(record, ("query", "model_name", "performance"), where, bad):
                continue
            identity = json.dumps([record.get(name) for name in _IDENTITY])
            digest = hashlib.sha1(identity.encode(), usedforsecurity=False).hexdigest()
            task = record.get("task_name")
            cells.add(
                Cell(
                    where,
                    f"{task}-{digest[:16]}",
                    _prompt(record),
                    str(record["model_name"]),
                    record["performance"],
                    domain=None if task is None else str(task),
                    input_tokens=record.get("input_tokens"),
                    output_tokens=record.get("output_tokens"),
                    latency_ms=_milliseconds(record.get("response_time")),
                )
            )
    return cells.grid(", ".join(inputs))


def _milliseconds(seconds: object) -> object:
    try:
        value = as_number(seconds)
    except ValueError:
        return seconds
    return None if value is None else value * _MS_PER_S


def _prompt(record: dict[str, Any]) -> object:
    """The query, with its lettered choices; code tasks keep their tests in ``choices``."""
    query, choices = record["query"], record.get("choices")
    if not isinstance(query, str) or record.get("metric") != _MULTIPLE_CHOICE:
        return query
    if isinstance(choices, str):
        try:
            choices = json.loads(choices)
        except ValueError:
            return query
    if isinstance(choices, dict):
        labels = choices.get("labels", choices.get("label"))
        texts = choices.get("text")
    else:
        labels, texts = list(ascii_uppercase), choices
    if not isinstance(labels, list) or not isinstance(texts, list):
        return query
    lines = [f"{label}. {text}" for label, text in zip(labels, texts, strict=False)]
    return "\n".join([query, *lines])
