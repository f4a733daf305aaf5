"""What tells one backbone from another, and one computation on it from another."""

import hashlib
from collections.abc import Iterable

from routoo_export.backbones.base import Backbone


def fingerprint(backbone: Backbone, *more: object) -> str:
    """sha256 of the weights, of how prompts are read, and of the repr of ``more``."""
    module = backbone.module()
    digest = hashlib.sha256(repr((backbone.spec, *_settings(backbone), more)).encode())
    for name, tensor in module.state_dict().items():
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _settings(backbone: Backbone) -> Iterable[object]:
    """Of a transformer: which states are pooled, and how."""
    reading = getattr(backbone, "reading", None)
    return () if reading is None else (reading,)
