"""The costs and gains of each precision of an exported checkpoint.

For each precision, on the test prompts of the pair of models that APGR is judged on: APGR and its
difference from fp32 (paired bootstrap over prompts), how far the scores are from fp32's, and the
bytes of the artifact. Then, through the predictor that the service runs, one thread: the share of
2,000 prompts that get the same model in batches of 1, 8 and 64, at a price of quality half way up
the trade; and the time of one prompt by its length in tokens, tokenising included.

Reads the outcomes from the folder in ROUTOO_DATA; prints a table, or one object with --json.
"""

import statistics
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from harness.command import data_folder, make_parser, run
from harness.prompts import prompt_of
from routoo.predictor.artifact import load_artifact
from routoo.predictor.onnx import OnnxPredictor
from routoo.selector.policies.lp import round_scores
from routoo_export.artifact.artifact import write_artifact
from routoo_export.errors import ExportError
from routoo_export.evaluation.metrics import weighted_pair_curves
from routoo_export.graph.precision import Precision
from routoo_export.outcomes.outcomes import Outcomes
from routoo_export.outcomes.sources import PROTOCOL, read_prices, read_training_outcomes
from routoo_export.outcomes.splits import TEST_BUCKETS, in_buckets
from routoo_export.training.checkpoint import Checkpoint, load_checkpoint

LENGTHS_TOKENS = (32, 64, 128, 256)
BATCHES = (1, 8, 64)
BATCHED_PROMPTS = 2_000
RESAMPLES = 1_000
TIMED_CALLS = 200
PASSAGES = 4
PREDICTED_BATCH = 32
TOKENS_PER_MILLION = 1.0e6

FloatArray = npt.NDArray[np.float64]


