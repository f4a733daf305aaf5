"""Several worker processes on one port act as one service for callers, operator and metrics."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import grpc
import grpc.aio
import pytest
from prometheus_client.parser import text_string_to_metric_families

from routoo.api.worker_address import WorkerAddress
from routoo.config.loading import load_settings
from routoo.errors import ConfigError
from routoo.server.assembly import check
from routoo.server.private_folder import private_folder
from routoo.v1 import budget_pb2, outcome_pb2, route_pb2
from routoo.v1.router_pb2_grpc import RouterServiceStub
from support.access_log import entry, tell
from support.peers.redis_server import RedisServer
from support.processes.process import ROUTOO, exit_code, line_of, process, write_tiny_config
from support.processor_stream import headers_of, stream
from support.tiny_service import connected, refusal
from support.watched import HANG_S

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator
    from pathlib import Path

METRICS = {"enabled": True, "listen": "127.0.0.1:0"}
USAGE = '{"prompt_tokens": 10, "completion_tokens": 5}'
# Enough connections to reach both workers: each connection stays with one worker.
MOST_CONNECTIONS = 64
# Long enough to start three interpreters one after the other on a busy machine.
START_S = 4 * HANG_S


@asynccontextmanager
async def serving(folder: Path, **changes: Any) -> AsyncIterator[tuple[Process, str, str]]:
    """Starts two workers; yields the supervisor, the address, and the metrics page's address."""
    config = write_tiny_config(folder, workers=2, metrics=METRICS, **changes)
    async with process(*ROUTOO, "serve", "--config", str(config)) as supervisor:
        words = (await line_of(supervisor, "ready ", START_S)).split()
        said = dict(word.split("=", 1) for word in words[2:])
        assert (said["workers"], said["pid"]) == ("2", str(supervisor.pid))
        yield supervisor, words[1], said["metrics"]


def route(stub: Any, prompt: str = "easy") -> Any:
    return stub.Route(route_pb2.RouteRequest(prompt=prompt), timeout=HANG_S)


async def one_stub_per_worker(stack: AsyncExitStack, address: str) -> dict[str, Any]:
    """Returns a stub for each worker, by the prefix of the worker's decision ids."""
    return (await counted_stubs(stack, address))[0]


async def counted_stubs(stack: AsyncExitStack, address: str) -> tuple[dict[str, Any], int]:
    """Returns a stub for each worker, and how many calls it took to find them."""
    stubs: dict[str, Any] = {}
    for calls in range(MOST_CONNECTIONS):
        if len(stubs) == 2:
            return stubs, calls
        stub = RouterServiceStub(await stack.enter_async_context(connected(address)))
        stubs.setdefault((await route(stub)).decision_id.partition("-")[0], stub)
    raise AssertionError(f"{MOST_CONNECTIONS} connections went to one worker")


async def samples(page: str, workers: int = 2, **labels: str) -> dict[str, float]:
    """Returns the samples of the page that have these labels, summed over all other labels.

    Reads it until so many workers are up: the page does not wait for those that are slow to tell
    what they have counted.
    """

    def read() -> str:
        with urlopen(f"http://{page}/metrics", timeout=HANG_S) as answer:
            return str(answer.read().decode())

    text = ""
    while f"\nroutoo_workers_up {workers:.1f}\n" not in text:
        text = await asyncio.to_thread(read)
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if not labels.items() <= sample.labels.items():
                continue
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


async def test_two_workers_are_one_service(tmp_path: Path) -> None:
    async with (
        serving(tmp_path) as (supervisor, address, page),
        AsyncExitStack() as stack,
        asyncio.timeout(START_S),
    ):
        stubs = await one_stub_per_worker(stack, address)
        first, second = stubs.values()
        decided = (await samples(page))["routoo_decisions_total"]
        replies = [await route(stub) for stub in (first, second)]
        assert (await samples(page))["routoo_decisions_total"] == decided + 2
        # Decisions of one worker are reported and escalated through the other.
        for reply, other in zip(replies, (second, first), strict=True):
            report = outcome_pb2.ReportOutcomeRequest(decision_id=reply.decision_id, score=0.5)
            assert (await other.ReportOutcome(report)).accepted
            assert not (await other.ReportOutcome(report)).accepted
            weighed = await other.Escalate(
                outcome_pb2.EscalateRequest(decision_id=reply.decision_id)
            )
            assert weighed.kept_score >= 0
            unknown = outcome_pb2.EscalateRequest(
                decision_id=reply.decision_id, answered_models=["nobody"]
            )
            code, text = await refusal(other.Escalate(unknown))
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert "nobody" in text
        read = await samples(page)
        assert read["routoo_scored_outcomes_total"] == 2
        assert read["routoo_serving"] == 1
        # A reload reaches both workers.
        write_tiny_config(tmp_path, workers=2, metrics=METRICS, policy={"name": "cheapest"})
        supervisor.send_signal(signal.SIGHUP)
        for stub in (first, second):
            while not (await route(stub, "hard")).policy_version.startswith("cheapest"):
                pass
        supervisor.terminate()
        assert await exit_code(supervisor) == 0


