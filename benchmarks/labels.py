"""Writes real outcomes as a file of labels for ``routoo calibrate``, for docs/calibration.md.

The prompts of MMLU-Pro that the shipped predictor was not trained on, in random order, with the
scores and costs of the shipped pool, and whether Llama-3.1-8B's and Mixtral's answers agree.

Reads mmlu_pro.parquet from the folder in ROUTOO_DATA; writes JSON Lines to the file that the
argument names.
"""

import json
import os
import sys
from pathlib import Path

from harness.held_out import read_held_out

PAIR = ("meta-llama/Meta-Llama-3.1-8B-Instruct", "mistralai/Mixtral-8x7B-Instruct-v0.1")


def main() -> int:
    """Writes the file."""
    folder = os.environ.get("ROUTOO_DATA")
    if not folder or len(sys.argv) != 2:
        print("set ROUTOO_DATA to the folder of the outcomes and name a file", file=sys.stderr)
        return 2
    data = read_held_out(Path(folder))
    names = data.pool.names
    answers = [data.table[f"pred:{model}"].to_pylist() for model in PAIR]
    with Path(sys.argv[1]).open("w", encoding="utf-8") as lines:
        for row, prompt in enumerate(data.table["prompt"].to_pylist()):
            first, second = (one[row] for one in answers)
            agree = int(first is not None and first == second)
            costs_usd = data.true_costs_usd[row].round(9).tolist()
            label = {
                "prompt": prompt,
                "scores": dict(zip(names, data.true_scores[row].tolist(), strict=True)),
                "costs_usd": dict(zip(names, costs_usd, strict=True)),
                "signals": {model: {"agreement": agree} for model in PAIR},
            }
            lines.write(json.dumps(label) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
