"""The graph of a transformer: it computes what torch computes, in any batch and precision."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from routoo_export.backbones.tokens import bare_tokenizer, pad_ids
from routoo_export.backbones.transformer import Reading, TransformerBackbone
from routoo_export.backbones.truncate import truncate
from routoo_export.errors import ExportError, ParityError
from routoo_export.graph.constant_folding import fold_constants
from routoo_export.graph.graph import build_graph
from routoo_export.graph.heads import OUTPUT_NAMES
from routoo_export.graph.parity import (
    TOLERANCES,
    check_parity,
    open_session,
    run_session,
    run_torch,
)
from routoo_export.graph.precision import Precision, at_precision
from routoo_export.graph.transformer import PREFIX, trace
from support.artifacts.tiny_transformers import (
    PAD,
    WIDTH,
    save_tiny_encoder,
    tiny_mobillama,
    tiny_tokenizer,
)
from support.random_heads import random_heads

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from transformers import PreTrainedModel

    from routoo_export.network.network import Weights

WORDS = ["court", "statute", "integral", "matrix"]
MAX_TOKENS = 32
BACKBONES = {
    "encoder, mean of two layers": ("encoder", (1, 3), "mean", "none", 0),
    "encoder, last token": ("encoder", (3,), "last", "none", 0),
    "decoder, mean without the first token": ("decoder", (0, 2), "mean", "rms", 1),
    "decoder, last token, final norm": ("decoder", (4,), "last", "none", 0),
}
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")


def prompts(rows: int, seed: int = 0) -> list[list[int]]:
    """Random ids, with one prompt of padding alone and one of a single token."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, MAX_TOKENS + 1, rows)
    ids = [rng.integers(PAD + 1, 60, length).tolist() for length in lengths]
    ids[0], ids[1] = [PAD], [7]
    return ids


def heads(width: int) -> Weights:
    """Random heads on ``width`` features."""
    weights = random_heads(3, added=1)
    ood = weights.ood
    return replace(
        weights,
        hidden=np.resize(weights.hidden, (width, weights.hidden.shape[1])),
        ood=replace(ood, whiten=np.resize(ood.whiten, (width, ood.whiten.shape[1]))),
    )


def matrices(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shapes of the constants with two dimensions."""
    return {t.name: tuple(t.dims) for t in model.graph.initializer if len(t.dims) == 2}


def products(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The transformer's products with a constant matrix of floats."""
    constant = matrices(model)
    return [
        node
        for node in model.graph.node
        if node.name.startswith(PREFIX) and node.op_type == "MatMul" and node.input[1] in constant
    ]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Callable[[], PreTrainedModel]]:
    from transformers import BertModel

    folder = save_tiny_encoder(tmp_path_factory.mktemp("models") / "bert", WORDS)
    return {
        "encoder": lambda: BertModel.from_pretrained(folder, add_pooling_layer=False).eval(),
        "decoder": lambda: tiny_mobillama(WORDS),
    }


@pytest.fixture(scope="module", params=BACKBONES.values(), ids=list(BACKBONES))
def backbone(
    request: pytest.FixtureRequest, models: dict[str, Callable[[], PreTrainedModel]]
) -> TransformerBackbone:
    kind, layers, pooling, state_scale, unpooled = request.param
    model = models[kind]()
    truncate(model, max(layers))
    tokenizer_json = bare_tokenizer(tiny_tokenizer(WORDS).backend_tokenizer.to_str())
    reading = Reading(
        kind=kind,
        name="tiny",
        licence="MIT",
        layers=layers,
        pooling=pooling,
        state_scale=state_scale,
        unpooled=unpooled,
        add_special_tokens=False,
        max_tokens=MAX_TOKENS,
        pad_token_id=PAD,
    )
    return TransformerBackbone(model, tokenizer_json, reading)


@pytest.fixture(scope="module")
def graph(backbone: TransformerBackbone) -> onnx.ModelProto:
    return build_graph(backbone, heads(WIDTH * len(backbone.layers)))


def test_the_graph_computes_what_torch_does_at_every_precision(
    backbone: TransformerBackbone, graph: onnx.ModelProto
) -> None:
    weights = heads(WIDTH * len(backbone.layers))
    ids = prompts(60)
    for precision in PRECISIONS:
        converted = at_precision(graph, precision, prompts(100, seed=1), PAD)
        parity = check_parity(converted, backbone, weights, ids, precision)
        assert (parity.prompts, parity.tolerance) == (60, TOLERANCES[precision].most)
        # A conversion that converts nothing would be within the tolerance too.
        assert (parity.max_abs_diff > TOLERANCES["fp32"].most / 10) == (precision != "fp32")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_prompt_gets_the_same_bits_in_every_batch(
    backbone: TransformerBackbone, graph: onnx.ModelProto, precision: Precision
) -> None:
    converted = at_precision(graph, precision, prompts(50, seed=1), PAD)
    session = open_session(converted)
    batch = pad_ids(prompts(33), PAD, backbone.spec.max_tokens)
    together = session.run(list(OUTPUT_NAMES), {"input_ids": batch})
    for size in (1, 2, 3, 8):
        for start in range(0, 9, size):
            rows = slice(start, start + size)
            apart = session.run(list(OUTPUT_NAMES), {"input_ids": batch[rows]})
            for one, all_ in zip(apart, together, strict=True):
                np.testing.assert_array_equal(one, all_[rows])


