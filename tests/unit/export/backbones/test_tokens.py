"""Prompts get the same token ids as in the server, and none contains the padding token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routoo.predictor.encoding import PromptEncoder
from routoo_export.backbones.token_vectors import load_token_vectors
from routoo_export.backbones.tokens import bare_tokenizer, encode_prompts, length_batches, pad_ids
from support.artifacts.tiny_transformers import BOS, PAD, tiny_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

TEXT = st.text(st.sampled_from("ab1 .\n\u00e9\u4e2d[]"), min_size=1, max_size=80)


@pytest.fixture(scope="module")
def tokenizer_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tokenizers")
    texts = {
        "minilm": load_token_vectors().tokenizer_json,
        "tiny": bare_tokenizer(tiny_tokenizer(["a", "b"]).backend_tokenizer.to_str()),
    }
    for name, text in texts.items():
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.json" for name in texts}


@pytest.mark.parametrize("name", ["minilm", "tiny"])
@pytest.mark.parametrize("special", [False, True])
@settings(max_examples=40, deadline=None)
@given(prompts=st.lists(TEXT, min_size=1, max_size=4), max_tokens=st.integers(2, 9))
def test_ids_are_those_of_the_server(
    tokenizer_files: dict[str, Path],
    name: str,
    special: bool,  # noqa: FBT001 - a parameter of the test
    prompts: list[str],
    max_tokens: int,
) -> None:
    path = tokenizer_files[name]
    server = PromptEncoder(
        path, max_tokens=max_tokens, pad_token_id=PAD, add_special_tokens=special
    )
    ours = encode_prompts(
        server._tokenizer,
        prompts,
        max_tokens=max_tokens,
        pad_token_id=PAD,
        add_special_tokens=special,
    )
    assert ours == server.encode(prompts).ids
    assert all(1 <= len(ids) <= max_tokens for ids in ours)


def test_a_very_long_prompt_is_read_where_the_server_reads_it(
    tokenizer_files: dict[str, Path],
) -> None:
    prompt = "a " * 300 + "b " * 300
    server = PromptEncoder(
        tokenizer_files["tiny"], max_tokens=7, pad_token_id=PAD, add_special_tokens=True
    )
    ours = encode_prompts(
        server._tokenizer, [prompt], max_tokens=7, pad_token_id=PAD, add_special_tokens=True
    )
    assert ours == server.encode([prompt]).ids
    assert ours[0][0] == BOS


def test_padding_fills_up_to_the_right() -> None:
    padded = pad_ids([[5], [6, 7]], pad_token_id=9)
    np.testing.assert_array_equal(padded, [[5, 9], [6, 7]])
    assert pad_ids([[5]], 9, width=4).shape == (1, 4)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(1, 7))
def test_batches_cover_every_row_once_and_sort_by_length(lengths: list[int], rows: int) -> None:
    batches = length_batches([[0] * length for length in lengths], rows)
    order = np.concatenate(batches)
    assert sorted(order.tolist()) == list(range(len(lengths)))
    assert max(map(len, batches)) <= rows
    assert (np.diff(np.array(lengths)[order]) >= 0).all()
