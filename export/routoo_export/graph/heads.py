"""``Network`` as ONNX nodes, on top of any features.

The outputs of the trained models, and those of each added model, are computed by nodes of their
own, whose shapes do not depend on how many models were added, and are joined last. An added model
therefore changes no bit of the others. In a single product for all models, the order in which the
library multiplies would depend on their number.
"""

from typing import Final

import numpy as np

from routoo_export.graph.builder import GraphBuilder
from routoo_export.network.added_models import AddedWeights
from routoo_export.network.network import FloatArray, Outputs, Weights

OUTPUT_NAMES: Final = Outputs._fields


def add_heads(builder: GraphBuilder, features: str, weights: Weights) -> None:
    """Add the nodes from ``features`` float32 [n, f] to the outputs OUTPUT_NAMES."""
    added = bool(weights.added.models)
    suffix = "_of_trained" if added else ""
    members = len(weights.heads)
    _members(builder, features, weights)
    _ood(builder, features, weights)
    _doubt(builder, weights)
    _mean(builder, "logits_by_member", "logits", axis=0)
    anchor = builder.constant("anchor", weights.anchor)
    _shrunk(builder, "logits", anchor, "scores" + suffix)
    builder.node("Exp", ["log_tokens"], "output_tokens" + suffix)
    builder.node("Sigmoid", ["logits_by_member"], "scores_by_member")
    _spread(builder, "scores_by_member", members, weights.spread, "score_std" + suffix)
    if added:
        for name, columns in _added(builder, weights).items():
            builder.node("Concat", [f"{name}_of_trained", *columns], name, axis=1)


def _members(builder: GraphBuilder, features: str, weights: Weights) -> None:
    """Add calibrated logits_by_member [k, n, m], shares_by_member [k, n, t], log_tokens [n, m].

    Each member's heads are a product of their own: onnxruntime repacks a constant matrix for speed
    once, when it loads the graph, but a stack of matrices in each run.
    """
    node, constant = builder.node, builder.constant
    weight, bias = constant("hidden_weight", weights.hidden), weights.hidden_bias
    dense = node("Gemm", [features, weight, constant("hidden_bias", bias)], "hidden_linear")
    hidden = node("Relu", [dense], "hidden")
    members, units, _ = weights.heads.shape
    topics, models, _ = weights.split
    residual, tokens = slice(topics, topics + models), slice(topics + models, None)
    # The mean over the members is linear: one product gives it.
    mean_weight = weights.heads[:, :, tokens].reshape(members * units, models) / members
    mean_bias = weights.heads_bias[:, tokens].mean(axis=0)
    of_tokens = [constant("token_weight", mean_weight), constant("token_bias", mean_bias)]
    node("Gemm", [hidden, *of_tokens], "log_tokens")
    # Platt's slope and intercept are linear in both terms of the logit: fold them in.
    heads = weights.heads[:, :, : tokens.start].copy()
    heads[:, :, residual] *= weights.slope
    offset = weights.heads_bias[:, : tokens.start].copy()
    offset[:, residual] = offset[:, residual] * weights.slope + weights.intercept
    of_member = tuple(f"hidden_{k}" for k in range(members))
    builder.split(hidden, of_member, (units,) * members, name="members")
    products = []
    for k, name in enumerate(of_member):
        own_bias = constant(f"heads_bias_{k}", offset[k])
        own = constant(f"heads_weight_{k}", heads[k])
        products.append(node("Gemm", [name, own, own_bias], f"heads_{k}"))
    below = products[0] if members == 1 else node("Concat", products, "heads_below", axis=0)
    shape = constant("heads_shape", np.array([members, -1, tokens.start], dtype=np.int64))
    apart = node("Reshape", [below, shape], "heads")
    parts = ("topics_by_member", "residual_by_member")
    builder.split(apart, parts, (topics, models), axis=2)
    shares = node("Softmax", [parts[0]], "shares_by_member", axis=2)
    means = constant("topic_model_logits", weights.topic_logits * weights.slope)
    mixture = node("MatMul", [shares, means], "mixture_by_member")
    node("Add", [mixture, parts[1]], "logits_by_member")