async def test_envoys_log_reaches_the_worker_that_decided(tmp_path: Path) -> None:
    processor = {"enabled": True, "usage_from": "access_log"}
    async with (
        serving(tmp_path, processor=processor) as (_, address, page),
        AsyncExitStack() as stack,
        asyncio.timeout(START_S),
    ):
        decided: dict[str, tuple[grpc.aio.Channel, str]] = {}
        for _ in range(MOST_CONNECTIONS):
            channel = await stack.enter_async_context(connected(address))
            async with stream(channel) as one:
                told = headers_of((await one.routed()).request_body.response.header_mutation)
                assert await one.ended() == grpc.StatusCode.OK
            decision_id = told["x-routoo-decision-id"]
            decided.setdefault(decision_id.partition("-")[0], (channel, decision_id))
            if len(decided) == 2:
                break
        (first, of_first), (second, of_second) = decided.values()
        await tell(first, entry(of_second, USAGE))
        await tell(second, entry(of_first, USAGE), entry(of_first, USAGE))
        assert (await samples(page, result="read"))["routoo_http_replies_total"] == 2


async def test_the_log_settles_decisions_of_workers_that_were_killed(tmp_path: Path) -> None:
    processor = {"enabled": True, "usage_from": "access_log"}
    budgets = [{"name": "all", "usd": 1000.0, "per": "365d"}]
    with RedisServer(tmp_path) as redis:
        ledger = {"backend": "redis", "redis_url": redis.url, "redis_timeout_s": HANG_S}
        async with (
            serving(tmp_path, processor=processor, budgets=budgets, ledger=ledger) as (
                supervisor,
                address,
                page,
            ),
            AsyncExitStack() as stack,
            asyncio.timeout(START_S),
        ):
            channel = await stack.enter_async_context(connected(address))
            async with stream(channel) as one:
                told = headers_of((await one.routed()).request_body.response.header_mutation)
                assert await one.ended() == grpc.StatusCode.OK
            for killed, worker in enumerate(_children(supervisor.pid), start=1):
                os.kill(worker, signal.SIGKILL)
                while (await samples(page)).get("routoo_worker_restarts_total", 0) < killed:
                    pass
            logged = entry(told["x-routoo-decision-id"], USAGE)
            logged.request.request_headers["x-routoo-model"] = told["x-routoo-model"]
            stubs = await one_stub_per_worker(stack, address)
            again = await stack.enter_async_context(connected(address))
            await tell(again, logged)
            prices = {"small": (0.1, 0.2), "medium": (1, 2), "large": (10, 30)}
            read, written = prices[told["x-routoo-model"]]
            served_usd = (10 * read + 5 * written) * 1e-6
            stub = next(iter(stubs.values()))
            while True:
                (budget,) = (await stub.GetBudget(budget_pb2.GetBudgetRequest())).budgets
                if budget.settled_usd:
                    break
            assert budget.settled_usd == pytest.approx(served_usd, abs=2e-9)


async def test_two_workers_keep_one_limit_per_client_over_restarts_and_reloads(
    tmp_path: Path,
) -> None:
    most = 2 * MOST_CONNECTIONS
    limits = {"max_concurrent": 3, "prompts_per_s": 1e-6, "burst_prompts": most}
    changes = {"security": {"per_client": limits}}
    async with (
        serving(tmp_path, **changes) as (supervisor, address, page),
        AsyncExitStack() as stack,
        asyncio.timeout(START_S),
    ):
        stubs, taken = await counted_stubs(stack, address)
        first, second = stubs.values()
        # A call in progress counts wherever it is, and one worker alone may have all of them.
        for shares in ((first, second, first), (second, second, second)):
            held = [await open_stream(stub) for stub in shares]
            taken += 2 * len(held)
            for stub in (first, second):
                code, text = await refusal(route(stub))
                assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert text.startswith("3 calls of yours are in progress")
            for one in held:
                await one.done_writing()
                assert await one.code() is grpc.StatusCode.OK
        held = [await open_stream(stub) for stub in (first, first, second)]
        taken += 2 * len(held)
        for killed, worker in enumerate(_children(supervisor.pid), start=1):
            os.kill(worker, signal.SIGKILL)
            while (await samples(page)).get("routoo_worker_restarts_total", 0) < killed:
                pass
        supervisor.send_signal(signal.SIGHUP)
        while (await samples(page, outcome="unchanged")).get("routoo_reloads_total", 0) < 2:
            pass
        # The calls in progress have ended with their workers, and what was taken is still taken.
        stubs, again = await counted_stubs(stack, address)
        first, second = stubs.values()
        taken += again
        while (code := await status(first)) is grpc.StatusCode.OK:
            taken += 1
        assert (code, taken) == (grpc.StatusCode.RESOURCE_EXHAUSTED, most)
        assert await status(second) is code


