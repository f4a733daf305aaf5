"""Counts by families of tokenizers against frozen counts of the real ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.predictor.tokenizers.families import FAMILIES, count_by_family, family_of
from support.billed_bodies import samples

KINDS = sorted({sample["kind"] for sample in samples()})
# Lines of one character: one token has up to 64 of them, and how many a pair cannot tell.
MEAN_WITHIN = {"rule": 0.23}
MOST = {"rule": 1.55}


def ratios(kind: str) -> np.ndarray:
    """Returns count over real count of the samples of a kind, [n, F]."""
    held = [sample for sample in samples() if sample["kind"] == kind]
    real = np.array([[sample[family] for family in FAMILIES] for sample in held])
    return count_by_family([sample["text"] for sample in held]) / real


def test_there_are_twenty_scripts_and_more_and_what_programs_write() -> None:
    assert len(KINDS) >= 78
    assert {"python", "json", "base64", "hex", "emoji", "thai", "burmese", "amharic"} <= set(KINDS)
    assert {"chinese_simplified", "chinese_traditional", "board", "escapes"} <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_counts_are_near_those_of_the_real_tokenizers(kind: str) -> None:
    found = ratios(kind)
    assert found.min() >= 0.8
    assert found.max() <= MOST.get(kind, 1.5)
    assert (np.abs(found.mean(axis=0) - 1.0) <= MEAN_WITHIN.get(kind, 0.15)).all()


@given(texts=st.lists(st.text(max_size=60), max_size=5), times=st.integers(1, 60))
def test_a_count_depends_on_its_text_alone(texts: list[str], times: int) -> None:
    long = [text * times for text in texts]
    together = count_by_family(long)
    assert together.shape == (len(texts), len(FAMILIES))
    for row, text in enumerate(long):
        assert count_by_family([text]).tolist() == [together[row].tolist()]
        assert (together[row] >= len(text.encode("utf-8", "surrogatepass")) / 16).all()


def test_long_texts_are_added_up_exactly() -> None:
    text = "the quick brown fox\n" * 20_000
    once, often = count_by_family([text[: len(text) // 2], text])
    np.testing.assert_allclose(often, 2 * once, rtol=1e-3)


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("openai/gpt-5.5-2026-04-23", "openai"),
        ("openai/gpt-4o-mini", "openai"),
        ("openai/gpt-4-turbo", "openai_2023"),
        ("openai/gpt-oss-120b", "openai"),
        ("Anthropic/Claude-Opus-4-8", "claude"),
        ("meta-llama/llama-3.1-8b-instruct", "llama"),
        ("deepseek/deepseek-v4-flash", "deepseek"),
        ("qwen/qwen3.7-max-2026-05-20", "qwen"),
        ("mistralai/mistral-large-2512", "mistral"),
        ("google/gemini-3.5-flash", None),
    ],
)
def test_a_family_is_found_by_the_models_name(model: str, family: str | None) -> None:
    found = family_of(model)
    assert (None if found is None else FAMILIES[found]) == family
