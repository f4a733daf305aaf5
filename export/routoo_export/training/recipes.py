"""Recipes for the packaged backbones that proved best on the outcome data, and changes to them."""

import re
from dataclasses import replace
from typing import Any, Final

from routoo_export.backbones.base import Kind
from routoo_export.backbones.config import DEFAULTS
from routoo_export.errors import ExportError
from routoo_export.outcomes.outcomes import UNKNOWN_LICENCE
from routoo_export.training.finetune.config import FinetuneConfig
from routoo_export.training.heads.train import TrainConfig
from routoo_export.training.pipeline import Recipe

FINETUNE: Final[dict[Kind, FinetuneConfig]] = {
    "encoder": FinetuneConfig(),
    "decoder": FinetuneConfig(epochs=1, learning_rate=2.0e-4, lora_rank=16),
}
QUICK_WIDTH: Final = 32


def make_recipe(
    kind: Kind,
    heads: TrainConfig,
    *,
    tuned: bool | None,
    reading: dict[str, Any],
    tuning: dict[str, Any],
) -> Recipe:
    """The standard recipe of ``kind`` with changes.

    Args:
        kind: Kind of backbone.
        heads: Settings of the heads.
        tuned: Whether the backbone is fine-tuned; None = if ``tuning`` changes anything. It is not
            the standard: on the outcome data, the fine-tuned encoder showed no gain over the third
            layer of the pretrained one.
        reading: Fields of ``BackboneConfig`` to change; None = the standard value.
        tuning: Fields of ``FinetuneConfig`` to change; None = the standard value.

    Raises:
        ExportError: a change does not go with the kind, or with a backbone that is not tuned.
    """
    read = {name: value for name, value in reading.items() if value is not None}
    tune = {name: value for name, value in tuning.items() if value is not None}
    if tuned is None:
        tuned = bool(tune)
    if kind == "static":
        odd = [*(name for name in read if name != "max_tokens"), *tune]
        if odd or tuned:
            name = odd[0] if odd else "finetune"
            raise ExportError(f"a static backbone knows no {_option(name)}; use --backbone encoder")
        return Recipe(replace(DEFAULTS[kind], **read), heads)
    if tune and not tuned:
        raise ExportError(f"{_option(next(iter(tune)))} is of fine-tuning; leave --frozen away")
    standard = DEFAULTS[kind]
    if "model" in read:
        # The best layers of the packaged model need not be those of another model.
        standard = replace(standard, layers=(), licence=UNKNOWN_LICENCE)
    backbone = replace(standard, **read)
    return Recipe(backbone, heads, replace(FINETUNE[kind], **tune) if tuned else None)


def quick_recipe(recipe: Recipe) -> Recipe:
    """A small version of ``recipe``, for trying things out."""
    heads = replace(recipe.heads.quick(), objective=recipe.heads.objective)
    tuning = recipe.finetune
    if tuning is not None:
        tuning = replace(tuning, epochs=1, max_tokens=QUICK_WIDTH)
    return Recipe(replace(recipe.backbone, width=QUICK_WIDTH, teacher_layer=0), heads, tuning)


def parse_layers(option: str, text: str | None) -> tuple[int, ...] | None:
    """Parse numbers of layers written as "6,8,10"; None stays None.

    Raises:
        ExportError: the text is something else; the message names the ``option``.
    """
    if text is None:
        return None
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise ExportError(f"{option} {text!r} is no list of layers; write it as 3 or 6,8,10")
    return tuple(int(layer) for layer in text.split(","))


def _option(name: str) -> str:
    return "--special-tokens" if name == "add_special_tokens" else f"--{name.replace('_', '-')}"