async def open_stream(stub: Any) -> Any:
    """Opens a stream, on which one request was answered: two prompts for the limits."""
    call = stub.RouteStream(timeout=HANG_S)
    await call.write(route_pb2.RouteRequest(prompt="easy"))
    assert (await call.read()).model == "small"
    return call


async def status(stub: Any) -> grpc.StatusCode:
    """Returns the status of a call."""
    call = route(stub)
    code: grpc.StatusCode = await call.code()
    return code


async def test_reports_that_were_capped_are_shown_of_all_workers(tmp_path: Path) -> None:
    budgets = [{"name": "all", "usd": 1000.0, "per": "365d"}]
    with RedisServer(tmp_path) as redis:
        ledger = {"backend": "redis", "redis_url": redis.url, "redis_timeout_s": HANG_S}
        async with (
            serving(tmp_path, budgets=budgets, ledger=ledger) as (_, address, page),
            AsyncExitStack() as stack,
            asyncio.timeout(START_S),
        ):
            stubs = (await one_stub_per_worker(stack, address)).values()
            for stub in stubs:
                decision_id = (await route(stub)).decision_id
                told = outcome_pb2.ReportOutcomeRequest(decision_id=decision_id, cost_usd=1000.0)
                assert (await stub.ReportOutcome(told)).accepted
            for stub in stubs:
                (budget,) = (await stub.GetBudget(budget_pb2.GetBudgetRequest())).budgets
                assert budget.capped_reports == 2
                assert budget.capped_usd == pytest.approx(2000.0, rel=1e-3)
                assert budget.settled_usd < 1.0
            assert (await samples(page))["routoo_capped_reports_total"] == 2


async def test_two_workers_spend_one_budget_together(tmp_path: Path) -> None:
    limit_usd = 0.05
    budgets = [{"name": "all", "usd": limit_usd, "per": "365d", "on_exhausted": "refuse"}]
    with RedisServer(tmp_path) as redis:
        ledger = {"backend": "redis", "redis_url": redis.url, "redis_timeout_s": HANG_S}
        async with (
            serving(tmp_path, budgets=budgets, ledger=ledger) as (_, address, _),
            AsyncExitStack() as stack,
            asyncio.timeout(START_S),
        ):
            stubs = list((await one_stub_per_worker(stack, address)).values())

            async def spend(stub: Any) -> float:
                """Routes an expensive prompt; returns its cost."""
                request = route_pb2.RouteRequest(prompt="hard", allowed_models=["large"])
                reply = await stub.Route(request, timeout=HANG_S)
                return float(reply.predicted_cost_usd)

            async def spend_all(stub: Any) -> tuple[float, grpc.StatusCode]:
                """Goes on until it is refused; returns the cost and the error."""
                spent_usd = 0.0
                while True:
                    try:
                        spent_usd += await spend(stub)
                    except grpc.aio.AioRpcError as error:
                        return spent_usd, error.code()

            # One each before, as the faster one may spend all the rest.
            spent_usd = sum([await spend(stub) for stub in stubs])
            ends = await asyncio.gather(*map(spend_all, stubs))
            spent_usd += sum(cost_usd for cost_usd, _ in ends)
            assert {code for _, code in ends} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
            for stub in stubs:
                (budget,) = (await stub.GetBudget(budget_pb2.GetBudgetRequest())).budgets
                assert spent_usd <= budget.reserved_usd <= limit_usd


async def test_a_worker_that_is_killed_is_started_again_and_stopping_loses_nothing(
    tmp_path: Path,
) -> None:
    async with (
        serving(tmp_path) as (supervisor, address, page),
        AsyncExitStack() as stack,
        asyncio.timeout(START_S),
    ):
        killed = next(iter(_children(supervisor.pid)))
        os.kill(killed, signal.SIGKILL)
        while (await samples(page))["routoo_worker_restarts_total"] < 1:
            pass
        stubs = await one_stub_per_worker(stack, address)
        stop = asyncio.Event()
        answered: list[str] = []

        async def load(stub: Any) -> grpc.StatusCode:
            while True:
                try:
                    answered.append((await route(stub)).model)
                except grpc.aio.AioRpcError as error:
                    code: grpc.StatusCode = error.code()
                    return code
                if len(answered) > 50:
                    stop.set()

        streams = [stub.RouteStream(timeout=HANG_S) for stub in stubs.values()]
        for stream in streams:
            await stream.write(route_pb2.RouteRequest(prompt="easy", request_id="first"))
            assert (await stream.read()).request_id == "first"
        callers = [asyncio.create_task(load(stub)) for stub in stubs.values() for _ in range(4)]
        await stop.wait()
        supervisor.terminate()
        # Every caller ends with a refusal: its accepted requests were answered.
        assert set(await asyncio.gather(*callers)) == {grpc.StatusCode.UNAVAILABLE}
        assert await exit_code(supervisor) == 0


