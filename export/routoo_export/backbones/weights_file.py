"""A model's weights in one safetensors file, in which shared tensors are stored once.

MobiLlama-style models share one feed-forward block between all layers. safetensors refuses shared
memory, so the file's metadata say which names are the same tensor.
"""

import json
from pathlib import Path
from typing import Final

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

_TIES: Final = "ties"


def save_weights(model: nn.Module, path: Path) -> None:
    """Write every parameter and persistent buffer of ``model``."""
    first: dict[tuple[int, tuple[int, ...], tuple[int, ...]], str] = {}
    tensors: dict[str, Tensor] = {}
    ties: dict[str, str] = {}
    for name, tensor in model.state_dict().items():
        key = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
        if tensor.numel() and key in first:
            ties[name] = first[key]
        else:
            first[key] = name
            tensors[name] = tensor.detach().cpu().contiguous()
    # transformers needs "format" where it reads the file itself.
    save_file(tensors, path, metadata={"format": "pt", _TIES: json.dumps(ties)})


def load_weights(model: nn.Module, path: Path) -> None:
    """Load weights into a ``model`` of the same shape; shared tensors are shared again.

    Raises:
        ValueError: the file is not of this model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            ties = json.loads((file.metadata() or {}).get(_TIES, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
    except SafetensorError as error:
        raise ValueError(f"{path}: {error}") from error
    for name, kept in ties.items():
        owner, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(owner), attribute, model.get_parameter(kept))
    try:
        found = model.load_state_dict(tensors, strict=False)
    except RuntimeError as error:  # torch raises it for another shape
        raise ValueError(str(error).splitlines()[0]) from error
    wrong = [*found.unexpected_keys, *(name for name in found.missing_keys if name not in ties)]
    if wrong:
        raise ValueError(f"{path}: {wrong[0]} is not in both the file and the model")
