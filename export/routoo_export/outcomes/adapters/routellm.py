"""RouteLLM's graded responses: routellm/evals/{mmlu/responses,gsm8k}/*.csv of lm-sys/RouteLLM.

Format: github.com/lm-sys/RouteLLM, routellm/evals/{mmlu,gsm8k}/generate_responses.py (written) and
benchmarks.py (read). One row per prompt: ``prompt``, one column per model with True or False, and
in GSM8K's file ``<model>_response`` with the text. The MMLU domain is in the file's name,
mmlu_<domain>.csv; GSM8K's file is gsm8k_responses.csv. Licence: Apache-2.0.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from routoo_export.outcomes.adapters.cells import Cell, CellRows, is_missing, tokens_of
from routoo_export.outcomes.adapters.files import csv_rows, find_files, need
from routoo_export.outcomes.bad_rows import BadRows
from routoo_export.outcomes.columns import OutcomeGrid

_RESPONSE: Final = "_response"
_PROMPT: Final = "prompt"


def read_routellm(inputs: Sequence[str], bad: BadRows) -> OutcomeGrid:
    """Read csv files, or those of folders; prompts are numbered within their file.

    Raises:
        OutcomeError: a file cannot be read, or a row does not fit.
    """
    cells = CellRows(bad)
    for path in find_files(inputs, ".csv"):
        domain = _domain(path)
        for where, record in csv_rows(path, bad):
            if not need(record, (_PROMPT,), where, bad):
                continue
            for model, score in record.items():
                # An unnamed column is the index that pandas wrote.
                if model in {_PROMPT, ""} or model.endswith(_RESPONSE):
                    continue
                if is_missing(score):
                    continue
                cells.add(
                    Cell(
                        where,
                        f"{path.stem}-{where.row}",
                        record[_PROMPT],
                        model,
                        score,
                        domain=domain,
                        output_tokens=tokens_of(record.get(f"{model}{_RESPONSE}")),
                    )
                )
    return cells.grid(", ".join(inputs))


def _domain(path: Path) -> str:
    return path.stem.removeprefix("mmlu_").removesuffix("_responses")
