"""Prompts to token ids: lengths, cuts, and buckets."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.predictor.artifact import load_artifact
from routoo.predictor.base import SHORTEST_BUCKET, EncodedPrompts, bucket_lengths
from routoo.predictor.encoding import PromptEncoder
from routoo.predictor.onnx import OnnxPredictor
from support.artifacts.tiny_artifact import WORDS, write_tiny_artifact

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MAX_TOKENS = 32
UNKNOWN, EASY, HARD, LONG = range(1, 5)

words = st.lists(st.sampled_from(["easy", "hard", "long", "else"]), min_size=1, max_size=80)
batches = st.lists(words.map(" ".join), min_size=1, max_size=20)


@pytest.fixture(scope="module")
def artifact_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_artifact(tmp_path_factory.mktemp("artifact"), max_tokens=MAX_TOKENS)


@pytest.fixture(scope="module")
def encoder(artifact_folder: Path) -> PromptEncoder:
    return make_encoder(artifact_folder, MAX_TOKENS)


def make_encoder(folder: Path, max_tokens: int) -> PromptEncoder:
    return PromptEncoder(
        folder / "tokenizer.json", max_tokens=max_tokens, pad_token_id=0, add_special_tokens=False
    )


def test_a_prompt_becomes_its_words(encoder: PromptEncoder) -> None:
    encoded = encoder.encode(["easy hard", "long  else\n"])
    assert encoded.ids == [[EASY, HARD], [LONG, UNKNOWN]]
    np.testing.assert_array_equal(encoded.input_tokens, [2, 2])
    assert not encoded.truncated.any()


def test_a_prompt_at_the_limit_is_read_whole(encoder: PromptEncoder) -> None:
    encoded = encoder.encode([" ".join(["easy"] * MAX_TOKENS)])
    assert encoded.ids == [[EASY] * MAX_TOKENS]
    assert encoded.truncated.tolist() == [False]


@pytest.mark.parametrize("max_tokens", [8, 9, 31, 32])
def test_a_long_prompt_keeps_its_beginning_and_its_end(
    artifact_folder: Path, max_tokens: int
) -> None:
    encoder = make_encoder(artifact_folder, max_tokens)
    begin, end = max_tokens - max_tokens // 2, max_tokens // 2
    prompt = " ".join(["easy"] * begin + ["long"] + ["hard"] * end)
    encoded = encoder.encode([prompt])
    assert encoded.ids == [[EASY] * begin + [HARD] * end]
    assert encoded.truncated.tolist() == [True]
    assert encoded.input_tokens.tolist() == [max_tokens + 1]


def test_a_very_long_prompt_is_not_read_whole_but_counted(encoder: PromptEncoder) -> None:
    prompt = " ".join(["easy"] * 50_000 + ["long"] * 100_000 + ["hard"] * 50_000)
    encoded = encoder.encode([prompt])
    assert encoded.ids == [[EASY] * (MAX_TOKENS // 2) + [HARD] * (MAX_TOKENS // 2)]
    assert encoded.truncated.tolist() == [True]
    assert encoded.input_tokens[0] == pytest.approx(200_000, rel=0.01)


@pytest.mark.parametrize("chars", [8, 1000, 1024, 1025, 1_000_000])
def test_an_endless_word_counts_by_its_characters(encoder: PromptEncoder, chars: int) -> None:
    encoded = encoder.encode(["x" * chars])
    assert encoded.input_tokens[0] == pytest.approx(chars / 8, rel=0.01)
    # Up to 32 characters per kept token are read; a word that is cut counts as truncated.
    assert encoded.truncated.tolist() == [chars > 32 * MAX_TOKENS]


def test_a_prompt_without_any_token_is_an_unknown_word(encoder: PromptEncoder) -> None:
    encoded = encoder.encode(["\u200b\u200b", " \t ", "easy"])
    assert [len(ids) for ids in encoded.ids] == [1, 1, 1]
    assert encoded.ids[1] == [WORDS.index("[UNK]")]
    assert (encoded.input_tokens >= 1).all()


@given(prompts=batches)
def test_no_prompt_is_longer_than_the_limit_and_every_cut_is_told(
    encoder: PromptEncoder, prompts: list[str]
) -> None:
    encoded = encoder.encode(prompts)
    for prompt, ids, count, cut in zip(
        prompts, encoded.ids, encoded.input_tokens, encoded.truncated, strict=True
    ):
        length = len(prompt.split())
        assert len(ids) == min(length, MAX_TOKENS)
        assert cut == (length > MAX_TOKENS)
        assert count == length


def encoded_as(ids: list[list[int]]) -> EncodedPrompts:
    return EncodedPrompts(ids, np.array([len(one) for one in ids], float), np.zeros(len(ids), bool))


@given(
    lengths=st.lists(st.integers(1, MAX_TOKENS), min_size=1, max_size=50), seed=st.integers(0, 9)
)
def test_buckets_cover_all_rows_exactly_once(
    encoder: PromptEncoder, lengths: list[int], seed: int
) -> None:
    random = np.random.default_rng(seed)
    ids = [random.integers(1, 5, length).tolist() for length in lengths]
    rows: list[int] = []
    for bucket in encoder.buckets(encoded_as(ids)):
        rows += bucket.rows.tolist()
        input_ids = bucket.feed["input_ids"]
        width = input_ids.shape[1]
        assert width in encoder.bucket_lengths
        for row, padded in zip(bucket.rows.tolist(), input_ids.tolist(), strict=True):
            assert padded == ids[row] + [0] * (width - len(ids[row]))
        # None of these fits into a shorter bucket.
        shorter = encoder.bucket_lengths[encoder.bucket_lengths < width]
        assert all(len(ids[row]) > shorter.max(initial=0) for row in bucket.rows.tolist())
    assert sorted(rows) == list(range(len(lengths)))


@pytest.mark.parametrize(
    ("max_tokens", "lengths"),
    [(8, [8]), (16, [16]), (17, [16, 17]), (32, [16, 32]), (256, [16, 32, 64, 128, 256])],
)
def test_bucket_lengths_double_up_to_the_limit(
    artifact_folder: Path, max_tokens: int, lengths: list[int]
) -> None:
    assert make_encoder(artifact_folder, max_tokens).bucket_lengths.tolist() == lengths


@given(prompts=batches)
def test_a_prompt_is_predicted_alike_alone_and_in_any_batch(
    predict: Callable[[list[str]], np.ndarray], prompts: list[str]
) -> None:
    together = predict(prompts)
    alone = np.concatenate([predict([prompt]) for prompt in prompts])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def predict(artifact_folder: Path) -> Callable[[list[str]], np.ndarray]:
    predictor = OnnxPredictor(load_artifact(artifact_folder))
    return lambda prompts: predictor.predict(prompts).scores


@given(max_tokens=st.integers(8, 4096), fine=st.booleans())
def test_buckets_rise_to_the_limit_in_steps_that_waste_little(max_tokens: int, fine: bool) -> None:  # noqa: FBT001
    lengths = list(bucket_lengths(max_tokens, fine=fine))
    assert lengths[-1] == max_tokens
    assert all(before < after for before, after in pairwise(lengths))
    assert all(length % SHORTEST_BUCKET == 0 for length in lengths[:-1])
    if not fine:
        assert len(lengths) <= 10
        return
    assert len(lengths) <= 28
    for before, after in pairwise(lengths):
        # A prompt one token longer than ``before`` is padded to ``after``.
        assert after - before <= max(SHORTEST_BUCKET, before // 4)


def test_a_graph_that_pays_for_padding_gets_little_of_it(artifact_folder: Path) -> None:
    settings = {"max_tokens": 200, "pad_token_id": 0, "add_special_tokens": False}
    ids = [[EASY] * length for length in (65, 80, 130, 200)]
    for fine, expected in ((True, [80, 160, 200]), (False, [128, 200])):
        encoder = PromptEncoder(artifact_folder / "tokenizer.json", **settings, fine_buckets=fine)
        buckets = encoder.buckets(encoded_as(ids))
        found = [bucket.feed["input_ids"].shape[1] for bucket in buckets]
        assert found == expected
