"""Bradley-Terry from battles: known strengths per topic are recovered, bad files refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from routoo_export.errors import OutcomeError
from routoo_export.network.network import predict
from routoo_export.outcomes.bad_rows import BadRows
from routoo_export.training.heads.rows import Rows
from routoo_export.training.heads.topics import Topics
from routoo_export.training.supervision.preferences import (
    Battles,
    fit_battles,
    read_battles,
    topic_strengths,
    win_rates,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from routoo_export.training.heads.train import TrainConfig

MODELS = ("a", "b", "c", "d")
STRENGTHS = {"math": np.array([1.5, 0.5, -0.5, -1.5]), "law": np.array([-1.0, 0.3, 1.2, -0.5])}


def battle_table(battles: int, seed: int) -> dict[str, list[Any]]:
    """Battles, two a prompt, whose outcome depends on the prompt's domain."""
    rng = np.random.default_rng(seed)
    table: dict[str, list[Any]] = {
        name: [] for name in ("prompt_id", "prompt", "model_a", "model_b", "score_a", "domain")
    }
    for i in range(battles):
        domain = ("math", "law")[i // 2 % 2]
        first, second = rng.choice(len(MODELS), 2, replace=False)
        margin = STRENGTHS[domain][first] - STRENGTHS[domain][second]
        row = (
            f"q{i // 2}",
            f"{domain} question number {i // 2}?",
            MODELS[first],
            MODELS[second],
            0.5 if rng.random() < 0.1 else float(rng.random() < 1.0 / (1.0 + np.exp(-margin))),
            domain,
        )
        for name, value in zip(table, row, strict=True):
            table[name].append(value)
    return table


def write(path: Path, table: dict[str, list[Any]]) -> Path:
    pq.write_table(pa.table(table), path)
    return path


@pytest.fixture
def battles(tmp_path: Path) -> Battles:
    path = write(tmp_path / "arena.parquet", battle_table(2_000, seed=0))
    return read_battles(path, name="arena", licence="MIT")


def is_law(battles: Battles) -> NDArray[np.bool_]:
    return np.array([domain == "law" for domain in battles.outcomes.domains])


def rows_of(battles: Battles) -> Rows:
    """Features of the domain, with noise."""
    law = torch.from_numpy(is_law(battles).astype(np.float32))
    noise = torch.randn(len(law), 7, generator=torch.Generator().manual_seed(0))
    features = torch.cat([2.0 * law.unsqueeze(1) - 1.0, noise], dim=1)
    return Rows(battles.outcomes, features, features.unsqueeze(0).repeat(2, 1, 1), groups=(8,))


def test_battles_are_read_as_written(battles: Battles) -> None:
    table = battle_table(2_000, seed=0)
    assert battles.outcomes.models == MODELS
    assert len(battles.outcomes.prompts) == 1_000
    assert np.isnan(battles.outcomes.scores).all()
    ids = battles.outcomes.prompt_ids
    assert [ids[row] for row in battles.prompt] == table["prompt_id"]
    assert [MODELS[j] for j in battles.first] == table["model_a"]
    assert [MODELS[j] for j in battles.second] == table["model_b"]
    assert battles.score_a.tolist() == table["score_a"]
    assert battles.outcomes.domains[:2] == ("math", "law")
    assert battles.outcomes.sources[0].rows == 2_000


def test_where_keeps_the_battles_of_its_prompts(battles: Battles) -> None:
    keep = battles.outcomes.buckets < 3
    kept = battles.where(keep)
    assert set(kept.outcomes.prompt_ids) == {
        name for name, good in zip(battles.outcomes.prompt_ids, keep, strict=True) if good
    }
    mask = keep[battles.prompt]
    np.testing.assert_array_equal(kept.score_a, battles.score_a[mask])
    before = [battles.outcomes.prompt_ids[row] for row in battles.prompt[mask]]
    assert [kept.outcomes.prompt_ids[row] for row in kept.prompt] == before


def test_planted_strengths_per_topic_come_back(battles: Battles, quick_config: TrainConfig) -> None:
    rows, law = rows_of(battles), is_law(battles)
    train = battles.outcomes.buckets < 7
    weights = fit_battles(
        rows.where(train),
        battles.where(train),
        rows.where(~train),
        battles.where(~train),
        replace(quick_config, topic_pseudo_count=10.0),
    )
    held = rows.features[torch.from_numpy(~train)]
    scores, tokens = predict(weights, held)[:2]
    assert predict(weights, held).ood.mean() < predict(weights, held + 9.0).ood.min()
    for domain, own in (("math", ~law[~train]), ("law", law[~train])):
        want = win_rates(STRENGTHS[domain][None, :])[0]
        # Ties pull every chance a tenth of the way to one half.
        want = 0.9 * want + 0.05
        np.testing.assert_allclose(scores[own].mean(axis=0), want, atol=0.06)
    np.testing.assert_allclose(scores.sum(axis=1), len(MODELS) / 2.0, atol=0.05)
    np.testing.assert_array_equal(tokens, 1.0)


def test_topics_shrink_to_the_overall_strengths(battles: Battles) -> None:
    topics = Topics(("law", "math"), 1 - is_law(battles).astype(np.int64))
    free = topic_strengths(battles, topics, 0.0)
    np.testing.assert_allclose(free[1], 0.9 * STRENGTHS["math"], atol=0.35)
    np.testing.assert_allclose(free[0], 0.9 * STRENGTHS["law"], atol=0.35)
    held = topic_strengths(battles, topics, 1e9)
    np.testing.assert_allclose(held[0], held[1], atol=1e-4)
    np.testing.assert_allclose(held.sum(axis=1), 0.0, atol=1e-4)


@given(st.lists(st.floats(-5.0, 5.0), min_size=2, max_size=6), st.floats(-3.0, 3.0))
def test_win_rates_rank_by_strength_and_average_one_half(
    strengths: list[float], shift: float
) -> None:
    z = np.array([strengths])
    rates = win_rates(z)
    assert rates.mean() == pytest.approx(0.5)
    np.testing.assert_allclose(win_rates(z + shift), rates, atol=1e-9)
    order = np.argsort(z[0], kind="stable")
    assert (np.diff(rates[0][order]) >= -1e-12).all()


def test_models_that_never_met_cannot_be_compared(
    battles: Battles, quick_config: TrainConfig
) -> None:
    apart = (battles.first < 2) == (battles.second < 2)
    split = Battles(
        battles.outcomes,
        battles.prompt[apart],
        battles.first[apart],
        battles.second[apart],
        battles.score_a[apart],
    )
    rows = rows_of(battles)
    with pytest.raises(OutcomeError, match="links 'a' and 'c'"):
        fit_battles(rows, split, rows, battles, quick_config)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("score_a", 0.7, "row 3: score_a is not 0, 0.5 or 1"),
        ("score_a", None, "row 3: score_a is not 0, 0.5 or 1"),
        ("score_a", -1.0, "row 3: score_a is outside"),
        ("model_a", "", "row 3: model_a is empty"),
        ("prompt", "another question?", "row 3: prompt or domain differs from row 2's"),
        ("domain", "math", "row 3: prompt or domain differs from row 2's"),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    tmp_path: Path, column: str, value: object, message: str
) -> None:
    table = battle_table(10, seed=1)
    table[column][3] = value
    path = write(tmp_path / "bad.parquet", table)
    with pytest.raises(OutcomeError, match=r"bad\.parquet: " + message):
        read_battles(path, name="arena", licence="MIT")


def test_a_model_cannot_fight_itself(tmp_path: Path) -> None:
    table = battle_table(10, seed=1)
    table["model_b"][3] = table["model_a"][3]
    path = write(tmp_path / "bad.parquet", table)
    with pytest.raises(OutcomeError, match="row 3: a model fights itself"):
        read_battles(path, name="arena", licence="MIT")
    bad = BadRows(skip=True)
    kept = read_battles(path, name="arena", licence="MIT", bad=bad)
    assert len(kept.score_a) == 9
    assert bad.skipped == {"a model fights itself": 1}


def test_a_file_without_the_columns_is_refused(tmp_path: Path) -> None:
    table = battle_table(10, seed=1)
    del table["score_a"]
    path = write(tmp_path / "bad.parquet", table)
    with pytest.raises(OutcomeError, match="column 'score_a' is missing"):
        read_battles(path, name="arena", licence="MIT")
