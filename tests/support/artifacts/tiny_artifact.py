"""A complete, tiny predictor artifact: real graph, real tokenizer, real checksums.

A prompt's figures are the mean over its words, as the tables below say, so that tests can write
prompts with known answers.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import onnx
import orjson
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

MODELS = ("small", "medium", "large")
WORDS = ("[PAD]", "[UNK]", "easy", "hard", "long")
# Rows: words; columns: small, medium, large. The sums of eighths are exact in any order: if the
# figures of a prompt depend on its batch, the fault is the service's.
SCORES = np.array(
    [
        [0.0, 0.0, 0.0],
        [0.5, 0.625, 0.75],
        [0.875, 0.875, 0.875],
        [0.125, 0.5, 0.875],
        [0.375, 0.5, 0.625],
    ],
    np.float32,
)
TOKENS = np.array(
    [[0, 0, 0], [100, 100, 100], [10, 10, 10], [200, 200, 200], [5000, 5000, 5000]], np.float32
)
OUTPUTS = (
    {"name": "scores", "dtype": "float32", "shape": [-1, len(MODELS)]},
    {"name": "output_tokens", "dtype": "float32", "shape": [-1, len(MODELS)]},
    {"name": "score_std", "dtype": "float32", "shape": [-1, len(MODELS)]},
    {"name": "ood", "dtype": "float32", "shape": [-1]},
)
STD_SHARE = 0.25
LONGEST = 5000.0


def write_tiny_artifact(
    folder: Path,
    *,
    max_tokens: int = 32,
    rows: int = 400,
    scores: NDArray[np.float32] = SCORES,
    uncertain: bool = False,
) -> Path:
    """Writes the artifact into ``folder`` (made if needed) and returns it.

    Args:
        folder: the artifact's folder.
        max_tokens: the length of the longest prompt that is read whole.
        rows: the number of rows of the calibration sample.
        scores: the graph's scores by word, float32 [words, models].
        uncertain: whether the graph also returns score_std, which is STD_SHARE of the score, and
            ood, which is the longest answer over LONGEST.
    """
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_graph(scores, uncertain=uncertain), folder / "model.onnx")
    _tokenizer().save(str(folder / "tokenizer.json"))
    random = np.random.default_rng(0)
    words = random.integers(1, len(WORDS), rows)
    noise = random.uniform(-0.05, 0.05, (rows, 1))
    np.savez_compressed(
        folder / "calibration.npz",
        scores=np.rint(np.clip(SCORES[words] + noise, 0, 1) * 1e4).astype(np.uint16),
        output_tokens=TOKENS[words].astype(np.uint16),
        input_tokens=np.full(rows, 50, np.uint16),
    )
    (folder / "manifest.json").write_bytes(orjson.dumps(manifest(folder, max_tokens, rows)))
    if uncertain:
        change_manifest(folder, outputs=OUTPUTS)
    return folder


def manifest(folder: Path, max_tokens: int, rows: int) -> dict[str, object]:
    """Makes the manifest of the files in ``folder``."""
    m = len(MODELS)
    files = {}
    for name in ("model.onnx", "tokenizer.json", "calibration.npz"):
        content = (folder / name).read_bytes()
        files[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    return {
        "format_version": 1,
        "predictor_version": "tiny-1",
        "backbone": "static",
        "models": MODELS,
        "inputs": [{"name": "input_ids", "dtype": "int64", "shape": [-1, -1]}],
        "outputs": OUTPUTS[:2],
        "max_tokens": max_tokens,
        "pad_token_id": 0,
        "add_special_tokens": False,
        "calibration": {
            "method": "none",
            "in_graph": True,
            "sample": {"file": "calibration.npz", "rows": rows, "split": "validation"},
        },
        "training": {},
        "output_tokens_source": {},
        "prior": {"scores": [0.5] * m, "output_tokens": [100.0] * m},
        "metrics": {},
        "parity": {"prompts": 0, "max_abs_diff": 0.0, "tolerance": 0.0},
        "files": files,
    }


def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(
        WordLevel({word: position for position, word in enumerate(WORDS)}, unk_token=WORDS[1])
    )
    tokenizer.pre_tokenizer = Whitespace()
    return tokenizer


def change_manifest(folder: Path, **changes: object) -> None:
    """Overwrites top-level keys of the manifest."""
    path = folder / "manifest.json"
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), **changes}))


def refresh_checksums(folder: Path) -> None:
    """Updates the checksums in the manifest to the files as they are now."""
    change_manifest(folder, files=manifest(folder, 0, 0)["files"])


def _graph(scores: NDArray[np.float32], *, uncertain: bool) -> onnx.ModelProto:
    """Makes a graph that averages the rows of a prompt's words, without padding."""
    n, m = "n", len(MODELS)
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["ids_float"], to=TensorProto.FLOAT),
        helper.make_node("Sign", ["ids_float"], ["is_word"]),
        helper.make_node("ReduceSum", ["is_word", "axis"], ["length"], keepdims=1),
        helper.make_node("Max", ["length", "one"], ["length_at_least_1"]),
    ]
    for table, output in (("score_table", "scores"), ("token_table", "output_tokens")):
        nodes += [
            helper.make_node("Gather", [table, "input_ids"], [f"{output}_rows"]),
            helper.make_node(
                "ReduceSum", [f"{output}_rows", "axis"], [f"{output}_sum"], keepdims=0
            ),
            helper.make_node("Div", [f"{output}_sum", "length_at_least_1"], [output]),
        ]
    if uncertain:
        nodes += [
            helper.make_node("Mul", ["scores", "std_share"], ["score_std"]),
            helper.make_node("ReduceMax", ["output_tokens"], ["longest"], axes=[1], keepdims=0),
            helper.make_node("Div", ["longest", "most_tokens"], ["ood"]),
        ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, [n, "length_in"])],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [n, m]),
            helper.make_tensor_value_info("output_tokens", TensorProto.FLOAT, [n, m]),
            *(
                [
                    helper.make_tensor_value_info("score_std", TensorProto.FLOAT, [n, m]),
                    helper.make_tensor_value_info("ood", TensorProto.FLOAT, [n]),
                ]
                if uncertain
                else []
            ),
        ],
        [
            numpy_helper.from_array(scores, "score_table"),
            numpy_helper.from_array(TOKENS, "token_table"),
            numpy_helper.from_array(np.array([1], np.int64), "axis"),
            numpy_helper.from_array(np.array([[1.0]], np.float32), "one"),
            numpy_helper.from_array(np.array(STD_SHARE, np.float32), "std_share"),
            numpy_helper.from_array(np.array(LONGEST, np.float32), "most_tokens"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    return model
