"""Outcomes of two kinds of prompt on which two models are good at one each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routoo_export.outcomes.outcomes import Outcomes, read_outcomes
from support.tables.random_table import write_tiny_table_artifact

if TYPE_CHECKING:
    from pathlib import Path

WORDS = {
    "sums": ["add", "subtract", "multiply", "divide", "number", "total", "digits", "percent"],
    "poems": ["rose", "verse", "rhyme", "moon", "river", "sonnet", "stanza", "autumn"],
}


def write_own(path: Path, rows: int = 300, **columns: Any) -> Path:
    """Writes outcomes: small is good at sums, large at poems; a column given None is left out."""
    random = np.random.default_rng(0)
    domains = [("sums", "poems")[at % 2] for at in range(rows)]
    sums = np.array(domains) == "sums"
    table: dict[str, Any] = {
        "prompt_id": [str(at) for at in range(rows)],
        "prompt": [" ".join([*random.choice(WORDS[d], 6), str(i)]) for i, d in enumerate(domains)],
        "domain": domains,
        "score:small": (random.random(rows) < np.where(sums, 0.85, 0.3)).astype(float),
        "score:large": (random.random(rows) < np.where(sums, 0.5, 0.9)).astype(float),
        "cost:small": np.full(rows, 1e-5),
        "cost:large": np.full(rows, 1e-4),
    }
    table |= columns
    pq.write_table(pa.table({k: v for k, v in table.items() if v is not None}), path)
    return path


@pytest.fixture(scope="package")
def own_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_own(tmp_path_factory.mktemp("own") / "mine.parquet")


@pytest.fixture(scope="package")
def own_outcomes(own_file: Path) -> Outcomes:
    return read_outcomes(own_file)


@pytest.fixture(scope="package")
def base(tmp_path_factory: pytest.TempPathFactory, own_outcomes: Outcomes) -> Path:
    folder = tmp_path_factory.mktemp("base") / "predictor" / "1"
    return write_tiny_table_artifact(folder, own_outcomes.prompts)
