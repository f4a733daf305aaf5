"""The models that a predictor knows: names, aliases, nearest names, and evidence."""

from __future__ import annotations

import pytest

from routoo.routing.upkeep.known_models import KnownModels
from support.tables.tiny_model_table import ALIASES, NAMES, tiny_model_table


@pytest.fixture
def known() -> KnownModels:
    return KnownModels(NAMES, tiny_model_table())


def test_a_name_and_an_alias_mean_a_model_in_any_case(known: KnownModels) -> None:
    assert known.canonical("lab/small") == "lab/small"
    assert known.canonical("LARGE@high") == ALIASES["large@high"]
    assert known.canonical("lab/other") is None
    assert KnownModels(NAMES).canonical("large@high") is None


def test_the_nearest_names_are_spelt_as_the_predictor_spells_them() -> None:
    known = KnownModels(("Lab/Small", "lab/tiny", "other"))
    assert known.nearest("lab/smal")[0] == "Lab/Small"
    assert known.nearest("?") == ()


def test_evidence_is_summed_and_figures_are_averaged_over_the_tasks(known: KnownModels) -> None:
    small = known.evidence("lab/small")
    assert small is not None
    assert (small.graded_prompts, small.averages, small.is_bare) == (120.5, 0, False)
    assert (small.score, small.score_std) == (0.5, 0.25)
    assert small.output_tokens == pytest.approx(200.0, rel=1e-6)
    guessed = known.evidence("lab/guessed")
    assert guessed is not None
    assert guessed.is_bare
    assert known.evidence("nobody") is None
    assert KnownModels(NAMES).evidence("lab/small") is None


@pytest.mark.parametrize(
    ("text", "names"),
    [("", NAMES), ("LARGE@", NAMES[1:2]), ("S", (NAMES[0], NAMES[2])), ("none", ())],
)
def test_a_search_finds_parts_of_names_and_aliases(
    known: KnownModels, text: str, names: tuple[str, ...]
) -> None:
    assert tuple(one.name for one in known.search(text)) == names
    assert KnownModels(NAMES).search(text) == ()
