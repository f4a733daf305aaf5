"""Backbones: they compute the Hugging Face model's states in any batch, without extra layers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModel, BertModel

from routoo_export.backbones.config import DEFAULTS, BackboneConfig
from routoo_export.backbones.load import load_backbone
from routoo_export.backbones.packages import minilm_folder
from routoo_export.backbones.pretrained import load_pretrained
from routoo_export.backbones.tokens import bare_tokenizer, pad_ids
from routoo_export.backbones.transformer import Reading, TransformerBackbone
from routoo_export.backbones.truncate import truncate
from routoo_export.errors import CheckpointError, ExportError
from support.artifacts.tiny_transformers import (
    BOS,
    LAYERS,
    PAD,
    WIDTH,
    save_tiny_decoder,
    save_tiny_encoder,
    tiny_mobillama,
    tiny_tokenizer,
)

if TYPE_CHECKING:
    from pathlib import Path

WORDS = ["court", "statute", "integral", "matrix"]
PROMPTS = ["court statute", "the matrix of an integral", "q", "[PAD]", "x" * 90, "..."]
KINDS = ("encoder", "decoder")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {
        "encoder": save_tiny_encoder(root / "bert", WORDS),
        "decoder": save_tiny_decoder(root / "llama", WORDS),
    }


@pytest.fixture(scope="module")
def loaded(folders: dict[str, Path]) -> dict[str, TransformerBackbone]:
    return {kind: load_pretrained(tiny(folders, kind, layers=(1, 2, LAYERS))) for kind in KINDS}


def tiny(folders: dict[str, Path], kind: Any, **changes: Any) -> BackboneConfig:
    return replace(BackboneConfig(kind=kind, model=str(folders[kind]), max_tokens=24), **changes)


def hidden_states(folder: Path, ids: list[int]) -> tuple[torch.Tensor, ...]:
    """Hidden states [1, t, w] of the whole model on one unpadded prompt, from transformers."""
    model = AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        states: tuple[torch.Tensor, ...] = model(
            torch.tensor([ids]), output_hidden_states=True
        ).hidden_states
    return states


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [(0,), (2,), (LAYERS,), (3, 1)])
@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize("state_scale", ["none", "rms"])
def test_features_are_the_pooled_states_of_the_whole_model(
    folders: dict[str, Path], kind: str, layers: tuple[int, ...], pooling: Any, state_scale: Any
) -> None:
    config = tiny(
        folders,
        kind,
        layers=layers,
        pooling=pooling,
        state_scale=state_scale,
        unpooled=1,
        add_special_tokens=True,
    )
    backbone = load_pretrained(config)
    assert backbone.model.config.num_hidden_layers == max(1, *layers)
    assert backbone.spec.groups == (WIDTH,) * len(layers)
    ids = backbone.encode(PROMPTS[:2])
    assert [row[0] for row in ids] == [BOS, BOS]
    found = backbone.features(ids)
    for row, features in zip(ids, found, strict=True):
        states = hidden_states(folders[kind], row)
        if state_scale == "rms":
            states = tuple(s / s.norm(dim=-1, keepdim=True) * WIDTH**0.5 for s in states)
        pooled = [
            states[layer][0, -1] if pooling == "last" else states[layer][0, 1:].mean(0)
            for layer in layers
        ]
        torch.testing.assert_close(features, torch.cat(pooled), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_features_do_not_depend_on_batch_or_padding(
    loaded: dict[str, TransformerBackbone], kind: str, data: st.DataObject
) -> None:
    backbone = loaded[kind]
    rows = st.lists(st.integers(PAD + 1, 60), min_size=1, max_size=24)
    ids = data.draw(st.lists(rows, min_size=1, max_size=6))
    width = data.draw(st.integers(24, 40))
    with torch.inference_mode():
        wide = backbone.module()(torch.from_numpy(pad_ids(ids, PAD, width)))
    together = backbone.features(ids)
    alone = torch.cat([backbone.features([row]) for row in ids])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(wide, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_in_no_prompt_and_a_prompt_of_nothing_else_has_features(
    loaded: dict[str, TransformerBackbone], kind: str
) -> None:
    backbone = loaded[kind]
    assert backbone.spec.pad_token_id == PAD
    assert all(PAD not in row for row in backbone.encode(PROMPTS))
    assert backbone.features([[PAD], [5, 6]]).isfinite().all()
    settings = json.loads(backbone.tokenizer_json)
    assert settings["truncation"] is None
    assert settings["padding"] is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_backbone_comes_back_and_can_be_cut_once_more(
    folders: dict[str, Path], kind: str, tmp_path: Path
) -> None:
    backbone = load_pretrained(tiny(folders, kind, layers=(2, 3), licence="MIT"))
    ids = backbone.encode(PROMPTS)
    backbone.save(tmp_path)
    again = load_backbone(tmp_path)
    assert again.spec == backbone.spec
    assert again.encode(PROMPTS) == ids
    assert torch.equal(again.features(ids), backbone.features(ids))
    cut = load_pretrained(
        BackboneConfig(kind=again.spec.kind, model=str(tmp_path), max_tokens=24, layers=(2,))
    )
    assert cut.model.config.num_hidden_layers == 2
    assert cut.spec.licence == "MIT"
    torch.testing.assert_close(cut.features(ids), backbone.features(ids)[:, :WIDTH])


def test_a_shared_feed_forward_block_stays_shared(tmp_path: Path) -> None:
    model = tiny_mobillama(WORDS)
    truncate(model, 3)
    reading = Reading("decoder", "MobiLlama", "MIT", (1, 3), "mean", 0, False, 24, PAD)  # noqa: FBT003
    tokenizer_json = bare_tokenizer(tiny_tokenizer(WORDS).backend_tokenizer.to_str())
    backbone = TransformerBackbone(model, tokenizer_json, reading)
    ids = backbone.encode(PROMPTS)
    backbone.save(tmp_path)
    again = load_backbone(tmp_path)
    assert isinstance(again, TransformerBackbone)
    assert torch.equal(again.features(ids), backbone.features(ids))
    first, *others = (layer.mlp for layer in again.model.layers)
    assert all(mlp.up_proj.weight is first.up_proj.weight for mlp in others)


def test_minilm_layer_3_is_what_transformers_says() -> None:
    backbone = load_pretrained(DEFAULTS["encoder"])
    prompts = ["What is 2 + 2?\nA. 3\nB. 4", "Define tort law.", "word " * 400]
    ids = backbone.encode(prompts)
    assert [len(row) for row in ids][2] == backbone.spec.max_tokens
    model = BertModel.from_pretrained(minilm_folder()).eval()
    for row, features in zip(ids, backbone.features(ids), strict=True):
        with torch.inference_mode():
            states = model(torch.tensor([row]), output_hidden_states=True).hidden_states
        torch.testing.assert_close(features, states[3][0].mean(0), rtol=1e-4, atol=1e-5)


def test_smollm2_comes_from_its_gguf_file() -> None:
    backbone = load_pretrained(replace(DEFAULTS["decoder"], layers=(2,)))
    assert backbone.spec.name.startswith("SmolLM2-135M-Instruct")
    assert backbone.spec.groups == (576,)
    assert len(backbone.model.layers) == 2
    ids = backbone.encode(["What is 2 + 2?", "<empty_output>", "a b"])
    assert backbone.reading.state_scale == "rms"
    assert all(row[0] == backbone.model.config.bos_token_id for row in ids)
    assert all(backbone.spec.pad_token_id not in row for row in ids)
    features = backbone.features(ids)
    assert features.isfinite().all()
    torch.testing.assert_close(features[2:], backbone.features(ids[2:]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "/nowhere/at/all"}, "does not exist"),
        ({"model": "README.md"}, "give a model's folder"),
        ({"model": "."}, "has no config.json"),
        ({"layers": (9,)}, "0 to 4"),
        ({"max_tokens": 100}, "at most 64 tokens"),
    ],
)
def test_what_is_no_backbone_is_refused(
    folders: dict[str, Path],
    changes: dict[str, Any],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("words")
    with pytest.raises(ExportError, match=message) as caught:
        load_pretrained(tiny(folders, "encoder", **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("broken", ["config.json", "model.safetensors"])
def test_a_broken_model_is_refused(folders: dict[str, Path], broken: str, tmp_path: Path) -> None:
    for file in folders["encoder"].iterdir():
        (tmp_path / file.name).write_bytes(b"{" if file.name == broken else file.read_bytes())
    with pytest.raises(ExportError, match="no model that transformers") as caught:
        load_pretrained(BackboneConfig(kind="encoder", model=str(tmp_path), max_tokens=24))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("broken", ["backbone.json", "config.json", "model.safetensors"])
def test_a_broken_saved_backbone_is_refused(
    loaded: dict[str, TransformerBackbone], broken: str, tmp_path: Path
) -> None:
    loaded["encoder"].save(tmp_path)
    (tmp_path / broken).write_text("{")
    with pytest.raises(CheckpointError, match="no usable backbone"):
        load_backbone(tmp_path)
    with pytest.raises(CheckpointError, match="no backbone lies here"):
        load_backbone(tmp_path / "nowhere")
