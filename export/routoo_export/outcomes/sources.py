"""The outcome sources that the shipped predictor is trained on, and its evaluation protocol."""

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
    """One parquet file of the data folder.

    Attributes:
        name: The file is named <name>.parquet.
        licence: Its licence, SPDX.
    """

    name: str
    licence: str


@dataclass(frozen=True, slots=True)
class ProtocolSpec:
    """The sources and models by which the shipped predictor is evaluated.

    Attributes:
        pair_source: The source of RouteLLM's pair, evaluated as a whole by cross-validation.
        weak: The weak model of the pair.
        strong: The strong model of the pair.
        pool_source: The source whose models form the pool.
        excluded: Models of that source that are not in the pool: they have too few outcomes.
        reference: The model of the pool to match.
    """

    pair_source: str
    weak: str
    strong: str
    pool_source: str
    excluded: tuple[str, ...]
    reference: str


# The licences of these sources allow shipping of derivatives.
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
    """Read and merge all TRAINING_SOURCES of the folder ``data``."""
    return merge_outcomes(
        [
            read_outcomes(data / f"{file.name}.parquet", name=file.name, licence=file.licence)
            for file in TRAINING_SOURCES
        ]
    )


def read_prices(data: Path, models: Sequence[str]) -> NDArray[np.float64]:
    """Read prices in USD per million (input, output) tokens, float64 [m, 2].

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
