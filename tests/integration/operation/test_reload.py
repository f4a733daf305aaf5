"""A running service takes changed files as a whole, after checks, and loses no request."""

from __future__ import annotations

import asyncio
import gc
import signal
import weakref
from typing import TYPE_CHECKING, Any

import grpc.aio
import orjson
import pytest
import structlog.testing
import yaml

from routoo.config.loading import SettingsSource
from routoo.v1 import budget_pb2, info_pb2, outcome_pb2, route_pb2
from routoo.v1.router_pb2_grpc import RouterServiceStub
from support.processes.process import ROUTOO, exit_code, line_of, process, write_tiny_config
from support.tiny_pool import SPECS, write_tiny_pool
from support.tiny_service import connected, serving, table_settings, tiny_settings
from support.watched import HANG_S, watch_accepted, watch_predictor

if TYPE_CHECKING:
    from pathlib import Path

    from routoo.config.settings import Settings
    from support.tiny_service import Running

YEAR = {"name": "year", "usd": 1.0, "per": "365d"}


async def reload(running: Running, settings: Settings) -> str:
    async with asyncio.timeout(HANG_S):
        return await running.service.reloader.start(lambda: settings)


def price_small(folder: Path, usd: float) -> None:
    specs = [{**spec} for spec in SPECS]
    specs[0]["usd_per_1m_output_tokens"] = usd
    # At once, as a service may watch the file.
    beside = folder / "pool.new"
    beside.write_text(yaml.safe_dump({"models": specs}))
    beside.rename(folder / "pool.yaml")


def reloads(running: Running, outcome: str) -> float | None:
    return running.service.metrics.registry.get_sample_value(
        "routoo_reloads_total", {"outcome": outcome}
    )


async def test_prices_and_policies_change_and_the_rest_stays(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path)
    async with serving(settings) as running:
        first = await running.route("easy")
        assert await reload(running, settings) == "unchanged"
        price_small(tmp_path, 0.1)
        assert await reload(running, settings) == "switched"
        second = await running.route("easy")
        assert second.predicted_cost_usd < first.predicted_cost_usd
        assert second.policy_version != first.policy_version
        fixed = {"name": "fixed", "fixed": {"model": "large"}}
        assert await reload(running, tiny_settings(tmp_path, policy=fixed)) == "switched"
        third = await running.route("easy")
        assert third.model == "large"
        prefixes = {one.decision_id.partition("-")[0] for one in (first, second, third)}
        assert len(prefixes) == 1
        info = await running.stub.GetInfo(info_pb2.GetInfoRequest())
        assert info.policy_version == third.policy_version
        assert (reloads(running, "switched"), reloads(running, "unchanged")) == (2, 1)


@pytest.mark.parametrize(
    ("spoil", "piece"),
    [
        (lambda folder: (folder / "pool.yaml").write_text("models: ["), "malformed YAML"),
        (lambda folder: (folder / "pool.yaml").unlink(), "cannot be read"),
        (lambda folder: price_small(folder, -1), "usd_per_1m_output_tokens"),
    ],
)
async def test_a_bad_file_keeps_the_old_one_and_is_counted_and_logged_once(
    tmp_path: Path, spoil: Any, piece: str
) -> None:
    settings = tiny_settings(tmp_path)
    async with serving(settings) as running:
        before = await running.route("easy")
        spoil(tmp_path)
        assert await reload(running, settings) == "refused"
        after = await running.route("easy")
        assert after.policy_version == before.policy_version
        assert reloads(running, "refused") == 1
        (line,) = [one for one in running.logs if one.get("outcome") == "refused"]
        assert piece in line["detail"]
        write_tiny_pool(tmp_path / "pool.yaml")
        assert await reload(running, settings) == "unchanged"


