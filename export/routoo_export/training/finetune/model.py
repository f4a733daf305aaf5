"""The model of a fine-tuning: a transformer, its heads, and the loss of a batch."""

import copy
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from routoo_export.backbones.compute import Compute
from routoo_export.backbones.transformer import PooledTransformer, TransformerBackbone
from routoo_export.network.network import Member
from routoo_export.training.finetune.data import TuningBatch
from routoo_export.training.heads.train import TrainConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_LORA_SCALE: Final = 2
_LORA_DROPOUT: Final = 0.05


class TuningModel(nn.Module):
    """The pooled transformer with one head on its features and one on each exit layer.

    Trained are the parameters of the heads, and those of the transformer except the token table;
    with ``lora_rank`` > 0, of the transformer the low-rank changes alone.
    """

    def __init__(
        self,
        backbone: TransformerBackbone,
        topic_logits: NDArray[np.float32],
        heads: TrainConfig,
        *,
        exits: tuple[int, ...],
        dropout: float,
        lora_rank: int,
    ) -> None:
        super().__init__()
        model = copy.deepcopy(backbone.model)
        if lora_rank > 0:
            model = _with_lora(model, lora_rank)
        else:
            model.requires_grad_(requires_grad=True)
            model.get_input_embeddings().requires_grad_(requires_grad=False)
        self.transformer = PooledTransformer(model, backbone.reading)
        self.lora = lora_rank > 0
        self.config = heads
        width = backbone.model.config.hidden_size
        self.reads = (backbone.layers, *((layer,) for layer in exits))
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width * len(layers)),
                Member(
                    features=width * len(layers),
                    hidden=heads.hidden,
                    topic_logits=topic_logits,
                    dropout=dropout,
                    input_dropout=dropout,
                ),
            )
            for layers in self.reads
        )

    def loss(self, batch: TuningBatch, compute: Compute) -> Tensor:
        """The sum over the heads of their losses, which are those of ``train.member_loss``."""
        wanted = sorted({layer for layers in self.reads for layer in layers})
        with compute.precision():
            states = self.transformer.pooled(batch.input_ids, wanted)
        by_layer = dict(zip(wanted, states, strict=True))
        return torch.stack(
            [
                self._head_loss(head, torch.cat([by_layer[layer] for layer in layers], 1), batch)
                for head, layers in zip(self.heads, self.reads, strict=True)
            ]
        ).sum()

    def _head_loss(self, head: nn.Module, features: Tensor, batch: TuningBatch) -> Tensor:
        logits, topics, log_tokens = head(features)
        counted = batch.labels.present.sum(1).clamp(min=1.0)
        errors = functional.smooth_l1_loss(log_tokens, batch.log_tokens, reduction="none")
        token_loss = (errors * batch.has_tokens).sum() / batch.has_tokens.sum().clamp(min=1.0)
        deviation: Tensor = head[1].deviation.weight  # type: ignore[index]
        return (
            (batch.labels.losses(logits).sum(1) / counted).mean()
            + self.config.topic_weight * functional.cross_entropy(topics, batch.topics)
            + self.config.token_weight * token_loss
            + self.config.deviation_penalty * deviation.square().sum()
        )

    def trained(self) -> dict[str, nn.Parameter]:
        """The trained parameters by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def tuned(self) -> "PreTrainedModel":
        """The transformer alone, low-rank changes merged in, on the CPU, in evaluation mode."""
        model = self.transformer.model.to("cpu")
        if self.lora:
            model = model.merge_and_unload()
        return model.requires_grad_(requires_grad=False).eval()


def _with_lora(model: "PreTrainedModel", rank: int) -> "PreTrainedModel":
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - slow, and rarely needed

    settings = LoraConfig(
        r=rank,
        lora_alpha=_LORA_SCALE * rank,
        lora_dropout=_LORA_DROPOUT,
        target_modules="all-linear",
        bias="none",
    )
    return get_peft_model(model, settings)
