"""Canonical names of models, by the list of the data folder."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from routoo_export.errors import OutcomeError

MODELS_FILE: Final = "models.csv"


def read_canonical_names(folder: Path) -> dict[str, dict[str, str]]:
    """Read the canonical name (provider/name, lower case) of each model of each file.

    Returns:
        Canonical name by file name (with .parquet) and by the model's name in that file.

    Raises:
        OutcomeError: the list is missing or lacks a column.
    """
    path = folder / MODELS_FILE
    names: dict[str, dict[str, str]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                of_file = names.setdefault(row["source_file"], {})
                of_file[row["source_name"]] = row["canonical"].strip().lower()
    except (OSError, UnicodeDecodeError, KeyError, AttributeError) as error:
        raise OutcomeError(
            f"{path}: no usable list of models ({error}); it needs the columns source_file,"
            " source_name and canonical"
        ) from error
    return names


def canonical_name(names: Mapping[str, Mapping[str, str]], file_name: str, model: str) -> str:
    """The canonical name of ``model`` of the file.

    Raises:
        OutcomeError: the list has no such model, or no name for it.
    """
    found = names.get(file_name, {}).get(model)
    if not found:
        raise OutcomeError(
            f"{MODELS_FILE}: no canonical name of {model!r} of {file_name}; add a line for it"
        )
    return found