def _ood(builder: GraphBuilder, features: str, weights: Weights) -> None:
    """Add the output ood [n], by way of ood_column [n, 1].

    The gains are part of the matrices that sum; the location of the energy is subtracted from the
    knots.
    """
    node, constant, ood = builder.node, builder.constant, weights.ood
    likely = node("Mul", ["shares_by_member", "topics_by_member"], "likely_topics")
    _, topics, _ = weights.topic_logits.shape
    gains = constant("minus_energy_gains", np.full((topics, 1), -ood.gain[0]))
    by_member = node("MatMul", [likely, gains], "energy_by_member")
    energy = _mean(builder, by_member, "energy", axis=0)
    whiten = [constant("ood_whiten", ood.whiten), constant("ood_whiten_bias", ood.whiten_bias)]
    whitened = node("Gemm", [features, *whiten], "ood_whitened")
    square = node("Mul", [whitened, whitened], "ood_square")
    gains = constant("ood_length_gains", np.full((ood.whiten.shape[1], 1), ood.gain[1]))
    centre = constant("ood_length_centre", -ood.location[1:] * ood.gain[1:] - np.float32(1.0))
    beyond = node("Relu", [node("Gemm", [square, gains, centre], "length_beyond_1")], "ood_beyond")
    distance = node("Add", [energy, beyond], "ood_distance")
    knots = constant("ood_knots", ood.knots[:-1] + ood.location[0] * ood.gain[0])
    passed = node("Sub", [distance, knots], "ood_past_knot")
    gaps = constant("ood_gaps", ood.knots[1:] - ood.knots[:-1])
    share = node("Div", [passed, gaps], "ood_share_of_gap")
    unit = constant("unit", np.array(1.0, dtype=np.float32))
    zero = constant("zero", np.array(0.0, dtype=np.float32))
    clipped = node("Clip", [share, zero, unit], "ood_clipped")
    total = node("MatMul", [clipped, constant("ood_steps", ood.steps[:, None])], "ood_total")
    column = node("Min", [total, unit], "ood_column")
    node("Squeeze", [column, constant("row_axis", np.array([1], dtype=np.int64))], "ood")


def _doubt(builder: GraphBuilder, weights: Weights) -> None:
    """Add doubt_plus_one [n, 1], the reciprocal of certainty: 1 where no score is shrunk."""
    node, constant = builder.node, builder.constant
    square = node("Mul", ["ood_column", "ood_column"], "ood_squared")
    fourth = node("Mul", [square, square], "ood_to_the_4th")
    eighth = node("Mul", [fourth, fourth], "ood_to_the_8th")
    doubt = node("Mul", [eighth, constant("shrink", weights.shrink)], "doubt")
    node("Add", [doubt, "unit"], "doubt_plus_one")


def _added(builder: GraphBuilder, weights: Weights) -> dict[str, list[str]]:
    """Columns [n, 1] of each added model, by the output that they belong to."""
    node = builder.node
    node("Concat", ["logits_by_member", "shares_by_member"], "added_inputs", axis=2)
    _, trained, _ = weights.split
    total = _row_sums(builder, "output_tokens_of_trained", trained, "tokens_of_all")
    count = builder.constant("trained_models", np.array(trained, dtype=np.float32))
    tokens = node("Div", [total, count], "mean_tokens")
    node("Log", [tokens], "log_mean_tokens")
    columns: dict[str, list[str]] = {"scores": [], "output_tokens": [], "score_std": []}
    for model in range(weights.added.models):
        _added_scores(builder, weights.added, model, len(weights.heads))
        _added_tokens(builder, weights.added, model)
        for output, names in columns.items():
            names.append(f"{output}_of_added_{model}")
    return columns


