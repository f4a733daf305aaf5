"""The command line and the examples work with a real ``routoo serve`` process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import pytest

from support.processes.command_line import ROUTOO, Ended, patient

EXAMPLES = Path(__file__).parents[3] / "examples"
PROMPTS = [
    "What is the capital of France?",
    "Prove that sqrt(2) is irrational.",
    "Which amino acid has no chiral centre?\nA. glycine\nB. alanine\nC. serine\nD. valine",
    "Solve x^2 - 5x + 6 = 0.",
    "Under which doctrine is a landlord liable for hidden defects?",
    "Explain why the sky is blue in one sentence.",
]


class Routoo(Protocol):
    """A function that runs the command ``routoo`` in a process of its own."""

    def __call__(self, *arguments: str, stdin: str = "") -> Ended: ...


@pytest.fixture
def routoo(service: str) -> Routoo:
    """Returns the command with the address of the service."""

    def run(*arguments: str, stdin: str = "") -> Ended:
        ended = subprocess.run(
            [ROUTOO, *patient(arguments)],
            input=stdin,
            text=True,
            capture_output=True,
            check=False,
            env={**os.environ, "ROUTOO_ADDRESS": service},
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    return run


def _json(ended: Ended) -> Any:
    assert (ended.code, ended.err) == (0, "")
    return json.loads(ended.out)


def test_this_machine_is_asked_past_a_proxy(
    routoo: Routoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert routoo("health").code == 0
    assert _json(routoo("route", PROMPTS[0], "--json"))["model"]


def test_route_chooses_the_best_utility_of_the_pool(routoo: Routoo) -> None:
    pool = [model["name"] for model in _json(routoo("models", "--json"))["models"]]
    reply = _json(routoo("route", PROMPTS[1], "--json"))
    candidates = reply["candidates"]
    assert sorted(candidate["model"] for candidate in candidates) == sorted(pool)
    assert all(candidate["eligible"] for candidate in candidates)
    best = max(candidates, key=lambda candidate: candidate["utility"])
    assert reply["model"] == best["model"]
    for candidate in candidates:
        worth = reply["shadow_price"] * candidate["predicted_cost_usd"]
        assert candidate["utility"] == pytest.approx(candidate["predicted_score"] - worth)
    assert reply["predicted_score"] == best["predicted_score"]
    assert reply["reason"]["text"]


def test_route_shows_every_model_of_the_pool_on_a_screen_of_text(routoo: Routoo) -> None:
    reply = _json(routoo("route", PROMPTS[1], "--json"))
    ended = routoo("route", "-", stdin=PROMPTS[1])
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0] == reply["model"]
    shown = [line.lstrip("* ").split()[0] for line in lines if "$" in line and "0." in line]
    for candidate in reply["candidates"]:
        assert candidate["model"] in shown
    assert "\x1b" not in ended.out


def test_a_cost_constraint_is_kept_and_named(routoo: Routoo) -> None:
    free = _json(routoo("route", PROMPTS[1], "--json"))
    costs_usd = sorted(candidate["predicted_cost_usd"] for candidate in free["candidates"])
    limit_usd = (costs_usd[2] + costs_usd[3]) / 2
    reply = _json(routoo("route", PROMPTS[1], "--max-cost-usd", repr(limit_usd), "--json"))
    assert reply["predicted_cost_usd"] <= limit_usd
    removed = [candidate for candidate in reply["candidates"] if not candidate["eligible"]]
    assert len(removed) == len(costs_usd) - 3
    assert {candidate["removed_by"] for candidate in removed} == {"max_cost_usd"}


def test_a_batch_spends_its_budget_and_no_more(routoo: Routoo, tmp_path: Path) -> None:
    prompts, out = tmp_path / "prompts.jsonl", tmp_path / "decisions.jsonl"
    requests = [{"prompt": prompt, "request_id": str(i)} for i, prompt in enumerate(PROMPTS)]
    prompts.write_text("".join(json.dumps(request) + "\n" for request in requests))
    cheapest = _json(routoo("batch", str(prompts), "--min-mean-score", "0", *_to(out)))
    costliest = _json(routoo("batch", str(prompts), "--budget-usd", "1000", *_to(out)))
    budget_usd = (cheapest["total_predicted_cost_usd"] + costliest["total_predicted_cost_usd"]) / 2
    halved = _json(routoo("batch", str(prompts), "--budget-usd", repr(budget_usd), *_to(out)))
    decisions = [json.loads(line) for line in out.read_text().splitlines()]
    assert [decision["request_id"] for decision in decisions] == ["0", "1", "2", "3", "4", "5"]
    total_usd = sum(decision["predicted_cost_usd"] for decision in decisions)
    assert total_usd == pytest.approx(halved["total_predicted_cost_usd"])
    assert total_usd <= budget_usd * (1 + 1e-9)
    scores = [reply["mean_predicted_score"] for reply in (cheapest, halved, costliest)]
    assert scores == sorted(scores)
    assert scores[0] < scores[2]
    assert halved["mean_predicted_score"] <= halved["bound"] + 1e-9


def _to(out: Path) -> list[str]:
    return ["--out", str(out), "--json"]


def test_what_the_service_refuses_is_one_line_and_exit_2(routoo: Routoo, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('"fine"\n\n{"prompt": "x", "allowed_models": ["no-such-model"]}\n')
    out = str(tmp_path / "out.jsonl")
    for arguments, expected in [
        (["route", ""], "prompt"),
        (["route", "x", "--allow", "no-such-model"], "no-such-model"),
        (["route", "x", "--max-cost-usd", "0"], "max_cost_usd"),
        (["route", "x", "--max-cost-usd", "nan"], "max_cost_usd"),
        (
            ["batch", str(prompts), "--budget-usd", "1", "--out", out],
            f"{prompts}:3: allowed_models",
        ),
        (["batch", str(prompts), "--budget-usd", "-1", "--out", out], "budget_usd"),
    ]:
        ended = routoo(*arguments)
        assert (ended.code, ended.out) == (2, ""), arguments
        assert ended.err.startswith("error: ")
        assert ended.err.count("\n") == 1
        assert expected in ended.err


def _spend(budget_usd: str, out: str) -> list[str]:
    return ["--budget-usd", budget_usd, "--out", out]


def test_the_curve_rises_and_the_service_works_on_it(routoo: Routoo) -> None:
    info = _json(routoo("info", "--json"))
    reply = _json(routoo("models", "--curve", "--points", "15", "--json"))
    assert sum(model["share"] for model in reply["models"]) == pytest.approx(1)
    costs_usd = [point["mean_cost_usd"] for point in reply["curve"]]
    scores = [point["mean_score"] for point in reply["curve"]]
    assert 2 <= len(costs_usd) <= 15
    assert costs_usd == sorted(costs_usd)
    assert scores == sorted(scores)
    here = reply["operating_point"]
    assert here["mean_cost_usd"] <= info["max_mean_cost_usd"] * (1 + 1e-6)
    assert here["shadow_price"] == info["shadow_price"]
    shown = routoo("models", "--curve").out.splitlines()
    assert sum(line.startswith("*") for line in shown) == 1


def test_the_shipped_configuration_can_be_served(routoo: Routoo) -> None:
    assert _json(routoo("check-config", "--json"))["ok"] is True


def test_a_port_in_use_is_one_line_and_exit_2(routoo: Routoo, service: str) -> None:
    others = ("--http-listen", "", "--metrics-listen", "127.0.0.1:0")
    ended = routoo("serve", "--listen", service, *others)
    assert (ended.code, ended.out) == (2, "")
    assert service in ended.err.splitlines()[-1]
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("example", ["route.py", "batch.py"])
def test_the_examples_run(service: str, example: str) -> None:
    ended = subprocess.run(
        [sys.executable, EXAMPLES / example],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ROUTOO_ADDRESS": service},
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.count("$") >= 2
