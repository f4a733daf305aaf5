"""Writes real outcomes as a file of labels for ``routoo calibrate``.

The file is that of the example in docs/how-to/calibration.md.
The prompts of ParetoBandit's validation set that may ship, in random order, with the scores and
true costs of three models.

Reads paretobandit_val.parquet from the folder in ROUTOO_DATA; writes JSON Lines to the file that
the argument names.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

MODELS = (
    "meta-llama/llama-3.1-8b-instruct",
    "mistralai/mistral-large-2512",
    "google/gemini-2.5-pro",
)
UNSHIPPED_DOMAIN = "arc_challenge"
SEED = 0


def main() -> int:
    """Writes the file."""
    folder = os.environ.get("ROUTOO_DATA")
    if not folder or len(sys.argv) != 2:
        print("set ROUTOO_DATA to the folder of the outcomes and name a file", file=sys.stderr)
        return 2
    table = pq.read_table(Path(folder) / "paretobandit_val.parquet")
    table = table.filter(pc.not_equal(table["domain"], UNSHIPPED_DOMAIN))
    table = table.take(pa.array(np.random.default_rng(SEED).permutation(len(table))))
    with Path(sys.argv[1]).open("w", encoding="utf-8") as lines:
        for row in table.to_pylist():
            label = {
                "prompt": row["prompt"],
                "scores": {model: round(row[f"score:{model}"], 4) for model in MODELS},
                "costs_usd": {model: round(row[f"cost:{model}"], 9) for model in MODELS},
            }
            lines.write(json.dumps(label) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
