"""`Network` as ONNX nodes, on top of any features.

What comes of the trained models, and of each added one, is computed by nodes of its own, whose
shapes do not depend on how many models there are, and joined last: an added model changes no bit of
the others. In one product of all, the library would multiply in another order by their number.
"""

from typing import Final

import numpy as np

from routoo_export.added import AddedWeights
from routoo_export.graph_builder import GraphBuilder
from routoo_export.network import FloatArray, Outputs, Weights

OUTPUT_NAMES: Final = Outputs._fields


def add_heads(builder: GraphBuilder, features: str, weights: Weights) -> None:
    """From `features` float32 [n, f] to the outputs OUTPUT_NAMES."""
    added = bool(weights.added.models)
    suffix = "_of_trained" if added else ""
    _members(builder, features, weights)
    _ood(builder, features, weights)
    _certainty(builder, weights)
    _mean(builder, "logits_by_member", "logits", axis=0)
    anchor = builder.constant("anchor", weights.anchor)
    _shrunk(builder, "logits", anchor, "scores" + suffix)
    _mean(builder, "log_tokens_by_member", "log_tokens", axis=0)
    builder.node("Exp", ["log_tokens"], "output_tokens" + suffix)
    builder.node("Sigmoid", ["logits_by_member"], "scores_by_member")
    deviation = _deviation(builder, "scores_by_member")
    spread = builder.constant("spread", weights.spread)
    builder.node("Mul", [deviation, spread], "score_std" + suffix)
    if added:
        for name, columns in _added(builder, weights).items():
            builder.node("Concat", [f"{name}_of_trained", *columns], name, axis=1)


def _members(builder: GraphBuilder, features: str, weights: Weights) -> None:
    """Calibrated logits_by_member [k, n, m], shares_by_member [k, n, t], log_tokens_by_member."""
    node, constant = builder.node, builder.constant
    weight, bias = constant("hidden_weight", weights.hidden), weights.hidden_bias
    dense = node("Gemm", [features, weight, constant("hidden_bias", bias)], "hidden_linear")
    hidden = node("Relu", [dense], "hidden")
    members, units, _ = weights.heads.shape
    shape = constant("member_shape", np.array([0, members, units], dtype=np.int64))
    apart = node("Reshape", [hidden, shape], "hidden_apart")
    by_member = node("Transpose", [apart], "hidden_by_member", perm=[1, 0, 2])
    topics, models, _ = weights.split
    residual = slice(topics, topics + models)
    # Platt's slope and intercept are linear in both terms of the logit: fold them in.
    heads = weights.heads.copy()
    heads[:, :, residual] *= weights.slope
    offset = weights.heads_bias.copy()
    offset[:, residual] = offset[:, residual] * weights.slope + weights.intercept
    product = node("MatMul", [by_member, constant("heads_weight", heads)], "heads_product")
    biased = node("Add", [product, constant("heads_bias", offset[:, None])], "heads")
    parts = ("topics_by_member", "residual_by_member", "log_tokens_by_member")
    builder.split(biased, parts, weights.split, axis=2)
    shares = node("Softmax", [parts[0]], "shares_by_member", axis=2)
    means = constant("topic_model_logits", weights.topic_logits * weights.slope)
    mixture = node("MatMul", [shares, means], "mixture_by_member")
    node("Add", [mixture, parts[1]], "logits_by_member")


def _ood(builder: GraphBuilder, features: str, weights: Weights) -> None:
    """The output ood [n], by way of energy and squared length [n, 1]."""
    node, constant, ood = builder.node, builder.constant, weights.ood
    axis = constant("row_axis", np.array([1], dtype=np.int64))
    likely = node("Mul", ["shares_by_member", "topics_by_member"], "likely_topics")
    members, topics, _ = weights.topic_logits.shape
    expected = _row_sums(builder, likely, topics, "expected_topic_logit")
    flat = node("Squeeze", [expected, constant("energy_axis", np.array([2]))], "expected_flat")
    by_prompt = node("Transpose", [flat], "expected_by_prompt", perm=[1, 0])
    total = _row_sums(builder, by_prompt, members, "minus_energy_of_all")
    count = constant("members", np.array(members, dtype=np.float32))
    column = node("Div", [total, count], "minus_energy_column")
    minus_gain = constant("minus_energy_gain", -ood.gain[:1])
    energy = _standardised(builder, column, -ood.location[:1], minus_gain)
    whiten = [constant("ood_whiten", ood.whiten), constant("ood_whiten_bias", ood.whiten_bias)]
    whitened = node("Gemm", [features, *whiten], "ood_whitened")
    square = node("Mul", [whitened, whitened], "ood_square")
    length = _row_sums(builder, square, ood.whiten.shape[1], "ood_length")
    gain = constant("ood_length_gain", ood.gain[1:])
    far = _standardised(builder, length, ood.location[1:], gain)
    unit = constant("unit", np.array(1.0, dtype=np.float32))
    beyond = node("Relu", [node("Sub", [far, unit], "length_beyond_1")], "ood_beyond")
    distance = node("Add", [energy, beyond], "ood_distance")
    passed = node("Sub", [distance, constant("ood_knots", ood.knots[:-1])], "ood_past_knot")
    gaps = constant("ood_gaps", ood.knots[1:] - ood.knots[:-1])
    share = node("Div", [passed, gaps], "ood_share_of_gap")
    clipped = node(
        "Clip", [share, constant("zero", np.array(0.0, dtype=np.float32)), unit], "ood_clipped"
    )
    weighed = node("Mul", [clipped, constant("ood_steps", ood.steps)], "ood_weighed")
    total = _row_sums(builder, weighed, len(ood.steps), "ood_total")
    node("Min", [node("Squeeze", [total, axis], "ood_total_flat"), unit], "ood")


