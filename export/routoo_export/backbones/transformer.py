"""Encoder and decoder backbones: hidden states of a Hugging Face model, pooled over the prompt."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from routoo_export.backbones.base import BackboneSpec, Kind
from routoo_export.backbones.batches import batched_features, token_batches
from routoo_export.backbones.compute import Compute
from routoo_export.backbones.config import Pooling, StateScale
from routoo_export.backbones.tokens import encode_prompts, parse_tokenizer
from routoo_export.backbones.truncate import drop_final_norm, without_final_norm
from routoo_export.backbones.weights_file import load_weights, save_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SETTINGS_FILE: Final = "backbone.json"
CONFIG_FILE: Final = "config.json"
WEIGHTS_FILE: Final = "model.safetensors"
TOKENIZER_FILE: Final = "tokenizer.json"
BATCH_TOKENS: Final = 8192
"""Tokens per forward pass, padding included."""
RMS_EPSILON: Final = 1.0e-6
"""Added to a mean square, so that a state of zeros stays zero."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Settings of reading prompts and pooling states.

    Attributes:
        kind: Kind of backbone.
        name: Name of the weights that the backbone started from.
        licence: Licence of these weights, SPDX.
        layers: Hidden states that are pooled, as in ``BackboneConfig``.
        pooling: The mean over tokens, or the last token.
        unpooled: Tokens at the beginning that are read but not pooled.
        add_special_tokens: Add special tokens as the model's own tokenizer does.
        max_tokens: Longer prompts are cut from their middle.
        pad_token_id: The token that pads prompts; no prompt contains it.
        state_scale: Divisor of the state of each token, as in ``BackboneConfig``.
    """

    kind: Kind
    name: str
    licence: str
    layers: tuple[int, ...]
    pooling: Pooling
    unpooled: int
    add_special_tokens: bool
    max_tokens: int
    pad_token_id: int
    state_scale: StateScale = "none"


class PooledTransformer(nn.Module):
    """Maps input_ids int64 [n, length], padded right, to pooled states float32 [n, layers x width].

    All positions except padding are pooled. The first position is always pooled, so that a prompt
    without tokens, which consists of padding alone, has features too.
    """

    def __init__(self, model: "PreTrainedModel", reading: Reading) -> None:
        super().__init__()
        self.model = model
        self.reading = reading

    def forward(self, input_ids: Tensor) -> Tensor:
        return torch.cat(self.pooled(input_ids, self.reading.layers), dim=1)

    def pooled(self, input_ids: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """The pooled hidden states of each of ``layers``, float32 [n, width]."""
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        present = (input_ids != self.reading.pad_token_id) | (positions == 0)
        states = self.model(
            input_ids=input_ids, attention_mask=present.long(), output_hidden_states=True
        ).hidden_states
        if self.reading.pooling == "last":
            last = (present * positions).argmax(dim=1)
            rows = torch.arange(len(input_ids), device=input_ids.device)
            return [self._scaled(states[layer][rows, last]) for layer in layers]
        start = self.reading.unpooled
        share = present[:, start:].float()
        share = (share / share.sum(1, keepdim=True).clamp(min=1.0)).unsqueeze(1)
        with torch.autocast(input_ids.device.type, enabled=False):
            return [(share @ self._scaled(states[layer][:, start:])).squeeze(1) for layer in layers]

    def _scaled(self, states: Tensor) -> Tensor:
        """The states [..., width] as float32, divided as ``state_scale`` says."""
        states = states.float()
        if self.reading.state_scale == "none":
            return states
        return states / (states.square().mean(-1, keepdim=True) + RMS_EPSILON).sqrt()


@dataclass(frozen=True, slots=True, eq=False)
class TransformerBackbone:
    """A transformer without the layers above its highest pooled one.

    Attributes:
        model: The model in float32, on the CPU, in evaluation mode.
        tokenizer_json: The tokenizer in the format of ``tokenizers``.
        reading: Settings of reading and pooling.
        compute: Device and precision of ``features``; it is not saved.
    """

    model: "PreTrainedModel"
    tokenizer_json: str
    reading: Reading
    compute: Compute = field(default_factory=Compute)

    @property
    def layers(self) -> tuple[int, ...]:
        """Hidden states that are pooled, in the order of the features; 0 = the embeddings."""
        return self.reading.layers

    @property
    def spec(self) -> BackboneSpec:
        reading = self.reading
        return BackboneSpec(
            kind=reading.kind,
            name=reading.name,
            licence=reading.licence,
            max_tokens=reading.max_tokens,
            pad_token_id=reading.pad_token_id,
            add_special_tokens=reading.add_special_tokens,
            groups=(self.model.config.hidden_size,) * len(reading.layers),
        )

    def module(self) -> PooledTransformer:
        return PooledTransformer(self.model, self.reading).eval()

    def encode(self, prompts: Sequence[str]) -> list[list[int]]:
        return encode_prompts(
            parse_tokenizer(self.tokenizer_json),
            prompts,
            max_tokens=self.reading.max_tokens,
            pad_token_id=self.reading.pad_token_id,
            add_special_tokens=self.reading.add_special_tokens,
        )

    def features(
        self, ids: Sequence[Sequence[int]], progress: Callable[[int], None] | None = None
    ) -> Tensor:
        return batched_features(
            self.module(),
            self.spec,
            ids,
            batches=token_batches(ids, BATCH_TOKENS),
            compute=self.compute,
            progress=progress,
        )

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.model.config.save_pretrained(folder)
        save_weights(self.model, folder / WEIGHTS_FILE)
        (folder / TOKENIZER_FILE).write_text(self.tokenizer_json, encoding="utf-8")
        settings = {**asdict(self.reading), "final_norm": not without_final_norm(self.model)}
        text = json.dumps(settings, indent=2) + "\n"
        (folder / SETTINGS_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "TransformerBackbone":
        """Read a backbone that ``save`` wrote.

        Raises:
            OSError: a file cannot be read.
            KeyError: a setting is missing.
            TypeError: a setting is not known.
            ValueError: a file is broken or of another model.
        """
        from transformers import AutoConfig, AutoModel  # noqa: PLC0415 - slow, and rarely needed

        settings = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
        final_norm = settings.pop("final_norm")
        settings["layers"] = tuple(settings["layers"])
        model = AutoModel.from_config(AutoConfig.from_pretrained(folder, local_files_only=True))
        drop_pooler(model)
        if not final_norm:
            drop_final_norm(model)
        load_weights(model, folder / WEIGHTS_FILE)
        tokenizer_json = (folder / TOKENIZER_FILE).read_text(encoding="utf-8")
        return cls(model.eval(), tokenizer_json, Reading(**settings))


def drop_pooler(model: "PreTrainedModel") -> None:
    """Remove BERT's dense layer over the first token, which is not used."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
