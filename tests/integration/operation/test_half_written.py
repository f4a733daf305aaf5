"""A file that is emptied, or read while it is written, takes no budget, limit or price away."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import yaml

from routoo.config.loading import SettingsSource
from routoo.v1 import budget_pb2, info_pb2
from routoo.v1.router_pb2_grpc import RouterServiceStub
from support.artifacts.tiny_table_artifact import write_tiny_table_artifact
from support.processes.process import ROUTOO, exit_code, line_of, process
from support.tiny_pool import SPECS
from support.tiny_service import connected, serving, tiny_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable

FIRST = """\
listen: 127.0.0.1:0
http: {listen: ""}
pool: pool.yaml
predictor: {artifact: predictor}
metrics: {enabled: false}
reload: {watch: true, interval_s: 0.02}
budgets:
  - name: everyone
    usd: 50
    per: 1d
    window: sliding
  - {name: team-a, tenant: a, usd: 5.0e-1, per: 15m}
  # Those who test pay for themselves.
  - name: testers
    usd: 12.5
    per: 30d
    on_exhausted: cheapest
    tenant: testers
limits:
  max_prompt_chars: 5000
  max_batch_prompts: 400
policy:
  name: lp
  max_mean_cost_usd: 2.5e-3
  unsure:
    ood_above: 0.5
    choose: large