def test_int8_multiplies_in_bytes_what_stays_exact_enough(
    backbone: TransformerBackbone, graph: onnx.ModelProto
) -> None:
    converted = at_precision(graph, "int8", prompts(50, seed=1), PAD)
    kinds = Counter(node.op_type for node in converted.graph.node)
    depth = backbone.model.config.num_hidden_layers
    per_layer = 6 if backbone.spec.kind == "encoder" else 7
    in_float = len(products(converted))
    assert kinds["MatMulIntegerToFloat"] + in_float == depth * per_layer
    assert kinds["MatMulIntegerToFloat"] > 2 * in_float
    # The vocabulary is stored in bytes too.
    assert not [
        node
        for node in converted.graph.node
        if node.op_type == "Gather"
        and node.input[1] == "input_ids"
        and matrices(converted).get(node.input[0]) == (60, WIDTH)
    ]


def test_biases_and_scales_of_byte_products_are_part_of_them(
    backbone: TransformerBackbone, graph: onnx.ModelProto
) -> None:
    converted = at_precision(graph, "int8", prompts(50, seed=1), PAD)
    constants = {tensor.name for tensor in converted.graph.initializer}
    of_products = {
        node.output[0] for node in converted.graph.node if node.op_type == "MatMulIntegerToFloat"
    }
    left = [
        node
        for node in converted.graph.node
        if node.op_type in {"Add", "Mul"}
        and of_products.intersection(node.input)
        and constants.intersection(node.input)
    ]
    assert left == []
    biased = [node for node in converted.graph.node if len(node.input) == 7 and node.input[6]]
    # An encoder has such additions; a decoder has none.
    assert bool(biased) == (backbone.spec.kind == "encoder")


def test_what_follows_from_the_architecture_is_computed_once(graph: onnx.ModelProto) -> None:
    folded = fold_constants(graph)
    kinds = Counter(node.op_type for node in folded.graph.node)
    assert not kinds["Constant"]
    assert len(folded.graph.node) < 0.8 * len(graph.graph.node)
    for rows, length in ((4, 9), (8, 3)):
        batch = pad_ids(prompts(rows), PAD)[:, :length]
        whole, less = (
            open_session(model).run(list(OUTPUT_NAMES), {"input_ids": batch})
            for model in (graph, folded)
        )
        for one, other in zip(whole, less, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


def test_a_shared_block_is_stored_once_in_int8() -> None:
    model = tiny_mobillama(WORDS)
    truncate(model, 4)
    reading = Reading("decoder", "tiny", "MIT", (4,), "mean", 0, False, MAX_TOKENS, PAD)  # noqa: FBT003
    backbone = TransformerBackbone(model, "{}", reading)
    converted = at_precision(build_graph(backbone, heads(WIDTH)), "int8", prompts(50, seed=1), PAD)
    stored = {
        onnx.numpy_helper.to_array(tensor).tobytes()
        for tensor in converted.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and tuple(tensor.dims) == (WIDTH, 2 * WIDTH)
    }
    read = [
        tensor.name
        for tensor in converted.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and tuple(tensor.dims) == (WIDTH, 2 * WIDTH)
    ]
    assert len(stored) == 2
    assert len(read) == 2


def test_fp16_halves_the_matrices_and_keeps_norms_and_heads(
    backbone: TransformerBackbone, graph: onnx.ModelProto
) -> None:
    converted = at_precision(graph, "fp16", [], PAD)
    kinds = {tensor.name: tensor.data_type for tensor in converted.graph.initializer}
    of_transformer = [node for node in products(converted) if node.name.startswith(PREFIX)]
    assert len(of_transformer) == len(products(graph))
    assert {kinds[node.input[1]] for node in of_transformer} == {onnx.TensorProto.FLOAT16}
    assert kinds["hidden_weight"] == onnx.TensorProto.FLOAT
    typed = onnx.shape_inference.infer_shapes(converted)
    types = {v.name: v.type.tensor_type.elem_type for v in typed.graph.value_info}
    summed = [
        node
        for node in converted.graph.node
        if node.op_type in {"LayerNormalization", "Softmax", "ReduceMean"}
    ]
    assert len(summed) > backbone.model.config.num_hidden_layers
    assert {types[node.output[0]] for node in summed} == {onnx.TensorProto.FLOAT}


def test_a_graph_of_other_weights_does_not_pass(
    backbone: TransformerBackbone, graph: onnx.ModelProto
) -> None:
    weights = heads(WIDTH * len(backbone.layers))
    for value, precision in ((np.float32(0.5), "fp32"), (np.float32("nan"), "int8")):
        spoilt = onnx.ModelProto()
        spoilt.CopyFrom(graph)
        bias = next(c for c in spoilt.graph.initializer if c.name == "hidden_bias")
        wrong = onnx.numpy_helper.to_array(bias) + value
        bias.CopyFrom(onnx.numpy_helper.from_array(wrong, "hidden_bias"))
        with pytest.raises(ParityError, match=f"ONNX at {precision} and torch differ"):
            check_parity(spoilt, backbone, weights, prompts(10), precision)


def test_torch_and_session_answer_in_the_order_of_the_prompts(
    backbone: TransformerBackbone, graph: onnx.ModelProto
) -> None:
    weights = heads(WIDTH * len(backbone.layers))
    ids = prompts(20)
    whole = run_torch(backbone, weights, ids)
    found = run_session(open_session(graph), ids, PAD)
    for i in (0, 7, 19):
        alone: NDArray[np.float32] = run_torch(backbone, weights, [ids[i]]).scores
        np.testing.assert_allclose(whole.scores[i], alone[0], atol=1e-5)
        np.testing.assert_allclose(found[0][i], alone[0], atol=1e-5)


def test_an_architecture_without_rules_is_refused(
    models: dict[str, Callable[[], PreTrainedModel]],
) -> None:
    model = models["encoder"]()
    model.config.model_type = "no-such-type"
    with pytest.raises(ExportError, match="no ONNX rules for no-such-type"):
        trace(model)