def _added_scores(builder: GraphBuilder, added: AddedWeights, model: int, members: int) -> None:
    prefix = f"added_{model}"

    def node(operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        return builder.node(operator, inputs, f"{prefix}_{output}", **attributes)

    def constant(name: str, array: FloatArray | np.float32) -> str:
        return builder.constant(f"{prefix}_{name}", np.asarray(array))

    column = constant("column", added.columns[model])
    product = node("MatMul", ["added_inputs", column], "product")
    biased = node("Add", [product, constant("bias", added.bias[model])], "biased")
    parts = (f"{prefix}_logits", f"{prefix}_directions")
    builder.split(biased, parts, (1, added.columns.shape[2] - 1), name=prefix, axis=2)
    mean = node("ReduceMean", [parts[0]], "logit", axes=[0], keepdims=0)
    anchor = constant("anchor", added.anchor[model])
    _shrunk(builder, mean, anchor, f"scores_of_added_{model}")

    by_member = node("Sigmoid", [parts[0]], "scores_by_member")
    spread = added.spread[model : model + 1]
    scaled = _spread(builder, by_member, members, spread, f"{prefix}_spread_std")
    variance_of_members = node("Mul", [scaled, scaled], "spread_variance")
    direction = node("ReduceMean", [parts[1]], "direction", axes=[0], keepdims=0)
    squares = node("Mul", [direction, direction], "direction_square")
    width = added.columns.shape[2] - 1
    variance = _row_sums(builder, squares, width, f"{prefix}_logit_variance")
    score = node("Sigmoid", [mean], "unshrunk")
    steepness = node("Mul", [score, node("Sub", ["unit", score], "rest")], "steepness")
    square = node("Mul", [steepness, steepness], "steepness_square")
    total = node(
        "Add", [variance_of_members, node("Mul", [variance, square], "column_variance")], "variance"
    )
    builder.node("Sqrt", [total], f"score_std_of_added_{model}")


def _added_tokens(builder: GraphBuilder, added: AddedWeights, model: int) -> None:
    power = builder.constant(f"added_{model}_token_power", added.token_power[model])
    factor = builder.constant(f"added_{model}_log_token_factor", added.log_token_factor[model])
    powered = builder.node("Mul", ["log_mean_tokens", power], f"added_{model}_powered")
    log_tokens = builder.node("Add", [powered, factor], f"added_{model}_log_tokens")
    builder.node("Exp", [log_tokens], f"output_tokens_of_added_{model}")


def _shrunk(builder: GraphBuilder, logits: str, anchor: str, output: str) -> None:
    """Add ``output``, sigmoid(anchor + certainty * (logits - anchor))."""
    away = builder.node("Sub", [logits, anchor], f"{output}_away")
    kept = builder.node("Div", [away, "doubt_plus_one"], f"{output}_kept")
    builder.node("Sigmoid", [builder.node("Add", [kept, anchor], f"{output}_logits")], output)


def _row_sums(builder: GraphBuilder, values: str, width: int, output: str) -> str:
    """Sum over the last axis, of length ``width``, which remains with size 1.

    This is a matrix product because ReduceSum adds in an order that depends on the address of a row
    in memory, and so on the batch.
    """
    ones = builder.constant(f"ones_{width}", np.ones((width, 1), dtype=np.float32))
    return builder.node("MatMul", [values, ones], output)


def _mean(builder: GraphBuilder, values: str, output: str, *, axis: int) -> str:
    return builder.node("ReduceMean", [values], output, axes=[axis], keepdims=0)


def _spread(
    builder: GraphBuilder, values: str, members: int, spread: FloatArray, output: str
) -> str:
    """The deviation of ``values`` [k, n, m] over the first axis, times ``spread`` [m]."""
    node = builder.node
    mean = node("ReduceMean", [values], f"{values}_mean", axes=[0], keepdims=1)
    away = node("Sub", [values, mean], f"{values}_away")
    length = node("ReduceL2", [away], f"{values}_length", axes=[0], keepdims=0)
    factor = builder.constant(f"{output}_factor", spread / np.sqrt(np.float32(members)))
    return node("Mul", [length, factor], output)
