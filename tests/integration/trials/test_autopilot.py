"""The loop on the simulated fleet of examples/loop: train, shadow, promote, confirm, roll back."""

from __future__ import annotations

import asyncio
import fcntl
import random
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from routoo.config.loading import SettingsSource
from routoo.predictor.artifact import shipped_artifact
from routoo.v1 import outcome_pb2, route_pb2
from routoo_export.autopilot.cycle import Autopilot, AutopilotReport, AutopilotTerms
from routoo_export.autopilot.state import Work
from routoo_export.errors import ExportError
from support.tiny_service import serving
from support.watched import HANG_S

if TYPE_CHECKING:
    from support.tiny_service import Running

EXAMPLE = Path(__file__).parents[3] / "examples" / "loop"
sys.path.insert(0, str(EXAMPLE))
from fleet import made_up  # noqa: E402 - it is a script

BEST = "deepseek/deepseek-v4-flash"


def written(folder: Path, **changes: Any) -> Path:
    """Writes the example's settings on free ports, with a share of traffic that suits a test."""
    values = yaml.safe_load((EXAMPLE / "routoo.yaml").read_text())
    values["listen"] = "127.0.0.1:0"
    values["http"], values["metrics"] = {"listen": ""}, {"enabled": False}
    values["policy"]["explore"]["share"] = 0.4
    values["experiment"]["shadow_decisions"] = 20
    values |= changes
    for section, name in (
        ("predictor", "artifact"),
        ("decision_log", "path"),
        ("experiment", "candidate"),
        ("experiment", "path"),
    ):
        values[section][name] = str(folder / values[section][name])
    values["pool"] = str(EXAMPLE / "pool.yaml")
    path = folder / "routoo.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


async def traffic(running: Running, count: int, seed: int, *, worse: str = "") -> None:
    """Routes prompts of the fleet, and reports how its models answer them."""
    asked = random.Random(seed).choices(made_up(5_000), k=count)  # noqa: S311 - traffic

    async def one(known: dict[str, Any]) -> None:
        reply = await running.stub.Route(route_pb2.RouteRequest(prompt=known["prompt"]))
        failed = bool(worse) and reply.experiment_arm.endswith(worse)
        is_right = known["right"][reply.model] and not failed
        await running.stub.ReportOutcome(
            outcome_pb2.ReportOutcomeRequest(
                decision_id=reply.decision_id,
                score=float(is_right),
                cost_usd=reply.predicted_cost_usd,
            )
        )

    for start in range(0, count, 16):
        await asyncio.gather(*map(one, asked[start : start + 16]))


async def logged(running: Running, folder: Path) -> None:
    """Waits until every report is in the decision log."""
    told = running.service.metrics.registry.get_sample_value
    reports = told("routoo_outcomes_total", {"result": "accepted"}) or 0
    async with asyncio.timeout(HANG_S):
        while True:
            log = (folder / "decisions.jsonl").read_bytes()
            if log.count(b'"kind":"outcome"') >= reports and log.endswith(b"\n"):
                return
            await asyncio.sleep(0.05)


async def test_a_better_predictor_is_promoted_and_rolled_back(tmp_path: Path) -> None:
    config = written(tmp_path)
    shutil.copytree(shipped_artifact(), tmp_path / "versions" / "1")
    source = SettingsSource(config)
    async with serving(source.read()) as running:
        terms = AutopilotTerms(fewest_graded=400)
        pilot = Autopilot(config, Work(tmp_path / "work"), terms, running.service.address)

        async def step() -> AutopilotReport:
            """Runs the autopilot, then has the service read what it put there."""
            await logged(running, tmp_path)
            report = await asyncio.to_thread(pilot.run)
            await running.service.reloader.start(source.read)
            return report

        await traffic(running, 100, seed=0)
        assert (await step()).did == "waits"
        await traffic(running, 1_400, seed=1)
        shadowed = await step()
        assert shadowed.did == "shadow", shadowed.text
        assert shadowed.figures["gain"]["low"] > terms.margin
        assert (await step()).did == "waits"  # nothing was decided in shadow yet
        await traffic(running, 60, seed=2)
        promoted = await step()
        assert promoted.did == "promoted", promoted.text
        assert (tmp_path / "versions" / "2" / "manifest.json").is_file()
        assert running.service.engine.versions.predictor == promoted.figures["candidate"]
        # The version before is tried against it. Had it been the better one, it would come back.
        await traffic(running, 40, seed=3)
        assert (await step()).did == "watches"
        await traffic(running, 500, seed=4, worse="control")
        back = await step()
        assert back.did == "rolled back", back.text
        assert running.service.engine.versions.predictor != promoted.figures["candidate"]
        assert len((tmp_path / "work" / "history.jsonl").read_text().splitlines()) == 6


def test_what_it_needs_is_said(tmp_path: Path) -> None:
    config = written(tmp_path)
    work = Work(tmp_path / "work")
    pilot = Autopilot(config, work, AutopilotTerms())
    with pytest.raises(ExportError, match=r"no such decision log; let the service decide first"):
        pilot.run()
    with pytest.raises(ExportError, match=r"nothing was promoted that could be rolled back"):
        pilot.rollback()
    (work.folder / "state.json").write_text("{")
    with pytest.raises(ExportError, match=r"state\.json: cannot be read .*move it away"):
        pilot.run()
    with (work.folder / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ExportError, match=r"another autopilot is at work there"):
            pilot.run()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reload": {"watch": False}}, r"reload\.watch has to be true"),
        (
            {"experiment": {"name": "x", "candidate": "best", "path": "e.json"}},
            r"experiment\.candidate has to be a folder",
        ),
    ],
)
def test_settings_without_a_place_are_refused(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    config = written(tmp_path, **changes)
    if "experiment" in changes:
        text = config.read_text().replace(str(tmp_path / "best"), "best")
        config.write_text(text)
    with pytest.raises(ExportError, match=said):
        Autopilot(config, Work(tmp_path / "work"), AutopilotTerms())


@pytest.mark.parametrize("kept", ["features", "none"])
def test_a_log_without_texts_is_refused_before_anything_is_made(tmp_path: Path, kept: str) -> None:
    config = written(tmp_path, decision_log={"path": "log.jsonl", "prompts": kept})
    (tmp_path / "log.jsonl").write_bytes(b"")
    work = Work(tmp_path / "work")
    pilot = Autopilot(config, work, AutopilotTerms())
    with pytest.raises(ExportError, match=r"set decision_log\.prompts: text"):
        pilot.run()
    assert not list(work.folder.glob("*.parquet"))
    with pytest.raises(ExportError, match=r"nothing was promoted"):  # it needs no prompts
        pilot.rollback()
