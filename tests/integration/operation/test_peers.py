"""Workers forward calls over private sockets to the same handlers, and return their statuses."""

from __future__ import annotations

import asyncio
import stat
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from routoo.api.peers import PeerAwayError, Peers
from routoo.api.service import SERVICE
from routoo.api.status import ForwardedError
from routoo.api.worker_address import WorkerAddress
from routoo.server.service import Service
from routoo.server.sockets.metrics_page import WorkerAwayError, read_page
from routoo.v1 import outcome_pb2
from routoo.v1.router_pb2_grpc import RouterServiceStub
from support.tiny_service import Running, connected, tiny_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

REPORT, ESCALATE = f"/{SERVICE}/ReportOutcome", f"/{SERVICE}/Escalate"


@asynccontextmanager
async def two_workers(folder: Path) -> AsyncIterator[tuple[Running, Running, WorkerAddress]]:
    """Starts two workers in this process, without a supervisor; yields the first one's address."""
    address = WorkerAddress(folder, "0123abcd", 0, 3)
    settings = tiny_settings(folder)
    services = [await Service.start(settings, address.beside(index)) for index in (0, 1)]
    try:
        async with connected(services[0].address) as one, connected(services[1].address) as other:
            first, second = (
                Running(service, channel, RouterServiceStub(channel), [])
                for service, channel in zip(services, (one, other), strict=True)
            )
            yield first, second, address
    finally:
        for service in services:
            await service.stop()


async def test_a_call_about_anothers_decision_is_answered_there(tmp_path: Path) -> None:
    async with two_workers(tmp_path) as (first, second, _):
        decision_id = (await first.route()).decision_id
        report = outcome_pb2.ReportOutcomeRequest(decision_id=decision_id, score=0.5)
        assert (await second.stub.ReportOutcome(report)).accepted
        assert not (await first.stub.ReportOutcome(report)).accepted


async def test_a_worker_that_is_slow_to_take_a_connection_is_not_away(tmp_path: Path) -> None:
    came, go = asyncio.Event(), asyncio.Event()

    async def pass_on(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):  # at the end
            while part := await source.read(65536):
                to.write(part)
                await to.drain()
        to.close()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set()
        await go.wait()
        its_reader, its_writer = await asyncio.open_unix_connection(behind)
        await asyncio.gather(pass_on(reader, its_writer), pass_on(its_reader, writer))

    async with two_workers(tmp_path) as (first, second, address), asyncio.timeout(HANG_S):
        decision_id = (await first.route()).decision_id
        behind = address.calls_socket.rename(tmp_path / "behind")
        async with await asyncio.start_unix_server(late, address.calls_socket):
            report = outcome_pb2.ReportOutcomeRequest(decision_id=decision_id, score=0.5)
            reporting = asyncio.ensure_future(second.stub.ReportOutcome(report))
            await came.wait()
            # Of a machine that is busy, a process may stand still for as long.
            await asyncio.wait((reporting,), timeout=0.5)
            go.set()
            assert (await reporting).accepted


async def test_a_refusal_arrives_as_it_was_made(tmp_path: Path) -> None:
    async with two_workers(tmp_path) as (first, second, _):
        decision_id = (await first.route()).decision_id
        wrong: dict[str, Any] = {"decision_id": decision_id, "answered_models": ["nobody"]}
        said = []
        for stub in (first.stub, second.stub):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.Escalate(outcome_pb2.EscalateRequest(**wrong))
            said.append((refused.value.code(), refused.value.details()))
        assert said[0] == said[1]
        assert said[0][0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_worker_that_has_ended_is_away(tmp_path: Path) -> None:
    peers = Peers(WorkerAddress(tmp_path, "0123abcd", 0, 3))
    try:
        with pytest.raises(PeerAwayError):
            await peers.ask(1, REPORT, b"", None)
    finally:
        await peers.close()
    with pytest.raises(WorkerAwayError):
        read_page(WorkerAddress(tmp_path, "0123abcd", 1, 3).metrics_socket)


async def test_a_decision_of_a_worker_that_has_ended_is_one_that_nobody_knows(
    tmp_path: Path,
) -> None:
    async with two_workers(tmp_path) as (_, second, _):
        lost = "0123abcd002aaaaaa-00000000-1"  # the third worker was never started
        report = outcome_pb2.ReportOutcomeRequest(decision_id=lost, score=0.5)
        assert not (await second.stub.ReportOutcome(report)).accepted


async def test_a_tenant_is_confined_by_the_worker_that_asked_who_calls(tmp_path: Path) -> None:
    async with two_workers(tmp_path) as (first, _, address):
        decision_id = (await first.route(tenant="größe")).decision_id
        body = outcome_pb2.EscalateRequest(decision_id=decision_id).SerializeToString()
        peers = Peers(address.beside(1))
        try:
            with pytest.raises(ForwardedError, match="is not open here"):
                await peers.ask(0, ESCALATE, body, "other")
            assert await peers.ask(0, ESCALATE, body, "größe")
            assert await peers.ask(0, ESCALATE, body, None)
        finally:
            await peers.close()


async def test_a_worker_that_there_is_not_is_nobodys(tmp_path: Path) -> None:
    async with two_workers(tmp_path) as (_, second, address):
        for index in (*range(3, 40), 0xFFF):
            forged = f"0123abcd{index:03x}aaaaaa-00000000-1"
            assert address.other_owner(forged) is None
            report = outcome_pb2.ReportOutcomeRequest(decision_id=forged, score=0.5)
            assert not (await second.stub.ReportOutcome(report)).accepted
        peers = second.service._peers
        assert peers is not None
        # A channel to each would be kept, and would try to connect for ever.
        assert not peers._channels


async def test_a_long_tenant_is_handed_on(tmp_path: Path) -> None:
    async with two_workers(tmp_path) as (first, _, address):
        tenant = "ü" * 20_000
        decision_id = (await first.route(tenant=tenant)).decision_id
        body = outcome_pb2.EscalateRequest(decision_id=decision_id).SerializeToString()
        peers = Peers(address.beside(1))
        try:
            assert await peers.ask(0, ESCALATE, body, tenant)
        finally:
            await peers.close()


async def test_the_sockets_are_the_owners_alone(tmp_path: Path) -> None:
    async with two_workers(tmp_path) as (_, _, address):
        for path in (address.calls_socket, address.metrics_socket):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        page = await asyncio.to_thread(read_page, address.metrics_socket)
        assert "routoo_serving 1.0" in page