"""
SECOND = FIRST.replace("usd: 50", "usd: 65").replace("5000", "7000").replace("2.5e-3", "3.5e-3")


def write_config(folder: Path, text: str = FIRST) -> Path:
    """Writes the settings, and what they name."""
    tiny_settings(folder)
    # The rule for unknown prompts needs a predictor that tells them.
    shutil.rmtree(folder / "predictor")
    write_tiny_table_artifact(folder / "predictor")
    path = folder / "config.yaml"
    path.write_text(text)
    return path


async def promises(stub: Any) -> tuple[Any, ...]:
    """Returns what the service holds to: its budgets and its limits."""
    budgets = (await stub.GetBudget(budget_pb2.GetBudgetRequest(), timeout=HANG_S)).budgets
    info = await stub.GetInfo(info_pb2.GetInfoRequest(), timeout=HANG_S)
    terms = [(one.name, one.tenant, one.limit_usd, one.period_s) for one in budgets]
    return (
        sorted(terms),
        info.max_prompt_chars,
        info.max_batch_prompts,
        info.max_mean_cost_usd,
        info.policy_version,
    )


async def test_no_beginning_of_a_settings_file_is_taken_for_the_whole(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    source = SettingsSource(path)
    async with serving(source.read()) as running:
        before = await promises(running.stub)
        assert len(before[0]) == 3
        for length in range(len(SECOND)):
            path.write_text(SECOND[:length])
            async with asyncio.timeout(HANG_S):
                outcome = await running.service.reloader.start(source.read_finished)
            assert outcome == "refused", SECOND[:length]
        assert await promises(running.stub) == before
        path.write_text(SECOND)
        async with asyncio.timeout(HANG_S):
            assert await running.service.reloader.start(source.read_finished) == "switched"
        after = await promises(running.stub)
        assert after[0] == sorted([("everyone", "", 65.0, 86_400.0), *before[0][1:]])
        assert after[1:4] == (7000, 400, 3.5e-3)


POOL = {
    "models": [
        {
            **SPECS[0],
            "usd_per_1m_cache_write_tokens": 0.125,
            "usd_per_request": 2.5e-4,
            "tiers": [
                {
                    "above_input_tokens": 2000,
                    "usd_per_1m_input_tokens": 12.5,
                    "usd_per_1m_output_tokens": 22.5,
                    "usd_per_1m_cache_write_tokens": 14.5,
                    "usd_per_1m_reasoning_tokens": 32.5,
                },
            ],
            "hours": [{"start": "00:00", "end": "24:00", "multiplier": 2.5}],
            "service_tiers": {"priority": 2.5, "batch": 0.5},
        },
        {**SPECS[1], "usd_per_1m_cache_write_tokens": 1.5, "usd_per_request": 2.5e-4},
        SPECS[2],
    ]
}


async def test_no_beginning_of_a_pool_file_makes_a_model_cheaper(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, policy={"max_mean_cost_usd": 0.1})
    path = tmp_path / "pool.yaml"
    # The names stand first, so that all else of a model can be cut off.
    text = yaml.safe_dump(POOL, sort_keys=False)
    path.write_text(text)
    async with serving(settings) as running:

        async def prices() -> dict[str, Any]:
            reply = await running.route("easy", explain=True)
            return {one.model: one.predicted_cost_usd for one in reply.candidates}

        before, taken = await prices(), set()
        for length in range(len(text)):
            path.write_text(text[:length])
            async with asyncio.timeout(HANG_S):
                outcome = await running.service.reloader.start(lambda: settings)
            if outcome != "refused":
                now = await prices()
                assert {name: before[name] for name in now} == now, text[:length]
                taken.add(tuple(now))
        # Models may come and go: where a file ends behind one of them, it is a smaller pool.
        assert all("small" in names for names in taken)
        said = {one["models"] for one in running.logs if one["event"] == "models left the pool"}
        assert said == {"medium, large"}
        path.write_text(text)
        async with asyncio.timeout(HANG_S):
            await running.service.reloader.start(lambda: settings)
        assert await prices() == before


@pytest.mark.parametrize(
    ("drop", "named"),
    [
        (("usd_per_request",), "usd_per_request of model small"),
        (("tiers", 0, "usd_per_1m_reasoning_tokens"), "tiers[0].usd_per_1m_reasoning_tokens of"),
        (("tiers",), "tiers[0].usd_per_1m_input_tokens of model small"),
        (("hours",), "hours[0].start of model small"),
        (("service_tiers", "priority"), "service_tiers.priority of model small"),
    ],
)
async def test_a_price_that_is_no_longer_told_is_kept_unless_confirmed(
    tmp_path: Path, drop: tuple[Any, ...], named: str
) -> None:
    settings = tiny_settings(tmp_path, policy={"max_mean_cost_usd": 0.1})
    path = tmp_path / "pool.yaml"
    path.write_text(yaml.safe_dump(POOL))
    async with serving(settings) as running:
        less = orjson.loads(orjson.dumps(POOL))
        part = less["models"][0]
        for key in drop[:-1]:
            part = part[key]
        del part[drop[-1]]
        path.write_text(yaml.safe_dump(less))
        async with asyncio.timeout(HANG_S):
            reloader = running.service.reloader
            assert await reloader.start(lambda: settings) == "refused"
            (line,) = [one for one in running.logs if one.get("outcome") == "refused"]
            assert line["detail"].startswith(f"this would remove {named}")
            assert await reloader.start(lambda: settings, confirmed=True) == "switched"
            assert await reloader.start(lambda: settings) == "unchanged"


async def outcome_of(serve: Process) -> dict[str, Any]:
    """Reads the log up to the next reload, and returns its line."""
    assert serve.stderr is not None
    line: dict[str, Any] = {}
    async with asyncio.timeout(HANG_S):
        while line.get("event") != "reload":
            line = orjson.loads(await serve.stderr.readline())
    return line


def in_place(path: Path, text: str) -> None:
    """Cuts the file off, or adds to it: in one step, so that no look finds it half done."""
    before = path.read_text()
    if before.startswith(text):
        os.truncate(path, len(text.encode()))
        return
    assert text.startswith(before)
    with path.open("a") as file:
        file.write(text.removeprefix(before))


def by_rename(path: Path, text: str) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.rename(path)


@pytest.mark.parametrize("write", [in_place, by_rename])
async def test_a_watched_file_that_is_written_in_steps_is_taken_at_its_end(
    tmp_path: Path, write: Callable[[Path, str], None]
) -> None:
    path = write_config(tmp_path)
    async with process(*ROUTOO, "serve", "--config", str(path)) as serve:
        address = (await line_of(serve, "ready ")).split()[1]
        async with connected(address) as channel:
            stub = RouterServiceStub(channel)
            before = await promises(stub)
            for end in (0, SECOND.index("  - {name: team-a"), SECOND.index("5.0e-1") + 3):
                write(path, SECOND[:end])
                assert (await outcome_of(serve))["outcome"] == "refused"
                assert await promises(stub) == before
            write(path, SECOND)
            assert (await outcome_of(serve))["outcome"] == "switched"
            after = await promises(stub)
            assert after[1:4] == (7000, 400, 3.5e-3)
            # Said in so many words, or confirmed, everything may go.
            write(path, SECOND.partition("budgets:")[0])
            assert (await outcome_of(serve))["outcome"] == "refused"
            assert await promises(stub) == after
            serve.send_signal(signal.SIGUSR1)
            assert (await outcome_of(serve))["outcome"] == "switched"
            assert (await promises(stub))[0] == []
        serve.terminate()
        assert await exit_code(serve) == 0


async def test_no_file_of_variables_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_config(tmp_path)
    (tmp_path / ".env").write_text("ROUTOO_LIMITS__MAX_PROMPT_CHARS=1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROUTOO_LIMITS__MAX_BATCH_PROMPTS", "300")
    source = SettingsSource(path)
    async with serving(source.read()) as running:
        before = await promises(running.stub)
        assert before[1:3] == (5000, 300)
        # What the environment says stays, whatever the file lost.
        path.write_text(FIRST.replace("  max_batch_prompts: 400\n", ""))
        async with asyncio.timeout(HANG_S):
            assert await running.service.reloader.start(source.read_finished) == "unchanged"
        assert await promises(running.stub) == before


def children_of(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_a_worker_that_starts_again_holds_to_what_the_others_serve_with(
    tmp_path: Path,
) -> None:
    path = write_config(
        tmp_path, FIRST.partition("budgets:")[0] + "limits: {max_prompt_chars: 9}\n"
    )
    whole = path.read_text()
    serving_two = (*ROUTOO, "serve", "--config", str(path), "--workers", "2")
    async with process(*serving_two) as supervisor, asyncio.timeout(4 * HANG_S):
        address = (await line_of(supervisor, "ready ", 4 * HANG_S)).split()[1]
        assert supervisor.stderr is not None
        path.write_text("reload: {watch: true, interval_s: 0.02}\n")
        os.kill(children_of(supervisor.pid)[0], signal.SIGKILL)
        line = b""
        while not line.startswith(b"error: "):
            line = await supervisor.stderr.readline()
        assert b"limits.max_prompt_chars" in line
        assert b"predictor.artifact" in line
        path.write_text(whole)
        while b"worker serves again" not in line:
            line = await supervisor.stderr.readline()
        async with connected(address) as channel:
            assert (await promises(RouterServiceStub(channel)))[1] == 9
        supervisor.terminate()
        assert await exit_code(supervisor) == 0


@pytest.mark.parametrize("file", ["config.yaml", "pool.yaml"])
async def test_the_check_of_a_configuration_tells_what_a_reload_would_refuse(
    tmp_path: Path, file: str
) -> None:
    path = write_config(tmp_path)

    async def findings() -> list[str]:
        async with process(*ROUTOO, "check-config", str(path), "--json") as check:
            out, _ = await check.communicate()
        assert check.returncode == 0
        found = [str(one) for one in orjson.loads(out)["findings"]]
        return [one for one in found if "a reload would not" in one]

    assert await findings() == []
    (tmp_path / file).write_text((tmp_path / file).read_text().rstrip("\n"))
    (warning,) = await findings()
    assert warning.startswith("warning: a start takes this, a reload would not: ")
    assert f"{file}: the last line has no line end" in warning
