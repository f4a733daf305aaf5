"""A cache of features on disk, because a transformer takes minutes for all prompts."""

import hashlib
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from routoo_export.backbones.base import Backbone
from routoo_export.backbones.fingerprint import fingerprint
from routoo_export.progress import Stages, silent

_FORMAT: Final = 1
"""The version of the computation; raised when the same weights and tokens give other features."""


@dataclass(frozen=True, slots=True)
class FeatureExtractor:
    """Computes features, or reads them from the cache.

    A file is named by the sha256 of the weights, the settings of reading, the precision and the
    token ids. Features whose file is broken or of another shape are computed again.

    Attributes:
        cache: Folder of the cache; None = features are always computed.
        stages: Shows the progress of the computation.
    """

    cache: Path | None = None
    stages: Stages = silent

    def __call__(self, backbone: Backbone, ids: Sequence[Sequence[int]]) -> Tensor:
        if self.cache is None or backbone.spec.kind == "static":
            return self._compute(backbone, ids)
        path = self.cache / f"{_key(backbone, ids)}.npy"
        found = _read(path, (len(ids), backbone.spec.width))
        if found is None:
            found = self._compute(backbone, ids)
            _write(path, found)
        return found

    def _compute(self, backbone: Backbone, ids: Sequence[Sequence[int]]) -> Tensor:
        with self.stages("features", len(ids)) as advance:
            return backbone.features(ids, advance)


def _key(backbone: Backbone, ids: Sequence[Sequence[int]]) -> str:
    digest = hashlib.sha256()
    for row in ids:
        digest.update(np.array([len(row), *row], dtype=np.int64).tobytes())
    compute = getattr(backbone, "compute", None)
    return fingerprint(backbone, _FORMAT, compute, digest.hexdigest())


def _read(path: Path, shape: tuple[int, int]) -> Tensor | None:
    # A broken file counts as missing.
    with suppress(OSError, ValueError, EOFError):
        values = np.load(path, allow_pickle=False)
        if values.shape == shape and values.dtype == np.float32 and np.isfinite(values).all():
            return torch.from_numpy(values)
    return None


def _write(path: Path, features: Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".partial", delete=False) as file:
        beside = Path(file.name)
        try:
            np.save(file, features.numpy())
        except OSError:
            beside.unlink()
            raise
    beside.replace(path)
