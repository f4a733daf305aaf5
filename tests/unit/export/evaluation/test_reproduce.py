"""The reproduction of the paper's claims, on small synthetic sources in the real format."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routoo_export.backbones.static import StaticBackbone
from routoo_export.cli import main
from routoo_export.evaluation.curves import Gains
from routoo_export.evaluation.report.reproduction import plot_reproduction, render_reproduction
from routoo_export.evaluation.reproduce import CASES, CaseResult, read_material, reproduce
from routoo_export.training.checkpoint import save_checkpoint
from routoo_export.training.heads.rows import make_rows
from routoo_export.training.pipeline import Recipe
from routoo_export.training.recipes import quick_recipe

if TYPE_CHECKING:
    from pathlib import Path

    from routoo_export.training.checkpoint import Checkpoint

OPEN, STRONG = ("open-a", "open-b"), ("gpt-4-1106-preview", "gpt-4o-2024-05-13")
MODELS = {
    "mmlu_joined": (*OPEN, STRONG[0]),
    "mmlu_pro": (*OPEN, STRONG[1]),
    "routerbench": ("cheap", STRONG[0]),
    "routerdc": OPEN,
    "mmlu_routellm": ("open-b", STRONG[0]),
}
LEARNED = ("kNN-100", "matrix factorisation", "Routoo")
SHARED = 30
DEMONSTRATIONS = "Q: one?\nA: two.\n" * 20


def write_sources(folder: Path) -> None:
    """Write sources with open models that are good at one domain each, and a strong one at 90 %.

    The first SHARED questions of MMLU are in routerdc and mmlu_routellm as well.
    """
    rng = np.random.default_rng(4)
    shared = [f"{'court tort' if i % 2 else 'matrix prime'} shared {i}?" for i in range(SHARED)]
    for source, models in MODELS.items():
        rows: list[dict[str, Any]] = []
        for i in range(150):
            law = i % 2 == 1
            words = "court statute tort appeal" if law else "integral matrix prime vector"
            own = f"{' '.join(rng.permutation(words.split()))} {source} {i}?"
            repeats = source in ("mmlu_joined", "routerdc", "mmlu_routellm") and i < SHARED
            question = shared[i] if repeats else own
            row: dict[str, Any] = {"prompt_id": f"{source}-{i}", "prompt": question}
            # As in the real sources, one column has the domain, the others the benchmark.
            row["domain" if source.startswith("mmlu") else "eval_name"] = "law" if law else "math"
            if source == "routerbench":
                row |= {"prompt": DEMONSTRATIONS + question, "question": question}
            for j, model in enumerate(models):
                chance = 0.9 if model in STRONG else (0.8 if (j == 1) == law else 0.3)
                cost = ("cost:", "cost_est:")[source != "routerbench"]
                row[f"score:{model}"] = float(rng.random() < chance)
                row[f"{cost}{model}"] = 1e-5 * 20.0 ** (model in STRONG) * (1 + 0.1 * j)
                row[f"resp_chars:{model}"] = 40
            rows.append(row)
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{source}.parquet")
    names = sorted({model for models in MODELS.values() for model in models})
    lines = ["model,usd_per_1M_input,usd_per_1M_output"]
    lines += [
        f"{name},{20 if name in STRONG else 1},{20 if name in STRONG else 1}" for name in names
    ]
    (folder / "prices.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    write_sources(folder)
    return folder


@pytest.fixture(scope="session")
def backbones(sources: Path) -> dict[str, StaticBackbone]:
    """Features of the backbone that the command fits, and of one from a checkpoint."""
    material = read_material(sources)
    prompts = material.outcomes.rows(material.train).prompts
    shape = quick_recipe(Recipe()).backbone
    widths = {"static": shape.width, "narrow": 4}
    return {
        name: StaticBackbone.fit(prompts, width, shape.max_tokens) for name, width in widths.items()
    }


@pytest.fixture(scope="session")
def results(sources: Path, backbones: dict[str, StaticBackbone]) -> list[CaseResult]:
    material = read_material(sources)
    config = quick_recipe(Recipe()).heads
    rows = {
        name: make_rows(material.outcomes, backbone, config.seed)
        for name, backbone in backbones.items()
    }
    return reproduce(material, rows, config)


def test_a_question_has_one_side_and_comes_once(sources: Path) -> None:
    material = read_material(sources)
    outcomes = material.outcomes
    assert Counter(outcomes.source_names) == {
        "mmlu": 300 - SHARED,
        "mmlu_pro": 150,
        "routerbench": 150,
        "routerdc": 150 - SHARED,
    }
    assert len(set(outcomes.prompts)) == len(outcomes.prompts)
    # RouterBench's text is the question alone; its length is that of the whole prompt sent.
    of_bench = outcomes.source_names.index("routerbench")
    assert DEMONSTRATIONS not in outcomes.prompts[of_bench]
    assert material.input_tokens[of_bench] > len(DEMONSTRATIONS) / 4


def test_every_pool_has_its_models_and_the_best_one_of_training(results: list[CaseResult]) -> None:
    found = {result.case.key: result.figures for result in results}
    assert {key: figures["models"] for key, figures in found.items()} == {
        "a": 2,
        "b": 3,
        "c": 2,
        "d": 3,
        "e": 2,
        "f": 2,
    }
    for key, model in (("b", STRONG[0]), ("d", STRONG[1]), ("e", STRONG[0])):
        assert found[key]["best_single"]["model"] == model
        assert found[key]["methods"]["oracle"]["gap_closed"]["value"] in (1.0, None)
    for figures in found.values():
        assert 10 < figures["test_prompts"] < 60
        assert set(figures["methods"]) == {
            "random mix of two",
            "domain prior",
            "oracle",
            *(f"{method}, {backbone}" for method in LEARNED for backbone in ("static", "narrow")),
        }


def test_claims_say_what_the_figures_say(results: list[CaseResult]) -> None:
    for result in results:
        for name, claims in result.figures["claims"].items():
            for claim, said in zip(result.case.claims, claims, strict=True):
                value = result.figures["methods"][name][claim.figure]["value"]
                assert said["reached"] == (value is not None and claim.reached(value))
    for case in CASES:
        for claim in case.claims:
            assert hasattr(Gains, claim.figure)
            assert claim.reached(claim.bound) == claim.at_most
            assert claim.reached(claim.bound + 1e-3) != claim.at_most


def test_the_page_names_every_pool_and_where_the_paper_is_not_reached(
    results: list[CaseResult],
) -> None:
    page = render_reproduction(results)
    for result in results:
        assert f"## ({result.case.key}) {result.case.title}" in page
    assert list(results[0].figures["claims"]) == ["Routoo, static", "Routoo, narrow"]
    claims = [claims for result in results for claims in result.figures["claims"].values()]
    reached = [claim["reached"] for of_one in claims for claim in of_one]
    assert page.count(": reached") == sum(reached)
    assert page.count("**not reached**") == len(reached) - sum(reached)
    tables = [line for line in page.splitlines() if line.startswith("|")]
    assert all(re.fullmatch(r"\|.*\|", line) for line in tables)
    assert "nan" not in page
    assert plot_reproduction(results).startswith(b"\x89PNG")
    assert len(plot_reproduction(results)) < 150_000
    json.dumps([result.figures for result in results], allow_nan=False)


def test_the_command_writes_the_same_table_for_the_same_seed(
    sources: Path,
    results: list[CaseResult],
    backbones: dict[str, StaticBackbone],
    checkpoint: Checkpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save_checkpoint(replace(checkpoint, backbone=backbones["narrow"]), tmp_path / "narrow")
    arguments = ["--data", str(sources), "--out", str(tmp_path / "results"), "--quick", "--json"]
    arguments += ["--checkpoint", str(tmp_path / "narrow")]
    monkeypatch.setattr(sys, "argv", ["routoo-export", "reproduce", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    figures = json.loads(capsys.readouterr().out)
    assert figures == {result.case.key: result.figures for result in results}
    assert json.loads((tmp_path / "results" / "reproduction.json").read_text()) == figures
    page = (tmp_path / "results" / "reproduction.md").read_text()
    assert page == render_reproduction(results)
    assert (tmp_path / "results" / "reproduction.png").read_bytes().startswith(b"\x89PNG")


def test_two_rows_of_one_name_are_refused(
    sources: Path,
    checkpoint: Checkpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["reproduce", "--data", str(sources), "--quick", "--out", str(tmp_path / "out")]
    for parent in ("one", "two"):
        save_checkpoint(checkpoint, tmp_path / parent / "tuned")
        arguments += ["--checkpoint", str(tmp_path / parent / "tuned")]
    monkeypatch.setattr(sys, "argv", ["routoo-export", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("two/tuned: tuned is in the table already; rename it")
    assert not (tmp_path / "out").exists()


def test_a_backbone_that_is_none_is_one_line(
    sources: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["reproduce", "--data", str(sources), "--backbone", "oracle"]
    monkeypatch.setattr(sys, "argv", ["routoo-export", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err == (
        "error: --backbone oracle is none of static, encoder, decoder\n"
    )
