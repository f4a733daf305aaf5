"""Tiny transformers with random weights, saved in the format of Hugging Face models."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PretrainedConfig, PreTrainedModel

SPECIAL = ("[PAD]", "[UNK]", "<bos>")
PAD, UNKNOWN, BOS = range(3)
LAYERS = 4
WIDTH = 16


def tiny_tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    """Makes a tokenizer of word pieces: whole ``words``, and other text letter by letter."""
    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    pieces = [*letters, *(f"##{letter}" for letter in letters), *sorted(set(words) - set(letters))]
    vocabulary = {piece: i for i, piece in enumerate([*SPECIAL, *pieces])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=SPECIAL[UNKNOWN]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{SPECIAL[BOS]} $A", special_tokens=[(SPECIAL[BOS], BOS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=SPECIAL[PAD],
        unk_token=SPECIAL[UNKNOWN],
        bos_token=SPECIAL[BOS],
    )


def save_tiny_encoder(folder: Path, words: list[str]) -> Path:
    """Saves a BERT of 4 layers."""
    tokenizer = tiny_tokenizer(words)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        pad_token_id=PAD,
    )
    return _save(_random(BertModel, config), tokenizer, folder)


def save_tiny_decoder(folder: Path, words: list[str]) -> Path:
    """Saves a Llama of 4 layers."""
    return _save(_random(LlamaForCausalLM, _llama(words)), tiny_tokenizer(words), folder)


def tiny_mobillama(words: list[str]) -> PreTrainedModel:
    """Makes a Llama with one feed-forward block for all layers, as MobiLlama (arXiv 2402.16840)."""
    model = _random(LlamaForCausalLM, _llama(words)).model
    for layer in model.layers:
        layer.mlp = model.layers[0].mlp
    return model


def _llama(words: list[str]) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tiny_tokenizer(words)),
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=32,
        max_position_embeddings=64,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=BOS,
    )


def _random(kind: type[PreTrainedModel], config: PretrainedConfig) -> PreTrainedModel:
    """Makes a model with weights that are large enough for layers to differ."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = kind(config).eval()
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3 if "embed" in name else 0.15)
    return model


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
