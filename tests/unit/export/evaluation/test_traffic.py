"""The judgement over a mix of traffic, on small synthetic sources."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from routoo_export.errors import OutcomeError
from routoo_export.evaluation.bootstrap import Estimate
from routoo_export.evaluation.report.traffic import render_traffic
from routoo_export.evaluation.traffic.edits import SHARES, EditChanges
from routoo_export.evaluation.traffic.judge import (
    SourceFigures,
    TrafficFigures,
    average,
    judge_source,
    worst_apgr,
)
from routoo_export.evaluation.traffic.lengths import LengthError, length_errors
from routoo_export.evaluation.traffic.methods import (
    METHODS,
    ORACLE,
    PRIOR,
    RANDOM,
    RECOGNISED,
    SINGLE,
    TOLD,
    TableRows,
)
from routoo_export.evaluation.traffic.mix import (
    MIX_FILE,
    TrafficMix,
    checked_sources,
    read_mix,
)
from routoo_export.evaluation.traffic.paper import PaperFigures, PaperResult
from routoo_export.evaluation.traffic.seen import SeenTexts
from routoo_export.evaluation.traffic.source import JudgedSource
from routoo_export.outcomes.kinds import NO_KIND, TASK_KINDS
from routoo_export.outcomes.outcomes import Outcomes, Source

if TYPE_CHECKING:
    from pathlib import Path

CODE, CHAT = TASK_KINDS.index("code_generate"), TASK_KINDS.index("chat_smalltalk")
MODELS = ("cheap", "coder", "talker")
TRUE = np.array([[0.5, 0.5], [0.9, 0.6], [0.6, 0.9]])
COST_USD = np.array([1e-5, 1e-4, 1e-4])
N = 400


def source(*, costs: bool = True, untold: bool = False) -> JudgedSource:
    """Half of the prompts are code, half chat; each of two models is good at one of them."""
    random = np.random.default_rng(0)
    kind = np.arange(N) % 2
    scores = (random.random((N, 3)) < TRUE[:, kind].T).astype(float)
    told = np.where(kind == 0, CODE, CHAT)
    outcomes = Outcomes(
        prompt_ids=tuple(map(str, range(N))),
        prompts=tuple(f"prompt {at}" for at in range(N)),
        models=MODELS,
        scores=scores,
        output_tokens=np.where(kind == 0, 300.0, 30.0)[:, None] * np.ones(3),
        cost_usd=np.broadcast_to(COST_USD if costs else np.nan, scores.shape).copy(),
        domains=tuple(("code", "chat")[k] for k in kind),
        duplicate_groups=(None,) * N,
        buckets=np.arange(N) // 2 % 10,
        source_names=("synthetic",) * N,
        sources=(Source("synthetic", "MIT", N, "0" * 64, "cost"),),
    )
    return JudgedSource(
        "synthetic", outcomes, np.full(N, NO_KIND) if untold else told, counts_visible=True
    )


def recognised(share: float) -> np.ndarray:
    """Probabilities of the kinds, right by ``share``."""
    right = np.where(np.arange(N) % 2 == 0, CODE, CHAT)
    tasks = np.zeros((N, len(TASK_KINDS)))
    tasks[:, [CODE, CHAT]] = 1.0 - share
    tasks[np.arange(N), right] = share
    return tasks


def table() -> TableRows:
    means = np.full((3, len(TASK_KINDS)), 0.5)
    means[:, [CODE, CHAT]] = TRUE
    return TableRows(means)


@pytest.fixture(scope="module")
def figures() -> SourceFigures:
    return judge_source(source(), recognised(0.8), table())


def value(figures: SourceFigures, method: str, name: str) -> float:
    found = getattr(figures.methods[method], name)
    assert found is not None
    return float(found.value)


def test_knowing_the_task_beats_the_best_single_model(figures: SourceFigures) -> None:
    assert tuple(figures.methods) == METHODS
    assert (figures.prompts, figures.models, figures.costs) == (N, 3, True)
    for method in (TOLD, RECOGNISED, PRIOR):
        assert value(figures, method, "points") > 8.0
        assert value(figures, method, "full_cost_points") > 8.0
        assert 0.0 < value(figures, method, "cost_share") < 1.0
        assert value(figures, method, "cost_save") == pytest.approx(
            100.0 * (1.0 - value(figures, method, "cost_share"))
        )
        assert value(figures, method, "perf_gain") > 10.0
        assert 0.2 < value(figures, method, "gap_closed") < 1.0
        assert value(figures, method, "apgr") > 0.5
    assert value(figures, ORACLE, "gap_closed") == pytest.approx(1.0)
    assert value(figures, SINGLE, "points") == 0.0
    assert value(figures, RANDOM, "full_cost_points") == pytest.approx(0.0, abs=1e-6)
    assert value(figures, ORACLE, "arena") > value(figures, SINGLE, "arena")


def test_without_costs_only_what_needs_none_is_told() -> None:
    found = judge_source(source(costs=False), recognised(0.8), table())
    for one in found.methods.values():
        assert (one.full_cost_points, one.cost_share, one.arena) == (None, None, None)
    assert value(found, TOLD, "points") > 8.0


def test_prompts_of_no_told_kind_are_recognised() -> None:
    found = judge_source(source(untold=True), recognised(0.8), table())
    assert found.methods[TOLD] == found.methods[RECOGNISED]


def test_the_mix_weighs_the_sources_that_have_a_figure(figures: SourceFigures) -> None:
    mix = TrafficMix({"one": 0.75, "two": 0.25})
    without = judge_source(source(costs=False), recognised(0.8), table())
    found = average({"one": figures, "two": without}, mix)
    points = value(figures, TOLD, "points")
    assert found[TOLD].points is not None
    assert found[TOLD].points.value == pytest.approx(points)
    assert found[TOLD].cost_share is not None
    assert found[TOLD].cost_share.value == pytest.approx(value(figures, TOLD, "cost_share"))
    assert worst_apgr({"one": figures, "two": without}, TOLD) == value(figures, TOLD, "apgr")


def test_errors_of_independent_sources_add_up_as_squares() -> None:
    mix = TrafficMix({"one": 0.5, "two": 0.5})
    found = mix.average({"one": Estimate(1.0, 0.3, 0, 2), "two": Estimate(3.0, 0.4, 2, 4)})
    assert found.value == 2.0
    assert found.se == pytest.approx(0.25)
    alone = mix.average({"one": Estimate(1.0, 0.3, 0, 2), "two": Estimate(*[math.nan] * 4)})
    assert alone.value == 1.0


def test_lengths_are_judged_by_kind() -> None:
    one = source()
    expected = np.where(np.arange(N) % 2 == 0, 600.0, 300.0)[:, None] * np.ones(3)
    found = length_errors([one], [recognised(0.9)], [expected])
    assert set(found) == {"code_generate", "chat_smalltalk"}
    assert found["code_generate"].within_factor == 1.0
    assert found["code_generate"].ratio == pytest.approx(2.0)
    assert found["chat_smalltalk"].within_factor == 0.0
    assert found["chat_smalltalk"].answers == N // 2 * 3


def test_the_shipped_mix_is_read() -> None:
    mix = read_mix()
    assert sum(mix.shares.values()) == pytest.approx(1.0)
    assert len(mix.sources) >= 12
    assert checked_sources([], mix) == mix.sources
    assert checked_sources(["kor_bench"], mix) == ("kor_bench",)
    with pytest.raises(OutcomeError, match="--source nothing is not in the mix; it has m_ifeval"):
        checked_sources(["nothing"], mix)


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ("", "no shares; write a line SOURCE: SHARE per source"),
        ("- kor_bench", "no shares"),
        ("kor_bench: [", "not YAML"),
        ("kor_bench: 1\nkor_bench: 2", "'kor_bench' stands twice"),
        ("no_such_source: 1", "no source 'no_such_source'"),
        ("llmrouterbench_mini_notext: 1", "has no prompts to judge on"),
        ("kor_bench: 0", "the share 0 is no number above 0"),
        ("kor_bench: -2", "the share -2"),
        ("kor_bench: .nan", "the share nan"),
        ("kor_bench: .inf", "the share inf"),
        ("kor_bench: true", "the share True"),
        ("kor_bench: much", "the share 'much'"),
        ("1: 2", "1 is no name of a source"),
        ("? [a, b]\n: 2", "not YAML"),
    ],
)
def test_a_bad_mix_is_refused_by_its_file_and_key(tmp_path: Path, content: str, wrong: str) -> None:
    path = tmp_path / "mix.yaml"
    path.write_text(content)
    with pytest.raises(OutcomeError) as caught:
        read_mix(path)
    assert str(caught.value).startswith(str(path))
    assert wrong in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mix_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutcomeError, match="cannot be read"):
        read_mix(tmp_path / "none.yaml")
    assert MIX_FILE.is_file()


def test_texts_are_known_by_their_question() -> None:
    seen = SeenTexts(["What is a prime?\nA. one\nB. two"])
    assert "What is a  PRIME?\nA. three\nB. four" in seen
    assert "What is a root?" not in seen


def test_the_page_has_every_source_and_row(figures: SourceFigures) -> None:
    mix = TrafficMix({"synthetic": 1.0})
    never = Estimate(*[math.nan] * 4)
    sure = Estimate(0.9, 0.01, 0.88, 0.92)
    paper = PaperResult(
        5, "lab/best", 0.9, 0.01, {"this predictor": PaperFigures(never, sure, sure, sure, sure)}
    )
    found = TrafficFigures(
        {"synthetic": figures},
        {"synthetic": 1.0},
        average({"synthetic": figures}, mix),
        {"code_generate": LengthError(3, 0.5, 1.5)},
    )
    changed = EditChanges(150, 17, tuple(0.02 for _ in SHARES), 0.1)
    page = render_traffic(found, changed, paper)
    for wanted in ("## synthetic", "| recognised |", "never: **not reached**", "| 10% | 0.020 |"):
        assert wanted in page
    assert "## Edits" not in render_traffic(found, None, paper)
