"""Heads with random weights, and their graph on features alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from onnx import TensorProto, helper

from routoo_export.graph.builder import GraphBuilder
from routoo_export.graph.heads import OUTPUT_NAMES, add_heads
from routoo_export.network.added_models import AddedWeights
from routoo_export.network.network import ADDED_DIRECTIONS, Member, Network, Weights, merge_members
from routoo_export.network.network import Standardisation as Standard
from routoo_export.network.ood import fit_ood

if TYPE_CHECKING:
    import onnx

FEATURES = 12
GROUPS = (8, 1, 1, 1, 1)


def random_features(seed: int, rows: int) -> torch.Tensor:
    """Returns features, float32 [rows, FEATURES]."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(rows, FEATURES)).astype(np.float32))


def random_heads(
    seed: int, *, members: int = 3, models: int = 4, topics: int = 5, added: int = 0
) -> Weights:
    """Makes weights in which every part matters: slopes, intercepts, spread, ood, added models."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return rng.normal(size=shape).astype(np.float32)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trained = [
            Member(
                features=FEATURES,
                hidden=16,
                topic_logits=normal(topics, models),
                dropout=0.0,
                input_dropout=0.0,
            ).eval()
            for _ in range(members)
        ]
        for member in trained:
            torch.nn.init.normal_(member.deviation.weight, std=0.5)
    standard = Standard(
        np.zeros(FEATURES, dtype=np.float32),
        np.ones(FEATURES, dtype=np.float32),
        np.full(models, 4.0, dtype=np.float32),
        np.ones(models, dtype=np.float32),
    )
    weights = merge_members(trained, standard)
    known, in_domain = random_features(seed + 1, 200), random_features(seed + 2, 100)
    with torch.inference_mode():
        energy = Network(weights).members(in_domain).energy
    weights = replace(
        weights,
        slope=1.0 + 0.2 * normal(models),
        intercept=0.2 * normal(models),
        spread=1.0 + np.abs(normal(models)),
        anchor=normal(models),
        shrink=np.array([0.7], dtype=np.float32),
        ood=fit_ood(known, in_domain, energy, GROUPS),
    )
    for _ in range(added):
        weights = replace(weights, added=weights.added.with_one(random_newcomer(rng, weights)))
    return weights


def random_newcomer(rng: np.random.Generator, weights: Weights) -> AddedWeights:
    """Makes the weights of one more model for ``weights``."""
    topics, models, _ = weights.split
    return AddedWeights(
        columns=0.3 * rng.normal(size=(1, models + topics, 1 + ADDED_DIRECTIONS)).astype("f4"),
        bias=0.3 * rng.normal(size=(1, 1 + ADDED_DIRECTIONS)).astype("f4"),
        spread=np.array([1.5], dtype=np.float32),
        anchor=rng.normal(size=1).astype("f4"),
        token_power=np.array([0.9], dtype=np.float32),
        log_token_factor=np.array([0.2], dtype=np.float32),
    )


def heads_graph(weights: Weights) -> onnx.ModelProto:
    """Makes the graph of the heads alone: features [n, FEATURES] in, all outputs out."""
    builder = GraphBuilder()
    add_heads(builder, "features", weights)
    return builder.model(
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", FEATURES])],
        [
            helper.make_tensor_value_info(
                name, TensorProto.FLOAT, ["n"] if name == "ood" else ["n", weights.models]
            )
            for name in OUTPUT_NAMES
        ],
    )
