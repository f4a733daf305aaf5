"""``routoo pareto``: the frontier's file, the picked vertex, the screen and the JSON."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from routoo.v1.batch_pb2 import FrontierRequest, RouteBatchRequest
from support.peers.fake_router import FRONTIER_USD

if TYPE_CHECKING:
    from pathlib import Path

    from support.peers.fake_router import FakeRouter
    from support.processes.command_line import Run

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    path.write_text('"one"\n{"prompt": "two", "tenant": "acme", "max_cost_usd": 0.0001}\n')
    return path


def test_all_vertices_are_written_as_columns(
    router: FakeRouter, run: Run, prompts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "frontier.json"
    ended = run("pareto", str(prompts), "--out", str(out))
    assert (ended.code, ended.err) == (0, "")
    (request,) = router.requests
    assert isinstance(request, FrontierRequest)
    assert request.max_points == 0
    assert [one.tenant for one in request.requests] == ["", "acme"]
    written = json.loads(out.read_text())
    assert written["prompts"] == 2
    assert written["score_std_weight"] == 0.0
    assert written["total_cost_usd"] == FRONTIER_USD
    assert len(written["mean_score"]) == len(written["shadow_price"]) == len(FRONTIER_USD)
    lines = ended.out.splitlines()
    assert lines[:2] == ["prompts   2", "vertices  20"]
    assert lines[4].split()[0] == "0"
    assert lines[-1].split() == ["19", "$0.020000", "0.7800", "0"]


@pytest.mark.parametrize(
    ("arguments", "vertex"),
    [
        (["--pick", "0"], 0),
        (["--pick", "19"], 19),
        (["--pick-budget-usd", "0.00399"], 2),
        (["--pick-budget-usd", "0.001"], 0),
        (["--pick-budget-usd", "99"], 19),
    ],
)
def test_a_picked_vertex_is_decided_at_its_cost(
    router: FakeRouter,
    run: Run,
    prompts: Path,
    tmp_path: Path,
    arguments: list[str],
    vertex: int,
) -> None:
    out, assignment = tmp_path / "frontier.json", tmp_path / "decisions.jsonl"
    ended = run(
        "pareto", str(prompts), "--out", str(out), *arguments, "--assignment", str(assignment)
    )
    assert (ended.code, ended.err) == (0, "")
    _, request = router.requests
    assert isinstance(request, RouteBatchRequest)
    assert request.budget_usd == FRONTIER_USD[vertex]
    decisions = [json.loads(line) for line in assignment.read_text().splitlines()]
    assert [one["model"] for one in decisions][1] == "small/tiny-3B"
    marked = [line for line in ended.out.splitlines() if line.startswith("*")]
    assert [line.split()[1] for line in marked] == [str(vertex)]


def test_json_tells_the_ends_and_the_picked_vertex(
    router: FakeRouter, run: Run, prompts: Path, tmp_path: Path
) -> None:
    out, assignment = str(tmp_path / "frontier.json"), str(tmp_path / "decisions.jsonl")
    ended = run(
        "pareto", str(prompts), "--out", out, "--pick", "3", "--assignment", assignment, "--json"
    )
    assert (ended.code, ended.out.count("\n")) == (0, 1)
    summary = json.loads(ended.out)
    assert summary["vertices"] == 20
    assert summary["most_expensive"]["total_cost_usd"] == FRONTIER_USD[-1]
    assert summary["picked"]["vertex"] == 3
    assert sum(summary["picked"]["prompts_per_model"].values()) == 2


@pytest.mark.parametrize("pick", [[], ["--pick", "3"]])
def test_a_picture_is_a_png(
    router: FakeRouter, run: Run, prompts: Path, tmp_path: Path, pick: list[str]
) -> None:
    out = tmp_path / "frontier.png"
    extra = [*pick, "--assignment", str(tmp_path / "decisions.jsonl")] if pick else []
    assert run("pareto", str(prompts), "--out", str(out), *extra).code == 0
    assert out.read_bytes().startswith(PNG)


def test_a_picture_without_matplotlib_names_the_extra(
    router: FakeRouter,
    run: Run,
    prompts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    ended = run("pareto", str(prompts), "--out", str(tmp_path / "frontier.png"))
    assert ended.code == 2
    assert "install it with `pip install 'routoo[plot]'`, or name a .json file" in ended.err
    assert router.requests == []


def test_json_never_loads_matplotlib(
    router: FakeRouter,
    run: Run,
    prompts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # importing it would raise
    assert run("pareto", str(prompts), "--out", str(tmp_path / "frontier.json")).code == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--pick", "1", "--pick-budget-usd", "1"], "--pick and --pick-budget-usd both pick"),
        (["--pick", "1"], "--assignment FILE goes with --pick or --pick-budget-usd"),
        (["--assignment", "a.jsonl"], "--assignment FILE goes with --pick or --pick-budget-usd"),
        (["--out", "frontier.pdf"], "name a file that ends in .json or .png"),
        (["--out", "missing/frontier.json"], "there is no folder"),
    ],
)
def test_what_does_not_go_together_is_refused_before_the_call(
    router: FakeRouter,
    run: Run,
    prompts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = run("pareto", str(prompts), "--out", "frontier.json", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert expected in ended.err
    assert router.requests == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--pick", "20"], "there is no vertex 20; the frontier has the vertices 0 to 19"),
        (["--pick", "-1"], "there is no vertex -1; the frontier has the vertices 0 to 19"),
        (["--pick-budget-usd", "0.0005"], "$0.0005 is below the cheapest vertex; it costs $0.0"),
        (["--pick", "0", "--alpha", "1"], "score_std_weight: the predictor in use does not tell"),
    ],
)
def test_a_vertex_that_is_not_there_is_refused_and_nothing_is_written(
    router: FakeRouter,
    run: Run,
    prompts: Path,
    tmp_path: Path,
    arguments: list[str],
    expected: str,
) -> None:
    out, assignment = tmp_path / "frontier.json", tmp_path / "decisions.jsonl"
    ended = run(
        "pareto", str(prompts), "--out", str(out), *arguments, "--assignment", str(assignment)
    )
    assert (ended.code, ended.out) == (2, "")
    assert expected in ended.err
    assert not out.exists()
    assert not assignment.exists()
