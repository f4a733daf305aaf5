"""``routoo models`` and ``routoo info``: their screens and their JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from routoo.v1 import info_pb2
from routoo.v1.health_pb2 import UnitHealth
from routoo.v1.info_pb2 import (
    GetInfoRequest,
    ListModelsRequest,
    PriceHours,
    Prices,
    PriceTier,
    TokenPrices,
)
from support.artifacts.tiny_artifact import write_tiny_artifact
from support.tables.tiny_model_table import write_table_folder
from support.tiny_pool import SMALL

if TYPE_CHECKING:
    from pathlib import Path

    from support.peers.fake_router import FakeRouter
    from support.processes.command_line import Run


def test_models_shows_the_pool_in_its_order_with_prices_and_shares(
    router: FakeRouter, run: Run
) -> None:
    ended = run("models")
    assert (ended.code, ended.err) == (0, "")
    assert router.requests == [ListModelsRequest(curve_points=0)]
    lines = ended.out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == [
        "model",
        "small/tiny-3B",
        "meta-llama/Meta-Llama-3.1-70B-Instruct",
        "gpt-4o",
    ]
    assert " ".join(lines[3].split()) == (
        "gpt-4o 0.780 1.560 0.7800 $0.004200 12.5 % 131,072 600 ms 11.5 ms chat tools"
        " 30 published averages"
    )
    assert "in force      $0.000250 per request buys a mean score of 0.5800" in lines


def test_prices_beside_input_and_output_are_named(router: FakeRouter, run: Run) -> None:
    assert "cached" not in run("models").out
    router.prices = Prices(
        usd_per_1m=TokenPrices(input=0.78, output=1.56, cached_input=0.39, audio_input=2),
        tiers=[PriceTier(above_input_tokens=200_000)],
        service_tiers={"batch": 0.5},
        hours=[PriceHours(start="16:30", end="00:30", multiplier=0.25)],
        usd_per_image=0.25,
        usd_per_request=0.5,
    )
    head, _, _, last = run("models").out.splitlines()[:4]
    assert head.split()[:5] == ["model", "$/1M", "in", "cached", "$/1M"]
    assert last.split()[1:4] == ["0.780", "0.390", "1.560"]
    assert last.endswith(
        "  audio input, above 200,000 tokens, batch x 0.5, 16:30 to 00:30 x 0.25, each image,"
        " each request"
    )
    found = json.loads(run("models", "--json").out)["models"][-1]["prices"]
    assert found["tiers"][0]["above_input_tokens"] == 200_000


WORKDAYS = ["mon", "tue", "wed", "thu", "fri"]
EVERY_DAY = [*WORKDAYS, "sat", "sun"]


@pytest.mark.parametrize(
    ("hours", "shown"),
    [
        # As a list spells a night: up to midnight, and on from there.
        (
            [("22:00", "24:00", 0.5, EVERY_DAY), ("00:00", "06:00", 0.5, EVERY_DAY)],
            "22:00 to 06:00",
        ),
        ([("00:00", "06:00", 0.5, ["tue"]), ("22:00", "00:00", 0.5, ["mon"])], "22:00 to 06:00"),
        # The same night, with its days told apart.
        ([("22:00", "06:00", 0.5, WORKDAYS), ("22:00", "06:00", 0.5, ["sat"])], "22:00 to 06:00"),
        # A whole day is no night, other days are not the night's, and other prices are others.
        (
            [("00:00", "00:00", 0.5, ["sun"]), ("22:00", "00:00", 0.5, ["sat"])],
            "00:00 to 00:00 x 0.5, 22:00 to 00:00",
        ),
        (
            [("22:00", "00:00", 0.5, ["mon"]), ("00:00", "06:00", 0.5, ["sat"])],
            "22:00 to 00:00 x 0.5, 00:00 to 06:00",
        ),
        (
            [("22:00", "00:00", 0.25, EVERY_DAY), ("00:00", "06:00", 0.5, EVERY_DAY)],
            "22:00 to 00:00 x 0.25, 00:00 to 06:00",
        ),
    ],
)
def test_hours_that_pass_midnight_are_shown_once(
    router: FakeRouter, run: Run, hours: list[tuple[str, str, float, list[str]]], shown: str
) -> None:
    router.prices = Prices(
        usd_per_1m=TokenPrices(input=0.78, output=1.56),
        hours=[PriceHours(start=s, end=e, multiplier=x, days=d) for s, e, x, d in hours],
    )
    last = run("models").out.splitlines()[3]
    assert last.endswith(f"  {shown} x 0.5")


def test_models_shows_what_reports_have_taught(router: FakeRouter, run: Run) -> None:
    assert "reports" not in run("models").out
    router.corrected = ("gpt-4o", 9.5, 1234)
    lines = run("models").out.splitlines()
    assert "share length reports latency" in " ".join(lines[0].split())
    assert "x 9.50 1,234" in " ".join(lines[3].split())
    (_, _, model) = json.loads(run("models", "--json").out)["models"]
    assert model["length_correction"] == {"factor": 9.5, "reports": 1234}


def test_models_shows_learned_times_beside_the_declared(router: FakeRouter, run: Run) -> None:
    assert "p95" not in run("models").out
    router.times = {
        "gpt-4o": info_pb2.LearnedTimes(
            first_token_ms=1240.0, per_output_token_ms=7.25, reports=60, first_token_reports=50
        )
    }
    head, *rows = (" ".join(line.split()) for line in run("models").out.splitlines()[:4])
    assert "1st token per token p95" in head
    assert " -> 1,240 ms 11.5 -> 7.2 ms 2.50 s" in rows[2]
    assert "->" not in rows[0]
    (_, _, model) = json.loads(run("models", "--json").out)["models"]
    assert model["learned_times"]["reports"] == 60


def test_columns_are_aligned(router: FakeRouter, run: Run) -> None:
    header, *rows = run("models").out.splitlines()[:4]
    right_edge = header.index("$/1M in") + len("$/1M in")
    for row, price in zip(rows, ("0.420", "0.710", "0.780"), strict=True):
        assert row[:right_edge].endswith(price)
        assert row[right_edge] == " "


def test_the_curve_marks_the_operating_point_between_its_neighbours(
    router: FakeRouter, run: Run
) -> None:
    ended = run("models", "--curve", "--points", "4")
    assert router.requests == [ListModelsRequest(curve_points=4)]
    lines = ended.out.splitlines()
    costs = [line.lstrip("* ").split()[0] for line in lines[1:6]]
    assert costs == ["$0.00010", "$0.00020", "$0.00025", "$0.00030", "$0.00040"]
    assert [line.startswith("*") for line in lines[1:6]] == [False, False, True, False, False]
    bars = [line.count("#") for line in lines[1:6]]
    assert bars == sorted(bars)
    assert bars[0] == 0
    assert bars[-1] == 20


def test_models_json_holds_pool_curve_and_operating_point(router: FakeRouter, run: Run) -> None:
    ended = run("models", "--curve", "--json")
    reply = json.loads(ended.out)
    assert router.requests[0].curve_points > 1
    assert len(reply["models"]) == 3
    assert reply["curve"][1]["shares"] == {"small/tiny-3B": 0.9, "gpt-4o": 0.1}
    assert reply["operating_point"]["mean_cost_usd"] == 0.00025


def test_info_shows_versions_and_limits(router: FakeRouter, run: Run) -> None:
    ended = run("info")
    assert (ended.code, ended.err) == (0, "")
    assert router.requests == [GetInfoRequest()]
    facts = {line[:12].strip(): line[12:].strip() for line in ended.out.splitlines()}
    assert facts["version"] == "9.8.7"
    assert facts["state"] == "healthy"
    assert facts["predictor"] == "static-1 on onnx-cpu"
    assert facts["tasks"] == "chat, code"
    assert facts["corrections"] == (
        "0123456789ab; from 1,234 reports of a length and 1 of a latency"
    )
    assert facts["batch"] == "100,000 prompts at most"
    assert json.loads(run("info", "--json").out)["max_queue"] == 4096


def test_info_tells_what_a_shadow_would_have_done(router: FakeRouter, run: Run) -> None:
    shadow = next(line for line in run("info").out.splitlines() if line.startswith("shadow  "))
    assert shadow.removeprefix("shadow").strip() == (
        "best; 12.5 % of 200 decisions would go elsewhere, for $2.00 instead of $0.500"
        " and a mean score of 0.7500 instead of 0.6250"
    )


def test_the_catalogue_lists_the_models_of_the_table_without_a_service(
    tmp_path: Path, run: Run
) -> None:
    predictor = write_table_folder(tmp_path / "predictor" / "1").parent
    pool = tmp_path / "pool.yaml"
    pool.write_text(yaml.safe_dump({"models": [{**SMALL, "predictor_name": "large@high"}]}))
    catalogue = ("models", "--catalogue", "--predictor", str(predictor), "--pool", str(pool))
    ended = run(*catalogue)
    assert (ended.code, ended.err) == (0, "")
    assert [line.split() for line in ended.out.splitlines() if line] == [
        ["model", "score", "+-", "tokens", "prompts", "averages", "pool"],
        ["lab/small", "0.500", "0.250", "200", "120", "0"],
        ["lab/large-2026-05-01@high", "0.875", "0.250", "2,000", "0", "4", "yes"],
        ["lab/guessed", "0.500", "0.250", "20", "0", "0"],
        ["3", "models"],
    ]
    reply = json.loads(run(*catalogue, "--search", "SMALL", "--json").out)
    assert reply["predictor"].startswith("tiny-2.")
    (small,) = reply["models"]
    assert (small["name"], small["graded_prompts"], small["in_pool"]) == ("lab/small", 120.5, False)
    assert "no such model" in run(*catalogue, "--search", "nobody").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--catalogue", "--curve"), "not both"),
        (("--search", "x"), "go with --catalogue"),
        (("--catalogue", "--predictor", "1"), "has no table of models"),
    ],
)
def test_a_catalogue_that_cannot_be_listed_is_refused_in_one_line(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_tiny_artifact(tmp_path / "1")
    monkeypatch.chdir(tmp_path)
    ended = run("models", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert ended.err.count("\n") == 1


def test_models_and_info_show_who_fails_and_why(router: FakeRouter, run: Run) -> None:
    assert "health" not in run("models").out
    assert "all models answer" in run("info").out
    well = UnitHealth(model="small/tiny-3B", state=1, share=1.0)
    out = UnitHealth(model="gpt-4o", provider="openai", state=2, cause=1, since_s=12.5, opened=1)
    router.health = {one.model: one for one in (well, out)}
    lines = run("models").out.splitlines()
    assert " ".join(lines[1].split()).startswith("small/tiny-3B well ")
    assert " ".join(lines[3].split()).startswith("gpt-4o left out, 12.50 s: rate_limited ")
    assert "gpt-4o: left out, 12.50 s: rate_limited" in run("info").out
    router.health["gpt-4o"].MergeFrom(UnitHealth(state=4, cause=3, share=0.55))
    assert "coming back, 12.50 s: timeout, 55.0 % of its requests" in run("models").out
    router.health = {"gpt-4o": UnitHealth(model="gpt-4o", state=1, share=0.0)}
    assert "its provider fails" in run("models").out
