"""A service without file descriptors says so, serves on, and recovers."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from routoo.v1 import route_pb2
from routoo.v1.router_pb2_grpc import RouterServiceStub
from support.processes.process import exit_code, line_of, process, write_tiny_config
from support.tiny_service import connected
from support.watched import HANG_S

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from pathlib import Path

MOST = 200


def with_descriptors(most: int) -> tuple[str, str]:
    """The command ``routoo`` with a limit of file descriptors."""
    limit = f"resource.setrlimit(resource.RLIMIT_NOFILE, ({most}, {most}))"
    return "-c", f"import resource, sys; {limit}; from routoo.cli import main; sys.exit(main())"


async def event(running: Process, name: str, seen: list[dict[str, Any]]) -> dict[str, Any]:
    """Reads the log up to an event, and notes what it has read."""
    assert running.stderr is not None
    async with asyncio.timeout(HANG_S):
        async for line in running.stderr:
            seen.append(json.loads(line))
            if seen[-1]["event"] == name:
                return seen[-1]
    raise AssertionError(f"no {name} in {seen}")


async def test_it_says_so_once_and_takes_connections_again(tmp_path: Path) -> None:
    config = str(write_tiny_config(tmp_path))
    seen: list[dict[str, Any]] = []
    async with process(*with_descriptors(MOST), "serve", "--config", config) as running:
        address = (await line_of(running, "ready ")).split()[1]
        host, _, port = address.rpartition(":")
        async with connected(address) as channel:
            stub, health = RouterServiceStub(channel), health_pb2_grpc.HealthStub(channel)
            await stub.Route(route_pb2.RouteRequest(prompt="easy"), timeout=HANG_S)
            held = [socket.create_connection((host, int(port))) for _ in range(MOST)]
            said = await event(running, "no new connection is accepted", seen)
            assert said["level"] == "error"
            assert said["reason"] == (
                f"all {MOST} file descriptors of the process are in use; raise its limit (ulimit"
                " -n)"
            )
            # Who is connected is served on.
            await stub.Route(route_pb2.RouteRequest(prompt="easy"), timeout=HANG_S)
            component = health_pb2.HealthCheckRequest(service="descriptors")
            state = await health.Check(component, timeout=HANG_S)
            assert state.status == health_pb2.HealthCheckResponse.NOT_SERVING
            for one in held:
                one.close()
            await event(running, "there are file descriptors again", seen)
            state = await health.Check(component, timeout=HANG_S)
            assert state.status == health_pb2.HealthCheckResponse.SERVING
        async with connected(address) as channel:
            call = RouterServiceStub(channel).Route
            await call(route_pb2.RouteRequest(prompt="easy"), timeout=HANG_S)
        running.send_signal(signal.SIGTERM)
        assert await exit_code(running) == 0
    assert sum(one["event"] == "no new connection is accepted" for one in seen) == 1


@pytest.mark.parametrize("most", [40, 100])
async def test_a_start_without_them_names_them_and_not_the_port(tmp_path: Path, most: int) -> None:
    config = str(write_tiny_config(tmp_path))
    async with process(*with_descriptors(most), "serve", "--config", config) as running:
        assert await exit_code(running) == 2
        assert running.stderr is not None
        line = (await running.stderr.read()).decode()
    assert f"all {most} file descriptors of the process are in use" in line
    assert "in use or not allowed" not in line
