"""Reading backbones of any kind from disk."""

from pathlib import Path

from routoo_export.backbones.base import Backbone
from routoo_export.backbones.static import TABLE_FILE, StaticBackbone
from routoo_export.backbones.transformer import SETTINGS_FILE, TransformerBackbone
from routoo_export.errors import CheckpointError


def load_backbone(folder: Path) -> Backbone:
    """Read the backbone that ``Backbone.save`` wrote into ``folder``.

    Raises:
        CheckpointError: nothing usable lies there.
    """
    try:
        if (folder / TABLE_FILE).exists():
            return StaticBackbone.load(folder)
        if (folder / SETTINGS_FILE).exists():
            return TransformerBackbone.load(folder)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{folder}: no usable backbone ({error}); run `routoo-export train` again"
        ) from error
    raise CheckpointError(f"{folder}: no backbone lies here; run `routoo-export train` first")