async def test_what_takes_a_restart_is_named_and_the_rest_is_taken(tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path)) as running:
        level = {"log": {"level": "error"}}
        assert await reload(running, tiny_settings(tmp_path, **level)) == "needs_restart"
        both = tiny_settings(tmp_path, **level, batching={"max_queue": 7}, listen="127.0.0.1:1")
        assert await reload(running, both) == "switched_in_part"
        info = await running.stub.GetInfo(info_pb2.GetInfoRequest())
        assert info.max_queue == 7
        named = [one["needs_restart"] for one in running.logs if "needs_restart" in one]
        assert named == ["log.level", "listen, log.level"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, "budget year, budget team-a, policy.max_mean_cost_usd, limits.max_prompt_chars"),
        ({"budgets": [YEAR]}, "budget team-a, policy.max_mean_cost_usd, limits.max_prompt_chars"),
        ({"policy": {"max_mean_cost_usd": 0.5}, "budgets": []}, "limits.max_prompt_chars"),
    ],
)
async def test_a_file_that_lost_its_end_takes_no_budget_and_no_limit_away(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    full = {
        "budgets": [YEAR, {**YEAR, "name": "team-a", "tenant": "a"}],
        "policy": {"max_mean_cost_usd": 0.25},
        "limits": {"max_prompt_chars": 5000},
    }
    async with serving(tiny_settings(tmp_path, **full)) as running:
        wanted = tiny_settings(tmp_path, **changes)
        with structlog.testing.capture_logs() as logs:
            assert await reload(running, wanted) == "refused"
        (line,) = [one for one in logs if one["event"] == "reload"]
        assert line["detail"].startswith(f"this would remove {named}; if that is meant, run")
        budgets = await running.stub.GetBudget(budget_pb2.GetBudgetRequest())
        assert [one.name for one in budgets.budgets] == ["year", "team-a"]
        async with asyncio.timeout(HANG_S):
            confirmed = running.service.reloader.start(lambda: wanted, confirmed=True)
            assert await confirmed == "switched"
        # It was confirmed once, and not for what comes after.
        assert await reload(running, tiny_settings(tmp_path, **full)) == "switched"
        assert await reload(running, wanted) == "refused"


async def test_what_is_said_in_so_many_words_is_no_removal(tmp_path: Path) -> None:
    full = {"budgets": [YEAR], "policy": {"unsure": {"ood_above": 0.5, "choose": "large"}}}
    async with serving(table_settings(tmp_path, **full)) as running:
        wanted = table_settings(tmp_path, budgets=[], policy={"unsure": None})
        assert await reload(running, wanted) == "switched"
        budgets = await running.stub.GetBudget(budget_pb2.GetBudgetRequest())
        assert not budgets.budgets


async def test_requests_in_flight_finish_on_the_engine_that_took_them(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path)
    async with serving(settings) as running:
        old = running.service.engine
        watched, accepted = watch_predictor(old), watch_accepted(running.service)
        watched.hold()
        calls = [asyncio.create_task(running.route("easy")) for _ in range(3)]
        batch = asyncio.create_task(running.batch(["easy"] * 100, budget_usd=1.0))
        await accepted.reached(4)
        price_small(tmp_path, 0.1)
        assert await reload(running, settings) == "switched"
        assert running.service.engine is not old
        after = asyncio.create_task(running.route("easy"))
        watched.release()
        async with asyncio.timeout(HANG_S):
            before = await asyncio.gather(*calls)
            await batch
            assert (await after).predicted_cost_usd < before[0].predicted_cost_usd


async def test_a_stream_goes_on_across_a_reload(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path)
    async with serving(settings) as running:
        stream = running.stub.RouteStream(timeout=HANG_S)
        seen = []
        for usd in (0.2, 0.1, 0.05):
            price_small(tmp_path, usd)
            await reload(running, settings)
            await stream.write(route_pb2.RouteRequest(prompt="easy"))
            seen.append((await stream.read()).predicted_cost_usd)
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        assert seen == sorted(seen, reverse=True)


async def test_money_and_open_decisions_survive(tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path, budgets=[YEAR])) as running:

        async def state() -> Any:
            reply = await running.stub.GetBudget(budget_pb2.GetBudgetRequest())
            (budget,) = reply.budgets
            return budget

        async def settle(decision_id: str) -> bool:
            request = outcome_pb2.ReportOutcomeRequest(decision_id=decision_id, cost_usd=0.005)
            return bool((await running.stub.ReportOutcome(request)).accepted)

        first = await running.route("easy")
        before = await state()
        price_small(tmp_path, 0.1)
        assert await reload(running, tiny_settings(tmp_path, budgets=[YEAR])) == "switched"
        assert (await state()).reserved_usd == before.reserved_usd > 0
        less = {**YEAR, "usd": 0.5}
        assert await reload(running, tiny_settings(tmp_path, budgets=[less])) == "switched"
        after = await state()
        assert (after.limit_usd, after.reserved_usd) == (0.5, before.reserved_usd)
        assert await settle(first.decision_id)
        assert not await settle(first.decision_id)
        assert (await state()).settled_usd == 0.005
        spent = {**YEAR, "usd": 0.004}
        assert await reload(running, tiny_settings(tmp_path, budgets=[spent])) == "switched"
        with pytest.raises(grpc.aio.AioRpcError, match="year"):
            await running.route("easy")
        assert await reload(running, tiny_settings(tmp_path, budgets=[])) == "switched"
        assert not (await running.stub.GetBudget(budget_pb2.GetBudgetRequest())).budgets
        await running.route("easy")


