"""The outcome sources that the shipped predictor is trained on, and the protocol that judges it."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo_export.errors import OutcomeError
from routoo_export.outcomes.outcomes import Outcomes, merge_outcomes, read_outcomes

PRICES_FILE: Final = "prices.csv"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One parquet file of the data folder, named <name>.parquet, and its licence (SPDX)."""

    name: str
    licence: str


@dataclass(frozen=True, slots=True)
class ProtocolSpec:
    """Which figures are taken on what.

    weak and strong: RouteLLM's pair, judged on all of pair_source by cross-validation. The pool is
    every model of pool_source but ``excluded`` (too few outcomes); ``reference`` is the model to
    match.
    """

    pair_source: str
    weak: str
    strong: str
    pool_source: str
    excluded: tuple[str, ...]
    reference: str


# Only sources under licences that let their derivatives be shipped.
TRAINING_SOURCES: Final = (
    SourceFile("mmlu_pro", "Apache-2.0"),
    SourceFile("mmlu_routellm", "Apache-2.0"),
)
PROTOCOL: Final = ProtocolSpec(
    pair_source="mmlu_routellm",
    weak="mistralai/Mixtral-8x7B-Instruct-v0.1",
    strong="gpt-4-1106-preview",
    pool_source="mmlu_pro",
    excluded=("deepseek-ai/DeepSeek-Coder-V2",),
    reference="gpt-4o-2024-05-13",
)


def read_training_outcomes(data: Path) -> Outcomes:
    """All TRAINING_SOURCES of the folder ``data``, merged."""
    return merge_outcomes(
        [
            read_outcomes(data / f"{file.name}.parquet", name=file.name, licence=file.licence)
            for file in TRAINING_SOURCES
        ]
    )


def read_prices(data: Path, models: Sequence[str]) -> NDArray[np.float64]:
    """USD per million (input, output) tokens, float64 [m, 2].

    Raises:
        OutcomeError: the price list is missing, or lacks a model.
    """
    path = data / PRICES_FILE
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            listed = {
                row["model"]: (float(row["usd_per_1M_input"]), float(row["usd_per_1M_output"]))
                for row in csv.DictReader(lines)
            }
        return np.array([listed[model] for model in models], dtype=np.float64)
    except (OSError, KeyError, ValueError) as error:
        raise OutcomeError(f"{path}: no usable price ({error})") from error
