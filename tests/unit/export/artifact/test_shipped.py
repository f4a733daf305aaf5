"""The figures in the shipped manifest are those of the shipped graph."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tokenizers import Tokenizer

from routoo_export.backbones.tokens import encode_prompts
from routoo_export.evaluation.pool import Expected
from routoo_export.evaluation.pool_split import judge_pool
from routoo_export.evaluation.protocol import standard_protocol
from routoo_export.graph.parity import open_session, run_session
from routoo_export.outcomes.sources import PROTOCOL, read_prices, read_training_outcomes
from routoo_export.outcomes.splits import TEST_BUCKETS, VALIDATION_BUCKETS, in_buckets

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.data
def test_manifest_metrics_are_those_of_the_artifact(shipped: Path, outcome_data_dir: Path) -> None:
    manifest = json.loads((shipped / "manifest.json").read_text())
    outcomes = read_training_outcomes(outcome_data_dir)
    assert list(outcomes.models) == manifest["models"]
    claimed = [source["sha256"] for source in manifest["training"]["sources"]]
    assert [source.sha256 for source in outcomes.sources] == claimed
    of_pool = np.array([name == PROTOCOL.pool_source for name in outcomes.source_names])
    judged = (*VALIDATION_BUCKETS, *TEST_BUCKETS)
    wanted = np.flatnonzero(of_pool & in_buckets(outcomes.buckets, judged))
    pad = manifest["pad_token_id"]
    ids = encode_prompts(
        Tokenizer.from_file(str(shipped / "tokenizer.json")),
        [outcomes.prompts[i] for i in wanted],
        max_tokens=manifest["max_tokens"],
        pad_token_id=pad,
    )
    scores = np.full(outcomes.scores.shape, np.nan)
    tokens = np.full(outcomes.scores.shape, np.nan)
    session = open_session((shipped / "model.onnx").read_bytes())
    scores[wanted], tokens[wanted], *_ = run_session(session, ids, pad)
    protocol = standard_protocol(PROTOCOL, outcomes, read_prices(outcome_data_dir, outcomes.models))
    seed = manifest["training"]["seed"]
    found = judge_pool(protocol.pool, Expected(scores, tokens), None, seed).figures
    claim = manifest["metrics"]["pool_test_split"]
    for name in ("mean_auc", "mean_log_loss", "mean_ece"):
        assert found[name]["value"] == pytest.approx(claim[name]["value"], abs=2e-4)
    for name in ("cost_share", "half_cost_points"):
        got, want = found["decision"][name], claim["decision"][name]
        # A score that rounds differently changes single decisions.
        assert got["value"] == pytest.approx(want["value"], abs=0.2 * want["se"])
        oracle = (figures["baselines"]["oracle"][name]["value"] for figures in (found, claim))
        assert next(oracle) == pytest.approx(next(oracle), rel=1e-4)
