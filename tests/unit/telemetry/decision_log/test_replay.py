"""A decision log can be replayed to the same decisions, or with another policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from routoo import __version__
from routoo.config.sections.policy import PolicySettings
from routoo.routing.joint import JointConstraints
from routoo.routing.outcome import OutcomeReport
from routoo.routing.pool import ModelSpec, Pool
from routoo.routing.request import PromptRequest
from routoo.selector.cascade import CascadePlan, Correction, Rule
from routoo.selector.policies.best import Best
from routoo.selector.policies.cheapest import Cheapest
from routoo.tariffs.usage import Usage
from routoo.telemetry.decision_log.header import Setup
from routoo.telemetry.decision_log.otherwise import OtherPolicy, OtherService
from routoo.telemetry.decision_log.reader import DecisionLogError, read_logs
from routoo.telemetry.decision_log.replay import reproduce
from routoo.telemetry.decision_log.what_if import what_if
from support.logged_engine import lines_of, logged_engine, rewritten
from support.tiny_engine import outcomes
from support.tiny_money import NOW_NS, hourly, spending
from support.tiny_pool import SPECS, tiny_pool

if TYPE_CHECKING:
    from pathlib import Path

    from routoo.engine.engine import Engine
    from routoo.predictor.artifact import Artifact

POLICIES = PolicySettings.model_validate(
    {
        "offered": [
            *("best", "cheapest", "fixed", "threshold", "quality_gap", "round_robin"),
            *("guarantee", "cascade"),
        ],
        "fixed": {"model": "medium"},
        "threshold": {"strong": "large", "weak": "small", "threshold": 0.2},
        "quality_gap": {"small": "small", "large": "large"},
        "round_robin": {"models": ["large", "small"]},
        "guarantee": {
            "reference": "large",
            "max_drop": 0.1,
            "price": 30.0,
            "predictor_version": "tiny-1",
            "pool_digest": "x",
        },
        "cascade": "rule.yaml",
    }
)
CORRECTION = Correction(0.5, np.array([-0.5, -0.25, np.nan]), np.array([3.0, 1.0, np.nan]))
RULE = Rule({("agreement", 0): CORRECTION}, (CascadePlan(0, 1, CORRECTION, (0.1, 0.9, 0.3)),))
PROMPTS = ["easy", "hard", "long", "hard easy", "hard hard easy long", "word"]


def varied() -> list[PromptRequest]:
    """Makes requests for every policy on every prompt, some with constraints."""
    constraints: list[dict[str, Any]] = [
        {},
        {"max_cost_usd": 0.001},
        {"denied_models": ("small",)},
        {"allowed_models": ("large", "small"), "min_score": 0.5},
        {"required_capabilities": ("tools",), "max_latency_ms": 2000.0},
        {"min_score": 1.0},
    ]
    requests = [
        PromptRequest(prompt, policy=policy, constraints=constraints[at])
        for policy in ("", *POLICIES.offered)
        for at, prompt in enumerate(PROMPTS)
    ]
    gap = PromptRequest("hard", policy="quality_gap", constraints={"max_quality_gap": 0.8})
    capped = PromptRequest(
        "hard",
        max_output_tokens=50,
        answers=3,
        added_output_tokens=7,
        unread="{}",
        longest_share=0.5,
        constraints={"max_cost_usd": 0.004},
    )
    return [*requests, gap, capped, PromptRequest("hard", expected_output_tokens=7)]


@pytest.mark.parametrize("usd", [1e-6, 0.0014])
async def test_a_batch_is_replayed_by_what_its_answers_may_cost(
    artifact: Artifact, tmp_path: Path, usd: float
) -> None:
    """The model that is cheaper by its prediction may cost more, and budgets pay for the most."""
    prices = ((10, 0.1), (0.1, 1), (0.1, 2))
    pool = Pool.of(
        tuple(
            ModelSpec.model_validate(
                {**one, "usd_per_1m_input_tokens": paid, "usd_per_1m_output_tokens": sold}
            )
            for one, (paid, sold) in zip(SPECS, prices, strict=True)
        )
    )
    money = spending(hourly(usd, on_exhausted="cheapest"))
    capped = PromptRequest("hard " * 16, max_output_tokens=200)
    async with logged_engine(artifact, tmp_path / "log", pool=pool, spent_from=money) as engine:
        batch = await engine.route_batch([capped] * 4, JointConstraints())
        within = JointConstraints(budget_usd=0.0012)
        await engine.route_batch([capped, PromptRequest("easy")] * 2, within)
    chosen = {one.model for one in batch.decisions}
    assert chosen == {"medium"} if usd < 0.001 else "small" not in chosen
    again = reproduce(read_logs([tmp_path / "log"]))
    assert (again.mismatches, again.findings, again.joint_batches) == ([], [], 2)


async def test_every_policy_s_decisions_come_out_the_same(
    artifact: Artifact, tmp_path: Path
) -> None:
    requests = varied()
    async with logged_engine(
        artifact, tmp_path / "log", price=55.5, policy=POLICIES, rule=RULE
    ) as engine:
        await outcomes(*map(engine.route, requests))
    log = read_logs([tmp_path / "log"])
    found = reproduce(log)
    assert found.decisions == log.count == len(requests)
    assert not found.mismatches
    assert {line["reason"] for line in lines_of(tmp_path / "log")} > {"CASCADE", "FALLBACK"}


def sold_by_hour(multiplier: float) -> Pool:
    """Makes the tiny pool with an hour window, a fee and a price of long prompts for medium."""
    prices = {
        "usd_per_request": 0.0001,
        "hours": [{"start": "22:00", "end": "23:00", "multiplier": multiplier}],
        "tiers": [
            {
                "above_input_tokens": 2,
                "usd_per_1m_input_tokens": 2,
                "usd_per_1m_output_tokens": 4,
            }
        ],
    }
    specs = ({**one, **(prices if one["name"] == "medium" else {})} for one in SPECS)
    return Pool.of(tuple(ModelSpec.model_validate(one) for one in specs))


async def test_decisions_at_prices_of_the_hour_come_out_the_same(
    artifact: Artifact, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    medium = {"allowed_models": ("medium",)}
    async with logged_engine(artifact, log, pool=sold_by_hour(0.5)) as engine:
        first, second, *_ = await outcomes(
            *(engine.route(PromptRequest(prompt, constraints=medium)) for prompt in PROMPTS)
        )
        usage = Usage(10, 100, cached_input_tokens=5, service_tier="batch", model="MEDIUM")
        await engine.report(OutcomeReport(first.decision_id, usage=usage))
        await engine.report(OutcomeReport(second.decision_id, usage=Usage(10)))
    read = read_logs([log])
    assert not read.findings
    found = reproduce(read)
    assert (found.decisions, found.mismatches, found.findings) == (len(PROMPTS), [], [])
    assert read.reports[first.decision_id].usage == usage
    lines = lines_of(log)
    assert {line["prices"] for line in lines} == {sold_by_hour(0.5).prices.version}
    assert {line["priced_s"] for line in lines} == {NOW_NS // 10**9}
    for multiplier in (0.5, 0.25):
        other = OtherService(Cheapest(), sold_by_hour(multiplier), 1.0, "other")
        reported = what_if(read, other).as_instead.reported
        assert reported.costed == 1
        assert reported.cost_usd == pytest.approx(0.0001 + multiplier * (10 * 2e-6 + 100 * 4e-6))


async def test_a_log_of_another_price_table_says_so(artifact: Artifact, tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with logged_engine(artifact, log) as engine:
        await outcomes(engine.route(PromptRequest("hard")))
    version = tiny_pool().prices.version
    log.write_bytes(log.read_bytes().replace(version.encode(), b"01234567"))
    (finding,) = reproduce(read_logs([log])).findings
    assert finding.endswith(f"were made with price table 01234567, which is {version} here")


async def test_decisions_that_budgets_turned_come_out_the_same(
    artifact: Artifact, tmp_path: Path
) -> None:
    budgets = spending(
        hourly(0.02, on_exhausted="cheapest"), hourly(0.00005, tenant="poor", name="poor")
    )
    async with logged_engine(artifact, tmp_path / "log", price=1.0, spent_from=budgets) as engine:
        for tenant in ("", "poor") * 5:
            await outcomes(
                engine.route(PromptRequest("hard", tenant=tenant)),
                engine.route(PromptRequest("hard", tenant=tenant, max_output_tokens=300)),
            )
        together = [PromptRequest("hard") for _ in range(4)]
        await outcomes(engine.route_batch(together, JointConstraints(budget_usd=0.03)))
    log = read_logs([tmp_path / "log"])
    found = reproduce(log)
    assert found.decisions == 24
    assert not found.mismatches
    assert what_if(log, OtherPolicy("best")).turned > 4


@pytest.mark.parametrize(
    "constraints",
    [
        JointConstraints(budget_usd=0.05),
        JointConstraints(min_mean_score=0.7),
        JointConstraints(score_per_usd=20.0, max_requests={"large": 3.0}),
        JointConstraints(budget_usd=0.08, max_tokens={"small": 9000.0}, score_std_weight=0.5),
        JointConstraints(tenant_budgets_usd={"a": 0.03, "b": 0.05}, max_mean_latency_ms=20000.0),
    ],
)
async def test_joint_batches_are_solved_again(
    artifact: Artifact, tmp_path: Path, constraints: JointConstraints
) -> None:
    requests = [PromptRequest(PROMPTS[i % 5], tenant="ab"[i % 2]) for i in range(12)]
    async with logged_engine(artifact, tmp_path / "log") as engine:
        await engine.route_batch(requests, constraints)
        await engine.route(PromptRequest("hard"))
    found = reproduce(read_logs([tmp_path / "log"]))
    assert (found.decisions, found.joint_batches) == (13, 1)
    assert not found.mismatches
    assert not found.findings


async def test_half_a_joint_batch_is_said_not_to_be_replayed(
    artifact: Artifact, tmp_path: Path
) -> None:
    async with logged_engine(artifact, tmp_path / "log") as engine:
        decided = await engine.route_batch(
            [PromptRequest("hard")] * 3, JointConstraints(budget_usd=1.0)
        )
        await engine.route(PromptRequest("hard"))
    kept = (tmp_path / "log").read_bytes().splitlines(keepends=True)
    del kept[2]
    (tmp_path / "log").write_bytes(b"".join(kept))
    found = reproduce(read_logs([tmp_path / "log"]))
    assert found.decisions == 1
    batch = decided.decisions[0].decision_id
    assert found.findings == [
        f"joint batch {batch} is not whole (2 of 3 decisions are here) and was not replayed"
    ]


@pytest.mark.parametrize(
    ("field", "change", "what"),
    [
        ("model", lambda _: "large", {"model"}),
        ("price", lambda line: line["price"] / 1e3, {"model", "reason"}),
        ("reason", lambda _: "BEST_SCORE", {"reason"}),
        (
            "costs_usd",
            lambda line: [float(np.nextafter(line["costs_usd"][0], 1.0)), *line["costs_usd"][1:]],
            {"costs_usd"},
        ),
        ("latencies_ms", lambda line: [1.0, *line["latencies_ms"][1:]], {"latencies_ms"}),
        ("eligible", lambda _: "110", {"eligible"}),
        ("scores", lambda line: [0.12345, *line["scores"][1:]], {"scores"}),
    ],
)
async def test_any_bit_that_differs_is_found(
    artifact: Artifact, tmp_path: Path, field: str, change: Any, what: set[str]
) -> None:
    async with logged_engine(artifact, tmp_path / "log") as engine:
        decision = await engine.route(PromptRequest("hard"))
    assert decision.model == "medium"
    found = reproduce(rewritten(tmp_path / "log", **{field: change}))
    assert what <= {one.what for one in found.mismatches}
    assert {one.decision_id for one in found.mismatches} == {decision.decision_id}


async def test_lines_that_cannot_be_used_are_told_one_by_one(
    artifact: Artifact, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    async with logged_engine(artifact, path) as engine:
        await engine.route(PromptRequest("hard"))
        await engine.route(PromptRequest("easy"))
    setup, *decisions = path.read_bytes().splitlines(keepends=True)
    newer = setup.replace(b'"format":1', b'"format":2').replace(b'"setup":"', b'"setup":"2')
    path.write_bytes(
        b"".join(
            [
                *(decisions[0], setup, decisions[0], newer),
                decisions[0].replace(b'"setup":"', b'"setup":"2'),
                *(b"127.0.0.1 GET /\n", b'{"kind":[]}\n', b"[]\n", b"\n"),
                decisions[0]
                .replace(b'"id":"', b'"id":"0')
                .replace(b'"scores":[', b'"scores":[0.5,'),
                *(decisions[1], decisions[1][:90]),
            ]
        )
    )
    log = read_logs([path])
    assert log.count == 2
    later = f"of format 2 (by routoo {__version__}), and this routoo reads 1"
    assert log.findings == [
        f"{path}:1: 1 line is left out: a decision whose setup is in an older file; name it first",
        f"{path}:4: 1 line is left out: {later}",
        f"{path}:5: 1 line is left out: a decision of a format that is not 1",
        f"{path}:6: 1 line is left out: no JSON",
        f"{path}:7: 2 lines are left out, the first of them: not of a decision log",
        f"{path}:12: 1 line is left out: cut off in the middle",
        f"{path}:10: 1 line is left out: damaged (decision)",
    ]


def test_a_file_without_decisions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"nothing\n")
    with pytest.raises(DecisionLogError, match="no decision in the log; name files that"):
        read_logs([tmp_path / "log"])
    with pytest.raises(DecisionLogError, match="cannot be read: No such file"):
        read_logs([tmp_path / "none"])


def test_a_setup_is_read_back_as_it_was_written() -> None:
    import orjson

    from routoo.routing.policies import build_policies

    setup = Setup.of(tiny_pool(), build_policies(POLICIES, tiny_pool(), "test", RULE))
    again = Setup.read(orjson.loads(setup.line()))
    assert again.line() == setup.line()
    assert again.pool.digest == tiny_pool().digest


async def reported(engine: Engine) -> None:
    """Routes and reports two hard prompts and an easy one; large answered the second hard one."""
    decisions = await outcomes(
        *(engine.route(PromptRequest(prompt)) for prompt in ("hard", "hard", "easy"))
    )
    assert [one.model for one in decisions] == ["medium", "medium", "small"]
    await engine.report(OutcomeReport(decisions[0].decision_id, score=1.0, cost_usd=0.5))
    await engine.report(OutcomeReport(decisions[1].decision_id, score=0.25, model="large"))
    tokens = {"input_tokens": 1_000_000, "output_tokens": 0}
    await engine.report(OutcomeReport(decisions[2].decision_id, score=0.0, **tokens))


async def test_another_policy_is_compared_with_what_was_decided(
    artifact: Artifact, tmp_path: Path
) -> None:
    async with logged_engine(artifact, tmp_path / "log") as engine:
        await reported(engine)
    log = read_logs([tmp_path / "log"])
    found = what_if(log, OtherPolicy("best"))
    assert found.same == 1  # of equal scores the cheapest: small, for the easy one
    assert found.as_decided.models == {"small": 1, "medium": 2, "large": 0}
    assert found.as_instead.models == {"small": 1, "medium": 0, "large": 2}
    assert found.as_decided.score == 0.5 + 0.5 + 0.875
    assert found.as_instead.score == 3 * 0.875
    assert found.as_instead.cost_usd == pytest.approx(2 * 0.00601 + 2.1e-6)
    then, other = found.as_decided.reported, found.as_instead.reported
    assert (then.scored, then.score, then.predicted_score) == (2, 1.0, 0.5 + 0.875)
    assert (then.costed, then.cost_usd) == (2, pytest.approx(0.5 + 0.1))
    # The report of the large model's answer to one of the prompts counts here.
    assert (other.scored, other.score, other.predicted_score) == (2, 0.25, 2 * 0.875)


async def test_another_price_and_other_pools_are_played_through(
    artifact: Artifact, tmp_path: Path
) -> None:
    async with logged_engine(artifact, tmp_path / "log") as engine:
        await reported(engine)
        denied = PromptRequest("hard", constraints={"denied_models": ("medium",)})
        only = PromptRequest("hard", constraints={"allowed_models": ("medium",)})
        await outcomes(engine.route(denied), engine.route(only))
    log = read_logs([tmp_path / "log"])
    assert what_if(log, OtherPolicy("", 0.0)).as_instead.models["large"] == 3
    cheap_large = {**SPECS[2], "usd_per_1m_input_tokens": 0, "usd_per_1m_output_tokens": 0}
    pool = Pool.of(tuple(map(ModelSpec.model_validate, (cheap_large, SPECS[0]))))
    found = what_if(log, OtherService(Cheapest(), pool, 1.0, "other.yaml"))
    assert found.as_instead.models == {"large": 4, "small": 0}
    assert found.as_instead.refused == 1
    assert found.as_instead.cost_usd == 0.0
    stranger = Pool.of((ModelSpec.model_validate({**SPECS[0], "name": "new"}),))
    with pytest.raises(DecisionLogError, match="no predictions of model new; leave it out"):
        what_if(log, OtherService(Best(), stranger, 1.0, "other.yaml"))
    with pytest.raises(DecisionLogError, match="settings of policy threshold; it knows bal"):
        what_if(log, OtherPolicy("threshold"))
