"""Fine-tuning a transformer on outcomes: all its weights, or low-rank changes of them (LoRA).

A head like those of the ensemble reads the pooled features; further heads ("exit heads") read
single layers below. With this deep supervision, one run serves the whole model and its first layers
alike. The heads are discarded afterwards; the ensemble is fitted on the features of the tuned
model. LoRA: Hu et al., arXiv 2106.09685.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from routoo_export.backbones.fingerprint import fingerprint
from routoo_export.backbones.transformer import TransformerBackbone
from routoo_export.errors import ExportError
from routoo_export.outcomes.outcomes import Outcomes
from routoo_export.progress import Stages, silent
from routoo_export.training.finetune.config import FinetuneConfig
from routoo_export.training.finetune.data import TuningData
from routoo_export.training.finetune.model import TuningModel
from routoo_export.training.finetune.run import TuningRun
from routoo_export.training.heads.train import TrainConfig


@dataclass(frozen=True, slots=True)
class Resumption:
    """The saved state of an unfinished run.

    Attributes:
        file: File of the state.
        every_steps: Steps after which the state is written again.
        resume: Continue from the file where it exists.
    """

    file: Path
    every_steps: int = 200
    resume: bool = False


@dataclass(frozen=True, slots=True)
class TuningTask:
    """The outcomes that a transformer is fine-tuned on.

    Attributes:
        outcomes: Outcomes of n prompts and m models.
        heads: Settings of the heads, with the weights of the losses.
        weights: Weight of each outcome, [n, m]; None = 1.
    """

    outcomes: Outcomes
    heads: TrainConfig
    weights: NDArray[np.float64] | None = None


def finetune(
    backbone: TransformerBackbone,
    task: TuningTask,
    config: FinetuneConfig,
    *,
    resumption: Resumption | None = None,
    stages: Stages = silent,
) -> TransformerBackbone:
    """Fine-tune a copy of ``backbone`` on the device ``backbone.compute``.

    The same backbone, task, config and seed give the same weights on one machine with one thread
    count, interrupted and resumed or not.

    Raises:
        ExportError: an exit is above the layers in use, or the loss is no longer finite.
        CheckpointError: the state to resume from is of another run, or cannot be read.
    """
    depth = backbone.model.config.num_hidden_layers
    outside = [layer for layer in config.exits if not 0 < layer <= depth]
    if outside:
        raise ExportError(f"--exits {outside[0]} is outside the layers 1 to {depth} in use")
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(task.heads.seed)
        data = TuningData.of(
            backbone,
            task.outcomes,
            task.heads,
            max_tokens=min(config.max_tokens, backbone.spec.max_tokens),
            weights=task.weights,
        )
        model = TuningModel(
            backbone,
            data.topic_logits,
            task.heads,
            exits=config.exits,
            dropout=config.dropout,
            lora_rank=config.lora_rank,
        ).to(backbone.compute.device)
        run = TuningRun(model, data, config, backbone.compute)
        if resumption is None:
            every = run.steps
        else:
            every = resumption.every_steps
            key = fingerprint(backbone, config, backbone.compute, task.heads, _digest(task))
            if resumption.resume and resumption.file.exists():
                run.restore(resumption.file, key)
        with stages("fine-tuning", run.steps) as advance:
            advance(run.step)
            while run.step < run.steps:
                for _ in range(min(every, run.steps - run.step)):
                    run.advance()
                    advance(1, run.loss)
                if resumption is not None:
                    run.write(resumption.file, key)
        return replace(backbone, model=model.tuned())


def _digest(task: TuningTask) -> str:
    digest = hashlib.sha256("\0".join(task.outcomes.prompts).encode())
    for values in (task.outcomes.scores, task.outcomes.output_tokens, task.weights):
        digest.update(b"" if values is None else np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
