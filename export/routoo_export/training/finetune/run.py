"""A run of fine-tuning, step by step, whose state can be saved after any step and resumed."""

import math
import pickle
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from routoo_export.backbones.compute import Compute
from routoo_export.errors import CheckpointError, ExportError
from routoo_export.training.finetune.config import FinetuneConfig
from routoo_export.training.finetune.data import Order, TuningData, batches_per_epoch
from routoo_export.training.finetune.model import TuningModel

_LOSS_DECAY: Final = 0.98
_WARM_UP: Final = 0.1


def one_cycle(step: int, steps: int) -> float:
    """Share of the peak learning rate in ``step`` of ``steps``.

    A linear warm-up, then half a cosine down to 0.
    """
    warm = max(1, round(_WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


class TuningRun:
    """A run of AdamW with a one-cycle learning rate.

    Attributes:
        step: Steps done.
        steps: Steps of the whole run.
        loss: Running mean of the loss.
    """

    def __init__(
        self, model: TuningModel, data: TuningData, config: FinetuneConfig, compute: Compute
    ) -> None:
        self.step = 0
        self.loss = 0.0
        self._per_epoch = batches_per_epoch(len(data.topics.labels), config.batch_size)
        self.steps = config.epochs * self._per_epoch
        self._model, self._data, self._config, self._compute = model, data, config, compute
        heads = {id(parameter) for parameter in model.heads.parameters()}
        trained = list(model.trained().values())
        self._optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in trained if id(p) not in heads], "lr": config.learning_rate},
                {"params": [p for p in trained if id(p) in heads], "lr": config.head_learning_rate},
            ],
            weight_decay=config.weight_decay,
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: one_cycle(step, self.steps)
        )
        self._order: Order = []

    def advance(self) -> None:
        """Run one step.

        Raises:
            ExportError: the loss is not finite.
        """
        epoch, position = divmod(self.step, self._per_epoch)
        if position == 0 or not self._order:
            self._order = self._data.order(epoch, self._config.batch_size)
        self._model.train()
        batch = self._data.batch(*self._order[position], self._compute.device)
        loss = self._model.loss(batch, self._compute)
        value = float(loss.detach())
        if not np.isfinite(value):
            raise ExportError(f"the loss is {value} at step {self.step}; lower --learning-rate")
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self._model.trained().values(), self._config.clip_norm)
        self._optimizer.step()
        self._schedule.step()
        decay = _LOSS_DECAY if self.step else 0.0
        self.loss = decay * self.loss + (1.0 - decay) * value
        self.step += 1

    def write(self, path: Path, key: str) -> None:
        """Write the state to ``path`` atomically; ``key`` identifies this run."""
        state = {
            "key": key,
            "step": self.step,
            "loss": self.loss,
            "trained": {name: p.detach().cpu() for name, p in self._model.trained().items()},
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state_all(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".partial")
        try:
            torch.save(state, beside)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)

    def restore(self, path: Path, key: str) -> None:
        """Continue from a state that ``write`` wrote under the same ``key``.

        Raises:
            CheckpointError: the file is broken, or of another run.
        """
        remedy = "delete it, or leave --resume away"
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise CheckpointError(f"{path}: not a state of training ({error}); {remedy}") from error
        if state.get("key") != key:
            raise CheckpointError(
                f"{path} is of a run on other outcomes, settings or weights; {remedy}"
            )
        with torch.no_grad():
            for name, parameter in self._model.trained().items():
                parameter.copy_(state["trained"][name])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["random"])
        if state["cuda_random"]:
            torch.cuda.set_rng_state_all(state["cuda_random"])
        self.step, self.loss = state["step"], state["loss"]