async def test_shadow_counts_go_on(tmp_path: Path) -> None:
    policy = {"shadow": "cheapest"}
    settings = tiny_settings(tmp_path, policy=policy)
    async with serving(settings) as running:
        await running.route("easy")
        price_small(tmp_path, 0.1)
        assert await reload(running, settings) == "switched"
        await running.route("hard")
        info = await running.stub.GetInfo(info_pb2.GetInfoRequest())
        assert info.shadow.decisions == 2


async def test_no_request_fails_while_every_moment_brings_a_reload(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, budgets=[YEAR | {"usd": 1000}])
    async with serving(settings) as running:
        stop = asyncio.Event()
        answered = 0

        async def load() -> None:
            nonlocal answered
            while not stop.is_set():
                reply = await running.route("easy")
                report = outcome_pb2.ReportOutcomeRequest(decision_id=reply.decision_id)
                assert (await running.stub.ReportOutcome(report)).accepted
                answered += 1

        async with asyncio.timeout(HANG_S), asyncio.TaskGroup() as callers:
            for _ in range(8):
                callers.create_task(load())
            for turn in range(12):
                price_small(tmp_path, 0.1 + 0.01 * turn)
                limit = tiny_settings(tmp_path, budgets=[YEAR | {"usd": 1000 + turn % 3}])
                assert await reload(running, limit) == "switched"
            stop.set()
        assert answered > 0
        budgets = (await running.stub.GetBudget(budget_pb2.GetBudgetRequest())).budgets
        assert budgets[0].granted_requests == answered
        assert budgets[0].reserved_usd == 0


async def test_nothing_is_left_of_an_engine_that_was_replaced(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, budgets=[YEAR])
    async with serving(settings) as running:
        await running.route("easy")
        old = weakref.ref(running.service.engine)
        price_small(tmp_path, 0.1)
        assert await reload(running, settings) == "switched"
        await running.route("easy")
        async with asyncio.timeout(HANG_S):
            # Threads may hold the last references to it for a moment.
            while old() is not None:
                gc.collect()
                await asyncio.sleep(0)


async def test_a_watched_file_is_taken_and_sighup_takes_it_at_once(tmp_path: Path) -> None:
    config = write_tiny_config(tmp_path, reload={"watch": True, "interval_s": 0.02})
    async with process(*ROUTOO, "serve", "--config", str(config)) as serve:
        address = (await line_of(serve, "ready ")).split()[1]

        async def outcome() -> Any:
            assert serve.stderr is not None
            line: dict[str, Any] = {}
            while line.get("event") != "reload":
                line = orjson.loads(await serve.stderr.readline())
            return line["outcome"]

        async with asyncio.timeout(HANG_S), connected(address) as channel:
            stub = RouterServiceStub(channel)
            before = await stub.Route(route_pb2.RouteRequest(prompt="easy"))
            price_small(tmp_path, 0.1)
            assert await outcome() == "switched"
            after = await stub.Route(route_pb2.RouteRequest(prompt="easy"))
            assert after.predicted_cost_usd < before.predicted_cost_usd
            config.write_text("lisen: nowhere\n")
            assert await outcome() == "refused"
            serve.send_signal(signal.SIGHUP)
            assert await outcome() == "refused"
        serve.terminate()
        assert await exit_code(serve) == 0


async def test_the_command_ends_no_process_that_takes_no_reloads() -> None:
    async with process("-c", "input()", "routoo") as other:
        for confirm in ([], ["--confirm-removal"]):
            async with process(*ROUTOO, "reload", str(other.pid), *confirm) as command:
                _, error = await command.communicate()
            assert command.returncode == 2
            assert f"process {other.pid} is no service that takes reloads" in error.decode()
        other.terminate()
        assert await exit_code(other) == -signal.SIGTERM


def test_a_source_reads_what_is_there_now(tmp_path: Path) -> None:
    config = tmp_path / "routoo.yaml"
    config.write_text("batching: {max_queue: 1}")
    source = SettingsSource(config, {"listen": "127.0.0.1:3"})
    assert source.read().batching.max_queue == 1
    config.write_text("batching: {max_queue: 2}")
    assert source.read().batching.max_queue == 2
    assert source.read().listen == "127.0.0.1:3"
