"""Fingerprints that identify a backbone and a computation with it."""

import hashlib
from collections.abc import Iterable

from routoo_export.backbones.base import Backbone


def fingerprint(backbone: Backbone, *more: object) -> str:
    """The sha256 of the weights, of the settings of reading, and of the repr of ``more``."""
    module = backbone.module()
    digest = hashlib.sha256(repr((backbone.spec, *_settings(backbone), more)).encode())
    for name, tensor in module.state_dict().items():
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _settings(backbone: Backbone) -> Iterable[object]:
    """The settings of reading that only a transformer has."""
    reading = getattr(backbone, "reading", None)
    return () if reading is None else (reading,)
