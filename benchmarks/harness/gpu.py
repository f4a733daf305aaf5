"""The speed of the predictor on this GPU, and the share of the chip that it uses.

The whole of MiniLM with made-up heads, at fp16 and fp32: onnxruntime's CUDA provider, its TensorRT
provider where it is installed, and PyTorch eager in half precision, in turn, over batch sizes and
lengths. Floating point operations are those of the transformer's matrix products; the share of the
chip's peak is relative to --peak-tflops, by default the chip's dense half precision.
Started by gpu.sh.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import torch
from transformers import AutoModel

from harness.artifacts import export_minilm, minilm
from harness.command import CannotRunError, make_parser, run
from routoo.predictor.artifact import INPUT, load_artifact
from routoo_export.backbones.packages import minilm_folder

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from numpy.typing import NDArray

BATCHES = (1, 8, 32, 128, 512)
LENGTHS_TOKENS = (32, 64, 128, 256)
ROUNDS = 50
WARM_UP = 5
VOCABULARY = 30_000
# all-MiniLM-L6-v2.
LAYERS, WIDTH, INNER = 6, 384, 1536
# Dense half precision, from the makers' data sheets.
PEAK_TFLOPS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0, "T4": 65.0}


def flops(batch: int, tokens: int) -> float:
    """Counts the operations of the matrix products of one forward pass."""
    per_token = LAYERS * (4 * 2 * WIDTH * WIDTH + 2 * 2 * WIDTH * INNER)
    attention = LAYERS * 2 * 2 * tokens * WIDTH
    return batch * tokens * float(per_token + attention)


def providers() -> dict[str, list[Any]]:
    """Returns the providers of onnxruntime that work on this GPU, by name."""
    there = ort.get_available_providers()
    ways: dict[str, list[Any]] = {"cuda": ["CUDAExecutionProvider"]}
    if "TensorrtExecutionProvider" in there:
        options = {"trt_fp16_enable": True, "trt_layer_norm_fp32_fallback": True}
        ways["tensorrt"] = [("TensorrtExecutionProvider", options), "CUDAExecutionProvider"]
    return ways


def session_call(model: Path, wanted: list[Any], ids: NDArray[np.int64]) -> Callable[[], object]:
    """Makes a call from ids on the host to scores on the host, as the service needs it.

    Raises:
        RuntimeError: onnxruntime fell back to the CPU.
    """
    session = ort.InferenceSession(str(model), providers=[*wanted, "CPUExecutionProvider"])
    first = wanted[0] if isinstance(wanted[0], str) else wanted[0][0]
    if first not in session.get_providers():
        raise RuntimeError(f"{first} could not be used")
    return partial(session.run, ["scores", "output_tokens"], {INPUT: ids})


def eager_call(ids: NDArray[np.int64]) -> Callable[[], object]:
    """Makes a call of MiniLM as transformers runs it, without the heads."""
    model = AutoModel.from_pretrained(minilm_folder(), dtype=torch.float16).cuda().eval()

    def run() -> object:
        tensor = torch.from_numpy(ids).cuda()
        with torch.inference_mode():
            state = model(input_ids=tensor, attention_mask=torch.ones_like(tensor))
        return state.last_hidden_state.mean(1).cpu()

    return run


def time_call(call: Callable[[], object], batch: int, tokens: int, peak: float | None) -> Any:
    """Measures one way at one shape."""
    for _ in range(WARM_UP):
        call()
    times_s = []
    for _ in range(ROUNDS):
        started_s = perf_counter()
        call()
        times_s.append(perf_counter() - started_s)
    p50_s, p99_s = np.percentile(times_s, [50, 99]).tolist()
    tflops = flops(batch, tokens) / p50_s / 1e12
    return {
        "p50_ms": p50_s * 1e3,
        "p99_ms": p99_s * 1e3,
        "prompts_per_s": batch / p50_s,
        "tflops": tflops,
        "share_of_peak": None if peak is None else tflops / peak,
    }


def measure(peak: float | None) -> list[dict[str, Any]]:
    """Measures all ways at all shapes."""
    rows = []
    with TemporaryDirectory() as scratch:
        checkpoint = minilm(Path(scratch))
        models = {
            precision: load_artifact(export_minilm(checkpoint, Path(scratch), precision)).model_path
            for precision in ("fp32", "fp16")
        }
        for batch in BATCHES:
            for tokens in LENGTHS_TOKENS:
                ids = np.random.default_rng(0).integers(1_000, VOCABULARY, (batch, tokens))
                calls = {
                    f"onnxruntime {way} {precision}": partial(session_call, model, wanted, ids)
                    for way, wanted in providers().items()
                    for precision, model in models.items()
                }
                calls["torch eager fp16"] = partial(eager_call, ids)
                for name, make in calls.items():
                    figures = time_call(make(), batch, tokens, peak)
                    rows.append({"way": name, "batch": batch, "tokens": tokens, **figures})
    return rows


def measure_gpu(options: Namespace) -> dict[str, Any]:
    """Measures the GPU that torch finds first.

    Raises:
        CannotRunError: there is no GPU, or a library is built without it.
    """
    if not torch.cuda.is_available():
        raise CannotRunError("torch finds no CUDA device; install its CUDA build")
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        raise CannotRunError("onnxruntime has no CUDA provider; install onnxruntime-gpu")
    # The libraries that torch's wheels bring are loaded for onnxruntime too.
    ort.preload_dlls()
    name = torch.cuda.get_device_name()
    known = (tflops for chip, tflops in PEAK_TFLOPS.items() if chip in name)
    peak = options.peak_tflops or next(known, None)
    return {"gpu": name, "peak_tflops": peak, "rows": measure(peak)}


def show(result: dict[str, Any]) -> None:
    """Prints one way at one shape per line."""
    print(f"{result['gpu']}, peak {result['peak_tflops']} TFLOP/s")
    for row in result["rows"]:
        share = "" if row["share_of_peak"] is None else f"{row['share_of_peak']:7.1%} of peak"
        print(
            f"{row['batch']:4} x {row['tokens']:3}  {row['way']:28} {row['p50_ms']:8.2f} ms"
            f" {row['prompts_per_s']:10.0f} prompts/s {share}"
        )


def main() -> int:
    parser = make_parser(__doc__, whole=True)
    parser.add_argument("--peak-tflops", type=float, help="of the chip, dense half precision")
    return run(parser.parse_args(), measure_gpu, show)


if __name__ == "__main__":
    sys.exit(main())