async def test_a_worker_that_is_frozen_is_replaced(tmp_path: Path) -> None:
    async with (
        serving(tmp_path) as (supervisor, address, page),
        AsyncExitStack() as stack,
        asyncio.timeout(START_S),
    ):
        stubs = await one_stub_per_worker(stack, address)
        for stub in stubs.values():
            await route(stub)
        before = await samples(page)
        frozen = _children(supervisor.pid)[0]
        os.kill(frozen, signal.SIGSTOP)
        # What a frozen worker has counted stays on the page until it is replaced.
        during = await samples(page, workers=1)
        assert during["routoo_decisions_total"] == before["routoo_decisions_total"]
        while (await samples(page))["routoo_worker_restarts_total"] < 1:
            pass
        assert frozen not in _children(supervisor.pid)
        async with AsyncExitStack() as anew:
            assert len(await one_stub_per_worker(anew, address)) == 2


async def test_a_reload_during_the_start_is_done_after_it(tmp_path: Path) -> None:
    config = write_tiny_config(tmp_path, workers=2)
    async with process(*ROUTOO, "serve", "--config", str(config)) as supervisor:
        async with asyncio.timeout(START_S):
            while not _children(supervisor.pid):  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0.01)
            os.kill(supervisor.pid, signal.SIGHUP)
            words = (await line_of(supervisor, "ready ", START_S)).split()
            assert supervisor.stderr is not None
            while b"reload" not in await supervisor.stderr.readline():
                pass
        async with connected(words[1]) as channel:
            assert (await route(RouterServiceStub(channel))).model


def test_the_folder_of_a_supervisor_that_was_killed_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, other = tmp_path / "routoo-left", tmp_path / "routoo-other"
    for folder in (left, other):
        folder.mkdir()
    (left / "lock").touch()
    with private_folder() as first, private_folder() as second:
        assert first != second
        assert first.stat().st_mode & 0o777 == 0o700
        # Without the file it is nobody's that is known here.
        assert {one.name for one in tmp_path.iterdir()} == {first.name, second.name, other.name}
    assert list(tmp_path.iterdir()) == [other]


def test_no_place_for_the_folder_of_a_supervisor_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="mount a writable one at /tmp"), private_folder():
        pass


async def test_workers_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    async with serving(tmp_path) as (supervisor, _, _), asyncio.timeout(HANG_S):
        workers = [os.pidfd_open(pid) for pid in _children(supervisor.pid)]
        assert len(workers) == 2
        supervisor.kill()
        for worker in workers:
            # A pidfd becomes readable when its process has ended.
            ended, _, _ = await asyncio.to_thread(select.select, [worker], [], [], HANG_S)
            os.close(worker)
            assert ended


async def test_a_mistake_is_said_once(tmp_path: Path) -> None:
    config = write_tiny_config(tmp_path, workers=2, policy={"max_mean_cost_usd": 1e-9})
    async with process(*ROUTOO, "serve", "--config", str(config)) as supervisor:
        out, err = await supervisor.communicate()
        assert supervisor.returncode == 2
    assert out == b""
    (line,) = err.decode().splitlines()
    assert "max_mean_cost_usd" in line


def test_budgets_in_memory_are_not_split_among_workers(tmp_path: Path) -> None:
    day = {"name": "day", "usd": 1.0, "per": "365d"}
    config = write_tiny_config(tmp_path, workers=2, budgets=[day])
    with pytest.raises(ConfigError, match=r"set ledger\.backend: redis, or workers: 1"):
        check(load_settings(config))


def test_an_id_says_whose_it_is(tmp_path: Path) -> None:
    places = [WorkerAddress(tmp_path, "0123abcd", index, 256) for index in (0, 1, 255)]
    for place in places:
        for other in places:
            owner = place.other_owner(f"{other.id_prefix()}-1")
            assert owner == (None if other is place else other.index)
        for strange in ("", "0123abcd", "0123abcdxyz-1", "ffffabcd001aaaaaa-1"):
            assert place.other_owner(strange) is None


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:  # noqa: PTH123
        return [int(child) for child in children.read().split()]