@contextmanager
def exported(
    checkpoint: Checkpoint, outcomes: Outcomes, precision: Precision
) -> Iterator[tuple[OnnxPredictor, dict[str, Any]]]:
    """Exports a checkpoint; yields the service's predictor, on one thread, and the report."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "1"
        report = write_artifact(checkpoint, outcomes, {}, folder, precision=precision)
        predictor = OnnxPredictor(load_artifact(folder), provider="cpu", intra_op_threads=1)
        predictor.warm_up()
        yield (
            predictor,
            {
                "bytes": sum(report.bytes_by_file.values()),
                "parity_max": report.parity.max_abs_diff,
                "parity_mean": report.parity.mean_abs_diff,
            },
        )


def predicted_scores(predictor: OnnxPredictor, prompts: list[str], batch: int) -> FloatArray:
    """Predicts scores, float64 [n, m], by calls with ``batch`` prompts each."""
    parts = [
        predictor.predict(prompts[start : start + batch]).scores
        for start in range(0, len(prompts), batch)
    ]
    return np.concatenate(parts).astype(np.float64)


def apgr(predicted: FloatArray, truth: FloatArray, weights: FloatArray) -> FloatArray:
    """Returns APGR [r] under r weightings [r, n] of the prompts.

    ``predicted`` and ``truth`` are [n, 2]: weak model, strong model.
    """
    preference = predicted[:, 1] - predicted[:, 0]
    return weighted_pair_curves(preference, truth[:, 0], truth[:, 1], weights).apgr


def same_choices(predictor: OnnxPredictor, prompts: list[str], cost_usd: FloatArray) -> float:
    """Returns the share of prompts that get one model in all BATCHES; cost_usd [m] per prompt."""
    scores = [predicted_scores(predictor, prompts, batch) for batch in BATCHES]
    # Half way between the cheapest choice and the best one.
    best = scores[0].max(axis=1).mean()
    cheap = scores[0][:, np.argmin(cost_usd)].mean()
    price = (best - cheap) / (2.0 * (cost_usd.max() - cost_usd.min()))
    choices = np.array([np.argmax(round_scores(s) - price * cost_usd, axis=1) for s in scores])
    return float((choices == choices[0]).all(axis=0).mean())


def latencies_ms(predictor: OnnxPredictor, checkpoint: Checkpoint) -> dict[str, dict[str, float]]:
    """Returns the time of one prompt by its length in tokens: median, and fastest tenth.

    The fastest tenth estimates the time on an idle machine.
    """
    backbone = checkpoint.backbone

    def count_tokens(text: str) -> int:
        return len(backbone.encode([text])[0])

    found = {}
    for length in LENGTHS_TOKENS:
        if length > backbone.spec.max_tokens:
            continue
        # One passage of the text is too short for all of them; two follow each other as they are.
        prompt = " ".join([prompt_of(length // PASSAGES, count_tokens)] * PASSAGES)
        times = []
        for _ in range(TIMED_CALLS):
            started = time.perf_counter_ns()
            predictor.predict([prompt])
            times.append((time.perf_counter_ns() - started) / 1.0e6)
        found[str(count_tokens(prompt))] = {
            "median": statistics.median(times),
            "fastest_tenth": statistics.quantiles(times, n=10)[0],
        }
    return found


def measure(checkpoint: Checkpoint, data: Path) -> dict[str, Any]:
    """Measures all precisions."""
    outcomes = read_training_outcomes(data)
    models = list(checkpoint.record.models)
    columns = [outcomes.models.index(name) for name in (PROTOCOL.weak, PROTOCOL.strong)]
    of_pair = np.array([name == PROTOCOL.pair_source for name in outcomes.source_names])
    judged = outcomes.rows(of_pair & in_buckets(outcomes.buckets, TEST_BUCKETS))
    truth = judged.scores[:, columns].astype(np.float64)
    known = np.isfinite(truth).all(axis=1)
    truth = truth[known]
    prompts = [prompt for prompt, keep in zip(judged.prompts, known, strict=True) if keep]
    chosen = [models.index(name) for name in (PROTOCOL.weak, PROTOCOL.strong)]
    cost_usd = read_prices(data, models).sum(axis=1) / TOKENS_PER_MILLION
    # The first weighting is that of the prompts as they are.
    draws = (
        np.random.default_rng(0)
        .multinomial(len(prompts), np.full(len(prompts), 1 / len(prompts)), RESAMPLES)
        .astype(np.float64)
    )
    draws[0] = 1.0
    found: dict[str, FloatArray] = {}
    figures: dict[str, Any] = {"backbone": checkpoint.backbone.spec.kind, "prompts": len(prompts)}
    for precision in get_args(Precision):
        with exported(checkpoint, outcomes, precision) as (predictor, entry):
            scores = predicted_scores(predictor, prompts, PREDICTED_BATCH)
            found[precision] = apgr(scores[:, chosen], truth, draws)
            lost = found["fp32"] - found[precision]
            entry |= {
                "apgr": float(found[precision][0]),
                "apgr_lost": float(lost[0]),
                "apgr_lost_se": float(np.std(lost[1:])),
                "same_choice": same_choices(predictor, prompts[:BATCHED_PROMPTS], cost_usd),
                "ms_by_tokens": latencies_ms(predictor, checkpoint),
            }
            figures[precision] = entry
    return figures


def print_table(figures: dict[str, Any]) -> None:
    """Prints one line per precision."""
    print(f"{figures['backbone']}, {figures['prompts']} prompts")
    for precision in get_args(Precision):
        one = figures[precision]
        times = " ".join(
            f"{n}: {ms['median']:.2f} ({ms['fastest_tenth']:.2f})"
            for n, ms in one["ms_by_tokens"].items()
        )
        print(
            f"{precision}: {one['bytes'] / 1e6:.1f} MB, APGR {one['apgr']:.4f} (lost"
            f" {one['apgr_lost']:+.4f} ± {one['apgr_lost_se']:.4f}), same choice"
            f" {one['same_choice']:.4%}, ms by tokens, median (fastest tenth), {times}"
        )


def measure_checkpoint(options: Namespace) -> dict[str, Any]:
    """Measures the checkpoint that the command line names."""
    data = data_folder()
    return measure(load_checkpoint(options.checkpoint), data)


def main() -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("artifacts/predictor"))
    return run(parser.parse_args(), measure_checkpoint, print_table, errors=(ExportError,))


if __name__ == "__main__":
    sys.exit(main())
