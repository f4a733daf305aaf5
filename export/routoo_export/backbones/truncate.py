"""Removing the layers of a Hugging Face model that are not used."""

from typing import TYPE_CHECKING, Final

from torch import nn

from routoo_export.errors import ExportError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FINAL_NORMS: Final = ("norm", "ln_f", "final_layer_norm", "final_norm")
"""Names of the norm beside the list of layers that is applied to the last layer's output only."""


def truncate(model: "PreTrainedModel", depth: int) -> None:
    """Keep the embeddings and the first ``depth`` layers of ``model``, in place.

    The final norm is removed with the layers, so hidden state k is the same before and after.

    Raises:
        ExportError: the model has fewer layers, or stores them in a way that is not supported.
    """
    config = model.config
    layers = config.num_hidden_layers
    if not 0 <= depth <= layers:
        raise ExportError(f"the backbone has {layers} layers; --layers takes 0 to {layers}")
    if depth == layers:
        return
    parent, name = _layer_list(model, layers)
    setattr(parent, name, getattr(parent, name)[:depth])
    for norm in FINAL_NORMS:
        if isinstance(getattr(parent, norm, None), nn.Module):
            setattr(parent, norm, nn.Identity())
    config.num_hidden_layers = depth
    if getattr(config, "layer_types", None) is not None:
        config.layer_types = config.layer_types[:depth]


def without_final_norm(model: "PreTrainedModel") -> bool:
    """Returns whether ``truncate`` has removed the final norm of ``model``."""
    return any(
        isinstance(module, nn.Identity)
        for name, module in model.named_modules()
        if name.rpartition(".")[2] in FINAL_NORMS
    )


def drop_final_norm(model: "PreTrainedModel") -> None:
    """Remove the final norm, as ``truncate`` did before the model was saved."""
    parent, _ = _layer_list(model, model.config.num_hidden_layers)
    for norm in FINAL_NORMS:
        if isinstance(getattr(parent, norm, None), nn.Module):
            setattr(parent, norm, nn.Identity())


def _layer_list(model: "PreTrainedModel", layers: int) -> tuple[nn.Module, str]:
    """The module that holds the list of the layers, and the list's name in it."""
    found = [
        (parent, name)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.ModuleList) and len(child) == layers
    ]
    if len(found) != 1:
        kind = type(model).__name__
        raise ExportError(
            f"{kind} has no single list of its {layers} layers; use all: --layers {layers}"
        )
    return found[0]
