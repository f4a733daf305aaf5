"""Cached features equal the computed ones; broken files and other backbones' files are not used."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from routoo_export.backbones.config import BackboneConfig
from routoo_export.backbones.feature_cache import FeatureExtractor
from routoo_export.backbones.pretrained import load_pretrained
from support.artifacts.tiny_transformers import save_tiny_encoder

if TYPE_CHECKING:
    from pathlib import Path

    from routoo_export.backbones.transformer import TransformerBackbone

IDS = [[5, 6, 7], [8], [9, 10]]


@pytest.fixture
def backbone(tmp_path: Path) -> TransformerBackbone:
    folder = save_tiny_encoder(tmp_path / "bert", ["court"])
    return load_pretrained(
        BackboneConfig(kind="encoder", model=str(folder), layers=(2,), max_tokens=24)
    )


def files(cache: Path) -> list[Path]:
    return sorted(cache.iterdir())


def test_features_are_read_back_not_computed_again(
    backbone: TransformerBackbone, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    extract = FeatureExtractor(cache)
    want = backbone.features(IDS)
    assert torch.equal(extract(backbone, IDS), want)
    (file,) = files(cache)
    np.save(file, want.numpy() + 1.0)
    assert torch.equal(extract(backbone, IDS), want + 1.0)


@pytest.mark.parametrize("spoil", ["empty", "cut", "shape", "dtype", "nan"])
def test_a_broken_file_is_computed_anew(
    backbone: TransformerBackbone, tmp_path: Path, spoil: str
) -> None:
    cache = tmp_path / "cache"
    extract = FeatureExtractor(cache)
    want = extract(backbone, IDS)
    (file,) = files(cache)
    values = want.numpy()
    if spoil in ("empty", "cut"):
        file.write_bytes(b"" if spoil == "empty" else file.read_bytes()[:-9])
    else:
        spoiled = {
            "shape": values[:2],
            "dtype": values.astype(np.float64),
            "nan": np.full_like(values, np.nan),
        }
        np.save(file, spoiled[spoil])
    assert torch.equal(extract(backbone, IDS), want)
    assert files(cache) == [file]
    np.testing.assert_array_equal(np.load(file), values)


def test_other_weights_tokens_or_ways_of_reading_have_other_files(
    backbone: TransformerBackbone, tmp_path: Path
) -> None:
    extract = FeatureExtractor(tmp_path / "cache")
    extract(backbone, IDS)
    # The same tokens, divided into other prompts, have another key.
    extract(backbone, [[5, 6], [7, 8], [9, 10]])
    extract(replace(backbone, reading=replace(backbone.reading, layers=(1,))), IDS)
    extract(replace(backbone, reading=replace(backbone.reading, pooling="last")), IDS)
    extract(replace(backbone, reading=replace(backbone.reading, state_scale="rms")), IDS)
    extract(replace(backbone, compute=replace(backbone.compute, bfloat16=True)), IDS)
    with torch.no_grad():
        backbone.model.embeddings.word_embeddings.weight[5] += 1.0
    found = extract(backbone, IDS)
    assert torch.equal(found, backbone.features(IDS))
    assert len(files(tmp_path / "cache")) == 7
