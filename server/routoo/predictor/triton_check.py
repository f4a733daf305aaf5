"""Checks that a Triton server serves an artifact, by its metadata, configuration and statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from routoo.errors import ArtifactError
from routoo.predictor.artifact import INPUT

if TYPE_CHECKING:
    from routoo.predictor.artifact import Manifest

MOST_ROWS = 1024
"""Most prompts in one request to a graph that Triton does not batch."""
_DTYPES = {"int64": "INT64", "int32": "INT32", "float32": "FP32"}


@dataclass(frozen=True, slots=True)
class Offer:
    """The model that a server serves, as its metadata says.

    Attributes:
        versions: numbers of the versions that are ready, rising.
        max_rows: most prompts in one request.
        input_dtypes: Triton's name of the type of each input.
    """

    versions: tuple[int, ...]
    max_rows: int
    input_dtypes: dict[str, str]


def read_offer(metadata: Any, config: Any, manifest: Manifest, where: str) -> Offer:
    """Compares a model's metadata and configuration with an artifact's manifest.

    Args:
        metadata: reply of ModelMetadata.
        config: the field ``config`` of the reply of ModelConfig.
        manifest: the artifact's manifest.
        where: server and model, for the message.

    Raises:
        ArtifactError: names, shapes or types differ; one line.
    """
    inputs = {tensor.name: tensor for tensor in metadata.inputs}
    wanted = {spec.name: spec for spec in manifest.inputs}
    if set(inputs) != set(wanted):
        raise _differs(where, f"its inputs are {sorted(inputs)}", sorted(wanted))
    for name, spec in wanted.items():
        dtype, shape = inputs[name].datatype, list(inputs[name].shape)
        allowed = {"INT64", "INT32"} if name == INPUT else {_DTYPES[spec.dtype]}
        if dtype not in allowed or len(shape) != len(spec.shape):
            raise _differs(
                where,
                f"{name} is {dtype} {shape}",
                f"{_DTYPES[spec.dtype]} {list(spec.shape)}",
            )
    outputs = {tensor.name: tensor for tensor in metadata.outputs}
    if set(outputs) != manifest.output_names:
        raise _differs(where, f"its outputs are {sorted(outputs)}", sorted(manifest.output_names))
    for spec in manifest.outputs:
        found = outputs[spec.name]
        columns = spec.shape[1] if len(spec.shape) > 1 else 1
        # An output with one figure per prompt is [-1, 1], or [-1] where Triton drops the last axis.
        if found.datatype != _DTYPES[spec.dtype] or list(found.shape) not in (
            [-1, columns],
            [-1][: 2 - columns],
        ):
            raise _differs(
                where,
                f"{spec.name} is {found.datatype} {list(found.shape)}",
                f"{_DTYPES[spec.dtype]} [-1, {columns}]",
            )
    versions = tuple(sorted(int(version) for version in metadata.versions))
    dtypes = {name: tensor.datatype for name, tensor in inputs.items()}
    if manifest.format_version != 1:
        # Triton's batches would have to have the models' rows once a prompt.
        if config.max_batch_size:
            raise _differs(where, f"its max_batch_size is {config.max_batch_size}", "0")
        return Offer(versions, MOST_ROWS, dtypes)
    if config.max_batch_size < manifest.rows_step:
        raise _differs(
            where, f"its max_batch_size is {config.max_batch_size}", f"{manifest.rows_step} or more"
        )
    most = config.max_batch_size - config.max_batch_size % manifest.rows_step
    return Offer(versions, most, dtypes)


@dataclass(frozen=True, slots=True)
class Statistics:
    """Statistics of a version since the server loaded it.

    Attributes:
        version: number of the version.
        inferences: prompts answered.
        executions: runs of the graph; fewer than requests where the server batches.
        failures: requests that failed.
        queued_ms: mean wait of a request in the server, in milliseconds.
        computing_ms: mean time of a request in the graph, in milliseconds.
    """

    version: int
    inferences: int
    executions: int
    failures: int
    queued_ms: float
    computing_ms: float


def read_statistics(reply: Any, version: int, where: str) -> Statistics:
    """Reads the statistics of a version.

    Args:
        reply: reply of ModelStatistics.
        version: number of the version.
        where: server and model, for the message.

    Raises:
        ArtifactError: the reply has no such version.
    """
    for one in reply.model_stats:
        if one.version != str(version):
            continue
        done = one.inference_stats
        requests = max(1, done.success.count)
        return Statistics(
            version=version,
            inferences=one.inference_count,
            executions=one.execution_count,
            failures=done.fail.count,
            queued_ms=done.queue.ns * 1e-6 / requests,
            computing_ms=done.compute_infer.ns * 1e-6 / requests,
        )
    raise ArtifactError(
        f"{where} has no statistics of version {version}; load that there, or set"
        " predictor.triton.version"
    )


def _differs(where: str, found: str, expected: object) -> ArtifactError:
    return ArtifactError(
        f"{where} is not the artifact's: {found}, expected {expected}; serve the artifact's own"
        " repository there, or set predictor.artifact to what is served"
    )
