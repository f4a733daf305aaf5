"""Counts by families of tokenizers against frozen counts of the real ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.predictor.token_count import count_tokens
from routoo.predictor.tokenizers.columns import TokenColumns
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


@given(
    texts=st.lists(st.text(max_size=60), min_size=1, max_size=4),
    families=st.sets(st.integers(0, len(FAMILIES) - 1)).map(sorted),
)
def test_some_families_count_as_they_do_among_all(texts: list[str], families: list[int]) -> None:
    alone = count_by_family(texts, tuple(families))
    np.testing.assert_array_equal(alone, count_by_family(texts)[:, families])


@given(texts=st.lists(st.text(max_size=60), min_size=1, max_size=4), least=st.integers(0, 80))
def test_long_texts_are_counted_as_short_ones(texts: list[str], least: int) -> None:
    by_family, alone = count_by_family(texts), count_tokens(texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("routoo.predictor.token_count.LONG_BYTES", least)
        patch.setattr("routoo.predictor.tokenizers.families._STRETCH", 1)
        np.testing.assert_array_equal(count_by_family(texts), by_family)
        np.testing.assert_array_equal(count_tokens(texts), alone)


@pytest.mark.parametrize("text", ["hello my dear ", "0", "\u0e01", "\n"])
def test_a_text_of_many_steps_is_counted_whole(text: str) -> None:
    piece = text * (600_000 // len(text))
    twice, once = count_by_family([piece * 2, piece])
    # Two pairs differ: the ends of the piece, which were its edges, are neighbours.
    assert np.abs(twice - 2 * once).max() <= 8


def test_models_of_no_known_family_take_the_other_count() -> None:
    columns = TokenColumns.of([FAMILIES.index("qwen"), None, FAMILIES.index("openai")])
    texts, otherwise = ["def f(x):", "日本語のテキスト"], np.array([40.0, 50.0])
    every = count_by_family(texts)
    tokens, nothing = columns.counts(texts, otherwise)
    again, longest = columns.counts(texts, otherwise, most=True)
    assert nothing is None
    assert longest is not None
    assert tokens[:, 1].tolist() == [40.0, 50.0]
    np.testing.assert_array_equal(
        tokens[:, [0, 2]], every[:, [FAMILIES.index("qwen"), FAMILIES.index("openai")]]
    )
    np.testing.assert_array_equal(again, tokens)
    np.testing.assert_array_equal(longest, every.max(axis=1))
    unknown = TokenColumns.of([None, None])
    assert unknown.counts(texts, otherwise)[0].tolist() == [[40.0] * 2, [50.0] * 2]


@pytest.mark.parametrize("chars", [262_143, 262_144, 262_145, 700_000])
def test_many_texts_count_as_each_alone(chars: int) -> None:
    texts = ["alpha beta " * (chars // 11), "x" * chars, "", "one more", *["y" * 3000] * 200]
    alone = np.concatenate([count_by_family([text]) for text in texts])
    assert np.array_equal(count_by_family(texts), alone)


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
