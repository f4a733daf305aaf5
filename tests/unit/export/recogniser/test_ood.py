"""The measure of unusual prompts: far from the training prompts, or unlike any kind of task."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from routoo_export.errors import OutcomeError
from routoo_export.recogniser.ood import KNOTS, OodRanks
from routoo_export.recogniser.unusual import unusual_auroc, without_sources
from support.artifacts.tiny_recogniser import LEXICON, SETTINGS, tiny_examples

ORIGINS, FIGURES = 6, 10


def rows(n: int, seed: int, *, towards: int | None = None) -> tuple[np.ndarray, list[int]]:
    """Rows [n, 2, FIGURES] of ORIGINS clusters, whose last figures are noise, and the clusters.

    ``towards`` moves the rows along one figure, away from all clusters.
    """
    random = np.random.default_rng(seed)
    origins = random.integers(0, ORIGINS, n)
    found = random.normal(0.0, 0.1, (n, 2, FIGURES))
    found[np.arange(n), 0, origins] += 2.0
    found[:, 1, FIGURES // 2 :] += random.normal(0.0, 5.0, (n, FIGURES // 2))
    if towards is not None:
        found[:, 0, :ORIGINS] = 0.0
        found[:, 0, towards] = -2.0
    return found.astype(np.float32), origins.tolist()


def logits(n: int, top: float) -> np.ndarray:
    """Task logits [n, 3] of prompts that are of the first kind by ``top``."""
    found = np.random.default_rng(n).normal(0.0, 0.1, (n, 3))
    found[:, 0] += top
    return found.astype(np.float32)


@pytest.fixture(scope="module")
def ranks() -> OodRanks:
    trained, origins = rows(600, 0)
    fitted = OodRanks.fit(trained, origins, directions=ORIGINS, centres=24)
    return fitted.ranked_among(rows(200, 1)[0], logits(200, 4.0))


def test_ordinary_prompts_have_every_rank(ranks: OodRanks) -> None:
    assert ranks.directions.shape == (2 * FIGURES, ORIGINS)
    assert ranks.centres.shape == (ORIGINS, 24)
    assert ranks.knots.shape == (2, KNOTS + 1)
    assert (np.diff(ranks.knots, axis=1) > 0.0).all()
    usual = ranks.ranks(ranks.measures(rows(200, 2)[0], logits(200, 4.0)))
    assert ((usual >= 0.0) & (usual <= 1.0)).all()
    assert 0.4 <= usual.mean() <= 0.7
    assert ranks.steps.sum(axis=1) == pytest.approx(1.0, abs=1e-6)


def test_prompts_of_an_unknown_origin_are_unusual(ranks: OodRanks) -> None:
    strange = rows(50, 3, towards=0)[0]
    assert ranks.ranks(ranks.measures(strange, logits(50, 4.0))).min() > 0.95


def test_prompts_of_no_kind_are_unusual(ranks: OodRanks) -> None:
    found = ranks.ranks(ranks.measures(rows(50, 4)[0], logits(50, -4.0)))
    assert found.min() > 0.95


def test_noise_within_origins_makes_nothing_unusual(ranks: OodRanks) -> None:
    plain, _ = rows(50, 5)
    noisy = plain.copy()
    noisy[:, 1, FIGURES // 2 :] *= 2.0
    told = [ranks.ranks(ranks.measures(one, logits(50, 4.0))).mean() for one in (plain, noisy)]
    assert told[1] == pytest.approx(told[0], abs=0.15)


def test_equal_prompts_still_make_steps() -> None:
    same = np.ones((40, 8), np.float32)
    fitted = OodRanks.fit(same, range(40), directions=4, centres=8)
    found = fitted.ranked_among(same, np.zeros((40, 3), np.float32))
    assert (np.diff(found.knots, axis=1) > 0.0).all()
    told = found.ranks(found.measures(same, np.zeros((40, 3), np.float32)))
    assert np.isfinite(told).all()


def test_sources_are_judged_by_a_recogniser_without_them() -> None:
    examples = tiny_examples(120)
    strange = [
        "\u0434\u043e\u0431\u0440\u044b\u0439 \u0434\u0435\u043d\u044c " * 5 + str(at)
        for at in range(20)
    ]
    usual = [one.text for one in tiny_examples(40)]
    found = unusual_auroc(
        examples, examples[:30], LEXICON, {"strange": strange, "usual": usual}, SETTINGS
    )
    assert found["strange"] > 0.9
    assert found["usual"] < 0.7
    with pytest.raises(OutcomeError, match="none: no prompts"):
        unusual_auroc(examples, [], LEXICON, {"none": []}, SETTINGS)


def test_a_source_is_left_out_under_the_beginning_of_its_name() -> None:
    named = [
        replace(tiny_examples(1)[0], source=f"task_prompts:{name}")
        for name in ("shaberi", "kor_bench", "mgsm", "kor_bench")
    ]
    kept = without_sources(named, ["shaberi_ja_panel3", "kor_bench"])
    assert [one.source for one in kept] == ["task_prompts:mgsm"]
