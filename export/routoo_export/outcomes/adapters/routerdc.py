"""RouterDC's scores: datasets/split2_model7/*.json of shuhao02/RouterDC.

Format: github.com/shuhao02/RouterDC, convert_dataset_7_model.ipynb (written) and
train_router_mdeberta.py (read). A JSON array of {"question": text, "scores": {model: number}}; the
task is in the file's name. In the multiple-choice tasks the number is the probability of the right
choice if the model chose it and 0 otherwise, so it is read as right (1) or wrong (0); in the others
it is the fraction of sampled answers that pass. The repository has no licence file.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from routoo_export.outcomes.adapters.cells import Cell, CellRows, as_number
from routoo_export.outcomes.adapters.files import find_files, need, objects, parse_json_records
from routoo_export.outcomes.bad_rows import BadRows
from routoo_export.outcomes.columns import OutcomeGrid

_SIDE: Final = re.compile(r"[-_](train|test)$")
_CHOICE_TASKS: Final = ("mmlu", "cmmlu", "ceval", "arc_challenge", "arc_easy", "hellaswag")


def read_routerdc(inputs: Sequence[str], bad: BadRows) -> OutcomeGrid:
    """Read json files, or those of folders; prompts are numbered within their file.

    Raises:
        OutcomeError: a file cannot be read, or a row does not fit.
    """
    cells = CellRows(bad)
    for path in find_files(inputs, ".json"):
        task = _SIDE.sub("", path.stem)
        for where, record in objects(
            parse_json_records(path.read_bytes(), str(path)), str(path), bad
        ):
            if not need(record, ("question", "scores"), where, bad):
                continue
            if not isinstance(record["scores"], Mapping):
                bad.add(str(where), "scores is not an object of model: number")
                continue
            for model, score in record["scores"].items():
                if score is None:
                    continue
                cells.add(
                    Cell(
                        where,
                        f"{path.stem}-{where.row}",
                        record["question"],
                        model,
                        _right(score) if task in _CHOICE_TASKS else score,
                        domain=task,
                    )
                )
    return cells.grid(", ".join(inputs))


def _right(score: object) -> object:
    """Turn a probability into 1 if it is above 0, else 0; other values are refused later."""
    try:
        probability = as_number(score)
    except ValueError:
        return score
    in_range = probability is not None and 0.0 <= probability <= 1.0
    return float(probability > 0.0) if in_range and probability is not None else score