def _standardised(builder: GraphBuilder, values: str, location: FloatArray, gain: str) -> str:
    centre = builder.constant(f"{values}_location", location)
    return builder.node(
        "Mul",
        [builder.node("Sub", [values, centre], f"{values}_centred"), gain],
        f"{values}_scaled",
    )


def _certainty(builder: GraphBuilder, weights: Weights) -> None:
    """The column certainty [n, 1]: 1 where nothing shrinks."""
    node, constant = builder.node, builder.constant
    square = node("Mul", ["ood", "ood"], "ood_squared")
    fourth = node("Mul", [square, square], "ood_to_the_4th")
    eighth = node("Mul", [fourth, fourth], "ood_to_the_8th")
    doubt = node("Mul", [eighth, constant("shrink", weights.shrink)], "doubt")
    more = node("Add", [doubt, "unit"], "doubt_plus_one")
    flat = node("Reciprocal", [more], "certainty_flat")
    node("Unsqueeze", [flat, "row_axis"], "certainty")


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
        _added_scores(builder, weights.added, model)
        _added_tokens(builder, weights.added, model)
        for output, names in columns.items():
            names.append(f"{output}_of_added_{model}")
    return columns


def _added_scores(builder: GraphBuilder, added: AddedWeights, model: int) -> None:
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

    of_member = _deviation(builder, node("Sigmoid", [parts[0]], "scores_by_member"))
    scaled = node("Mul", [of_member, constant("spread", added.spread[model])], "spread_std")
    spread = node("Mul", [scaled, scaled], "spread_variance")
    direction = node("ReduceMean", [parts[1]], "direction", axes=[0], keepdims=0)
    squares = node("Mul", [direction, direction], "direction_square")
    width = added.columns.shape[2] - 1
    variance = _row_sums(builder, squares, width, f"{prefix}_logit_variance")
    score = node("Sigmoid", [mean], "unshrunk")
    steepness = node("Mul", [score, node("Sub", ["unit", score], "rest")], "steepness")
    square = node("Mul", [steepness, steepness], "steepness_square")
    total = node("Add", [spread, node("Mul", [variance, square], "column_variance")], "variance")
    builder.node("Sqrt", [total], f"score_std_of_added_{model}")


def _added_tokens(builder: GraphBuilder, added: AddedWeights, model: int) -> None:
    power = builder.constant(f"added_{model}_token_power", added.token_power[model])
    factor = builder.constant(f"added_{model}_log_token_factor", added.log_token_factor[model])
    powered = builder.node("Mul", ["log_mean_tokens", power], f"added_{model}_powered")
    log_tokens = builder.node("Add", [powered, factor], f"added_{model}_log_tokens")
    builder.node("Exp", [log_tokens], f"output_tokens_of_added_{model}")


def _shrunk(builder: GraphBuilder, logits: str, anchor: str, output: str) -> None:
    """sigmoid(anchor + certainty * (logits - anchor))."""
    away = builder.node("Sub", [logits, anchor], f"{output}_away")
    kept = builder.node("Mul", [away, "certainty"], f"{output}_kept")
    builder.node("Sigmoid", [builder.node("Add", [kept, anchor], f"{output}_logits")], output)


def _row_sums(builder: GraphBuilder, values: str, width: int, output: str) -> str:
    """Sums over the last axis, `width` long, which stays with size 1.

    As a matrix product: ReduceSum adds in an order that hangs on where a row begins in memory, and
    so on the batch.
    """
    ones = builder.constant(f"ones_{width}", np.ones((width, 1), dtype=np.float32))
    return builder.node("MatMul", [values, ones], output)


def _mean(builder: GraphBuilder, values: str, output: str, *, axis: int) -> str:
    return builder.node("ReduceMean", [values], output, axes=[axis], keepdims=0)


def _deviation(builder: GraphBuilder, values: str) -> str:
    """Over the first axis."""
    node = builder.node
    mean = node("ReduceMean", [values], f"{values}_mean", axes=[0], keepdims=1)
    away = node("Sub", [values, mean], f"{values}_away")
    square = node("Mul", [away, away], f"{values}_square")
    return node("Sqrt", [_mean(builder, square, f"{values}_variance", axis=0)], f"{values}_std")
