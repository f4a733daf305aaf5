"""Pretrained Hugging Face models as backbones: packaged, in a folder, a GGUF file, or by name."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from safetensors import SafetensorError

from routoo_export.backbones.config import BackboneConfig
from routoo_export.backbones.packages import MINILM_NAME, minilm_folder, smollm2_file
from routoo_export.backbones.tokens import bare_tokenizer
from routoo_export.backbones.transformer import (
    CONFIG_FILE,
    SETTINGS_FILE,
    Reading,
    TransformerBackbone,
    drop_pooler,
)
from routoo_export.backbones.truncate import truncate
from routoo_export.errors import CheckpointError, ExportError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

_GGUF: Final = ".gguf"
_BROKEN: Final = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    RuntimeError,
    ImportError,
    SafetensorError,
)
"""Errors that transformers raises for a file that is no model; they have no common base."""
_HUB_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_OFFSET_POSITIONS: Final = ("roberta", "xlm-roberta", "camembert")
"""Models that number positions from the padding token's id on."""


def load_pretrained(config: BackboneConfig) -> TransformerBackbone:
    """Load the encoder or decoder of ``config`` without the layers above its highest pooled one.

    A folder that ``TransformerBackbone.save`` wrote is read too, and may be truncated again.

    Raises:
        ExportError: there is no such model, it has no fast tokenizer, or the layers or the length
            asked for are not in it.
    """
    origin = _origin(config)
    if isinstance(origin, Path) and (origin / SETTINGS_FILE).exists():
        trained = _load_saved(origin)
        model, tokenizer_json, read = trained.model, trained.tokenizer_json, trained.reading
        pad, name, licence = read.pad_token_id, read.name, read.licence
    else:
        model, tokenizer = _load(origin)
        pad = _pad_token(tokenizer)
        tokenizer_json = _tokenizer_json(tokenizer, pad)
        name, licence = _name(config, origin), config.licence
    drop_pooler(model)
    layers = config.layers or (model.config.num_hidden_layers // 2,)
    # A model without any layer reports no states, not even its embeddings.
    truncate(model, max(1, *layers))
    _check_length(model, config.max_tokens)
    model.config.use_cache = False
    reading = Reading(
        kind=config.kind,
        name=name,
        licence=licence,
        layers=layers,
        pooling=config.pooling,
        state_scale=config.state_scale,
        unpooled=config.unpooled,
        add_special_tokens=config.add_special_tokens,
        max_tokens=config.max_tokens,
        pad_token_id=pad,
    )
    return TransformerBackbone(model.float().eval(), tokenizer_json, reading)


def _origin(config: BackboneConfig) -> Path | str:
    """The origin of the model: a path that exists, or a name on the hub."""
    if config.model is None:
        return minilm_folder() if config.kind == "encoder" else smollm2_file()
    path = Path(config.model).expanduser()
    if path.is_dir():
        if not (path / CONFIG_FILE).exists():
            raise ExportError(f"{path} has no {CONFIG_FILE}; give a saved Hugging Face model")
        return path
    if path.is_file():
        if path.suffix != _GGUF:
            raise ExportError(f"{path} is no backbone; give a model's folder or a {_GGUF} file")
        return path
    if not _HUB_NAME.fullmatch(config.model):
        raise ExportError(f"{path} does not exist; give a model's folder, a {_GGUF} file or a name")
    return config.model


def _load_saved(folder: Path) -> TransformerBackbone:
    try:
        return TransformerBackbone.load(folder)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder}: no usable backbone ({error})") from error


def _load(origin: Path | str) -> "tuple[PreTrainedModel, PreTrainedTokenizerFast]":
    from transformers import AutoConfig, AutoModel, AutoTokenizer  # noqa: PLC0415 - slow, and rarely needed

    source: dict[str, Any] = {}
    where = origin
    if isinstance(origin, Path) and origin.is_file():
        where, source = origin.parent, {"gguf_file": origin.name}
    try:
        with _quiet():
            # Read once and passed on, because parsing a GGUF file's header takes seconds.
            config = AutoConfig.from_pretrained(where, **source)
            tokenizer = AutoTokenizer.from_pretrained(where, config=config, **source)
            model = AutoModel.from_pretrained(where, config=config, dtype=torch.float32, **source)
    except _BROKEN as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ExportError(f"{origin} is no model that transformers reads ({reason})") from error
    if not getattr(tokenizer, "is_fast", False):
        raise ExportError(f"{origin} has no fast tokenizer, and the server needs a tokenizer.json")
    return model, tokenizer


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the notes and progress bars of transformers; errors still arrive as exceptions."""
    from transformers.utils import logging  # noqa: PLC0415 - slow, and rarely needed

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with redirect_stderr(StringIO()):
            yield
    finally:
        logging.set_verbosity(before)


def _pad_token(tokenizer: "PreTrainedTokenizerFast") -> int:
    """Choose a token that no prompt contains: the padding token, or an unused special token."""
    used = set(tokenizer("a").input_ids)
    special = [i for i, token in tokenizer.added_tokens_decoder.items() if token.special]
    wanted = (tokenizer.pad_token_id, *sorted(special, reverse=True), tokenizer.eos_token_id)
    for token in wanted:
        if token is not None and token not in used:
            return int(token)
    raise ExportError("the backbone's tokenizer has no token to pad with; give it a pad_token")


def _tokenizer_json(tokenizer: "PreTrainedTokenizerFast", pad: int) -> str:
    """The tokenizer without truncation and padding.

    The padding token is no added token in it, so a prompt that spells it out is read as text.
    """
    settings = json.loads(bare_tokenizer(tokenizer.backend_tokenizer.to_str()))
    settings["added_tokens"] = [token for token in settings["added_tokens"] if token["id"] != pad]
    return json.dumps(settings, ensure_ascii=False, separators=(",", ":"))


def _name(config: BackboneConfig, origin: Path | str) -> str:
    if config.model is None and config.kind == "encoder":
        return MINILM_NAME
    return origin if isinstance(origin, str) else origin.resolve().stem


def _check_length(model: "PreTrainedModel", max_tokens: int) -> None:
    limit = getattr(model.config, "max_position_embeddings", None)
    if limit is not None and model.config.model_type in _OFFSET_POSITIONS:
        limit -= model.config.pad_token_id + 1
    if limit is not None and max_tokens > limit:
        raise ExportError(f"the backbone reads at most {limit} tokens; lower --max-tokens")
