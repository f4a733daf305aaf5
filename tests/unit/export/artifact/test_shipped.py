"""The figures in the shipped manifest are those of the shipped graph."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import pytest

from routoo.predictor.artifact import load_artifact, shipped_artifact
from routoo.predictor.onnx import OnnxPredictor
from routoo_export.artifact.recogniser_artifact import USER_PROMPTS
from routoo_export.recogniser.evaluate import Recognition
from routoo_export.recogniser.examples import read_user_prompts

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.data
def test_manifest_metrics_are_those_of_the_artifact(outcome_data_dir: Path) -> None:
    artifact = load_artifact(shipped_artifact())
    claim = artifact.manifest.metrics
    assert claim["catalogue"]["models"] == len(artifact.models)
    prompts = read_user_prompts(outcome_data_dir / USER_PROMPTS)
    served = OnnxPredictor(artifact).predict([one.text for one in prompts])
    assert served.tasks is not None
    found = Recognition.of(served.tasks, np.array([one.kind for one in prompts]))
    for name, value in asdict(found).items():
        # The served table is in int8, which takes single prompts to another kind, and confidences
        # from one of the ten bins of the calibration error to the next.
        apart = 0.03 if name == "calibration_error" else 0.01
        assert value == pytest.approx(claim["user_prompts"][name], abs=apart)
