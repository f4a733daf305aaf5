"""Aliases mean one model each, and never hide a model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo_export.catalogue.aliases import make_aliases

NAMES = (
    "openai/gpt-5.2-2025-12-11",
    "openai/gpt-5.2-2025-12-11@high",
    "openai/gpt-4o",
    "openai/gpt-4o-2024-05-13",
    "mistralai/mistral-large-2407",
    "mistralai/mistral-large-2411",
    "anthropic/claude-opus-4-8",
    "cohere/command-a-03-2025",
    "qwen/qwen3-0.6b",
    "one/same-1",
    "two/same-1",
)


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("gpt-5.2", "openai/gpt-5.2-2025-12-11"),
        ("openai/gpt-5.2", "openai/gpt-5.2-2025-12-11"),
        ("gpt-5.2@high", "openai/gpt-5.2-2025-12-11@high"),
        ("gpt-4o", "openai/gpt-4o"),
        ("gpt-4o-2024-05-13", "openai/gpt-4o-2024-05-13"),
        ("mistral-large-2411", "mistralai/mistral-large-2411"),
        ("claude-opus-4-8", "anthropic/claude-opus-4-8"),
        ("anthropic/claude-opus-4.8", "anthropic/claude-opus-4-8"),
        ("command-a", "cohere/command-a-03-2025"),
    ],
)
def test_short_names_mean_the_model_with_provider_and_date(alias: str, name: str) -> None:
    assert make_aliases(NAMES)[alias] == name


@pytest.mark.parametrize("alias", ["mistral-large", "same-1", "openai/gpt-4o", "gpt"])
def test_what_could_mean_two_models_or_is_a_name_itself_is_no_alias(alias: str) -> None:
    assert alias not in make_aliases(NAMES)


def test_names_of_sources_count_where_they_agree_and_say_a_version() -> None:
    sources = [
        ("GPT4o", "openai/gpt-4o"),
        ("gpt", "openai/gpt-4o"),
        ("m-1", "openai/gpt-4o"),
        ("m-1", "lab/elsewhere"),
        ("m-2", "lab/elsewhere"),
        # A source's undated name is certain, so the date is not left out by a rule.
        ("mistral-large-2", "mistralai/mistral-large-2407"),
    ]
    found = make_aliases(NAMES, sources)
    assert found["gpt4o"] == "openai/gpt-4o"
    assert found["mistral-large-2"] == "mistralai/mistral-large-2407"
    assert not {"gpt", "m-1", "m-2"} & found.keys()


PARTS = st.sampled_from(["gpt", "4o", "8b", "2024-05-13", "0613", "4-8", "instruct"])
NAME = st.builds(
    lambda maker, parts, level: f"{maker}/{'-'.join(parts)}{level}",
    st.sampled_from(["openai", "anthropic", "lab"]),
    st.lists(PARTS, min_size=1, max_size=3),
    st.sampled_from(["", "@high"]),
)


@given(st.sets(NAME), st.lists(st.tuples(st.text(max_size=5), NAME)))
def test_an_alias_is_lower_case_means_a_model_and_is_none(
    names: set[str], sources: list[tuple[str, str]]
) -> None:
    found = make_aliases(names, sources)
    assert set(found.values()) <= names
    assert not found.keys() & {name.lower() for name in names}
    assert all(alias == alias.lower() for alias in found)
