"""``routoo-export repository``: the settings with which a Triton server runs the predictor."""

from typing import Annotated

import typer

from routoo_export.artifact.triton_repository import (
    Accelerator,
    Backend,
    DynamicBatching,
    TritonConfig,
    newest_version,
    read_signature,
    write_config,
)
from routoo_export.cli.common import DEFAULT_REPOSITORY, AsJson, Repository, print_result
from routoo_export.errors import ExportError

DEFAULTS = TritonConfig()

UsedBackend = Annotated[
    Backend, typer.Option(help="Triton backend; python where a server has no other.")
]
UsedAccelerator = Annotated[Accelerator, typer.Option(help="onnxruntime's GPU provider.")]
MaxBatch = Annotated[int, typer.Option(min=1, help="Prompts per call.")]
Batching = Annotated[
    bool, typer.Option(help="Let Triton gather calls; the service does that itself.")
]
Preferred = Annotated[
    list[int] | None, typer.Option(help="Batch size to wait for; repeat for more.")
]
QueueDelay = Annotated[int, typer.Option(min=0, help="Longest wait for a fuller batch, us.")]
Instances = Annotated[int, typer.Option(min=1, help="Copies of the model on each device.")]
Gpus = Annotated[list[int] | None, typer.Option("--gpu", help="Device number; default: all.")]
InstanceThreads = Annotated[int, typer.Option(min=1, help="CPU threads of each instance.")]
Versions = Annotated[int, typer.Option(min=1, help="How many of the newest versions to serve.")]
WarmUp = Annotated[
    bool | None,
    typer.Option(help="Run every length before serving. Default: with an accelerator."),
]
TensorRtHalf = Annotated[bool, typer.Option(help="TensorRT computes an fp32 graph in fp16.")]


def repository_config(  # noqa: PLR0913 - the options of one command
    repository: Repository = DEFAULT_REPOSITORY,
    *,
    backend: UsedBackend = DEFAULTS.backend,
    accelerator: UsedAccelerator = DEFAULTS.accelerator,
    max_batch_size: MaxBatch = DEFAULTS.max_batch_size,
    dynamic_batching: Batching = False,
    preferred_batch_size: Preferred = None,
    queue_delay_us: QueueDelay = 0,
    instances: Instances = DEFAULTS.instances,
    gpu: Gpus = None,
    threads_per_instance: InstanceThreads = DEFAULTS.threads_per_instance,
    versions_kept: Versions = DEFAULTS.versions_kept,
    warm_up: WarmUp = None,
    tensorrt_fp16: TensorRtHalf = False,
    as_json: AsJson = False,
) -> None:
    """Write config.pbtxt for the newest version; with --backend python its model.py too."""
    if (preferred_batch_size or queue_delay_us) and not dynamic_batching:
        raise ExportError("batch sizes and a queue delay need --dynamic-batching")
    config = TritonConfig(
        backend=backend,
        accelerator=accelerator,
        max_batch_size=max_batch_size,
        batching=DynamicBatching(tuple(preferred_batch_size or ()), queue_delay_us)
        if dynamic_batching
        else None,
        instances=instances,
        gpus=tuple(gpu or ()),
        threads_per_instance=threads_per_instance,
        versions_kept=versions_kept,
        warm_up=accelerator != "none" if warm_up is None else warm_up,
        tensorrt_fp16=tensorrt_fp16,
    )
    path = write_config(repository, config)
    signature = read_signature(newest_version(repository))
    print_result(
        {"config": str(path), "backend": backend, "models": signature.outputs["scores"]},
        as_json=as_json,
    )
