"""A Triton server's metadata of its model, compared with the artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tritonclient.grpc import model_config_pb2, service_pb2

from routoo.errors import ArtifactError
from routoo.predictor.artifact import load_artifact
from routoo.predictor.triton_check import Offer, Statistics, read_offer, read_statistics
from support.artifacts.tiny_artifact import change_manifest, write_tiny_artifact

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from routoo.predictor.artifact import Manifest

    Metadata = service_pb2.ModelMetadataResponse


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    folder = write_tiny_artifact(tmp_path / "predictor", uncertain=True)
    change_manifest(folder, rows_step=4)
    return load_artifact(folder).manifest


def metadata(manifest: Manifest) -> Metadata:
    """Returns the metadata of a server that serves the artifact."""
    tensor = service_pb2.ModelMetadataResponse.TensorMetadata
    return service_pb2.ModelMetadataResponse(
        name="predictor",
        versions=["10", "9"],
        inputs=[tensor(name="input_ids", datatype="INT64", shape=[-1, -1])],
        outputs=[
            tensor(
                name=spec.name,
                datatype="FP32",
                shape=[-1, *spec.shape[1:]] if spec.shape[1:] else [-1, 1],
            )
            for spec in manifest.outputs
        ],
    )


def config(max_batch_size: int = 30) -> model_config_pb2.ModelConfig:
    return model_config_pb2.ModelConfig(max_batch_size=max_batch_size)


def test_what_fits_is_an_offer(manifest: Manifest) -> None:
    said = metadata(manifest)
    assert read_offer(said, config(), manifest, "it") == Offer((9, 10), 28, {"input_ids": "INT64"})
    said.inputs[0].datatype = "INT32"
    # The server may drop the dimension of size 1.
    (ood,) = [output for output in said.outputs if output.name == "ood"]
    ood.shape[:] = [-1]
    assert read_offer(said, config(64), manifest, "it") == Offer(
        (9, 10), 64, {"input_ids": "INT32"}
    )


def rename_input(said: Metadata) -> None:
    said.inputs[0].name = "tokens"


def float_input(said: Metadata) -> None:
    said.inputs[0].datatype = "FP32"


def flat_input(said: Metadata) -> None:
    said.inputs[0].shape[:] = [-1]


def no_ood(said: Metadata) -> None:
    del said.outputs[-1]


def more_columns(said: Metadata) -> None:
    said.outputs[0].shape[:] = [-1, 4]


def half_figures(said: Metadata) -> None:
    said.outputs[1].datatype = "FP16"


@pytest.mark.parametrize(
    ("change", "piece"),
    [
        (rename_input, "its inputs are ['tokens'], expected ['input_ids']"),
        (float_input, "input_ids is FP32 [-1, -1], expected INT64 [-1, -1]"),
        (flat_input, "input_ids is INT64 [-1], expected INT64 [-1, -1]"),
        (no_ood, "its outputs are ['output_tokens', 'score_std', 'scores'], expected ['ood', "),
        (more_columns, "scores is FP32 [-1, 4], expected FP32 [-1, 3]"),
        (half_figures, "output_tokens is FP16 [-1, 3], expected FP32 [-1, 3]"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(
    manifest: Manifest, change: Callable[[Metadata], None], piece: str
) -> None:
    said = metadata(manifest)
    change(said)
    with pytest.raises(ArtifactError) as caught:
        read_offer(said, config(), manifest, "model predictor on Triton")
    assert str(caught.value).startswith("model predictor on Triton is not the artifact's: ")
    assert piece in str(caught.value)


def test_a_batch_smaller_than_the_artifact_s_step_does_not_fit(manifest: Manifest) -> None:
    with pytest.raises(ArtifactError, match="its max_batch_size is 3, expected 4 or more"):
        read_offer(metadata(manifest), config(3), manifest, "it")


def test_statistics_are_those_of_the_version() -> None:
    duration = service_pb2.StatisticDuration
    done = service_pb2.InferStatistics(
        success=duration(count=4, ns=9_000_000),
        fail=duration(count=1, ns=1),
        queue=duration(count=4, ns=2_000_000),
        compute_infer=duration(count=4, ns=6_000_000),
    )
    stats = service_pb2.ModelStatistics(
        name="predictor", version="9", inference_count=64, execution_count=3, inference_stats=done
    )
    other = service_pb2.ModelStatistics(name="predictor", version="10")
    reply = service_pb2.ModelStatisticsResponse(model_stats=[other, stats])
    assert read_statistics(reply, 9, "it") == Statistics(9, 64, 3, 1, 0.5, 1.5)
    assert read_statistics(reply, 10, "it") == Statistics(10, 0, 0, 0, 0.0, 0.0)
    with pytest.raises(ArtifactError, match="it has no statistics of version 7"):
        read_statistics(reply, 7, "it")
