"""No call fails while a real Triton server dies, hangs, starts late or is replaced."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from routoo.routing.pool import load_pool
from routoo.v1 import info_pb2
from routoo.v1.router_pb2_grpc import RouterServiceStub
from support.artifacts.tiny_artifact import SCORES, change_manifest, write_tiny_artifact
from support.peers.ports import free_port
from support.peers.real_triton import Triton, add_version, real_triton
from support.processes.process import ROUTOO, line_of, process, write_tiny_config
from support.tiny_service import connected, serving, tiny_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from routoo.config.settings import Settings
    from routoo.v1 import route_pb2
    from support.tiny_service import Running

UP = health_pb2.HealthCheckResponse.SERVING
DOWN = health_pb2.HealthCheckResponse.NOT_SERVING
START_S = 200.0
"""Seconds in which a server has to start and to be in use, on a busy machine."""


@asynccontextmanager
async def started(repository: Path, *arguments: str) -> AsyncIterator[Triton]:
    """Starts a server and stops it afterwards, without blocking the loop."""
    server = real_triton(repository, *arguments)
    running = await asyncio.to_thread(server.__enter__)
    try:
        yield running
    finally:
        await asyncio.to_thread(server.__exit__, None, None, None)


def settings_for(folder: Path, artifact: Path, url: str, **changes: Any) -> Settings:
    """Returns settings with frequent probes, so that tests are short."""
    triton = {"url": url, "first_probe_ms": 50, "longest_probe_ms": 200, **changes}
    return tiny_settings(
        folder, predictor={"backend": "triton", "artifact": artifact, "triton": triton}
    )


async def becomes(running: Running, state: int) -> None:
    """Waits until the health of ``predictor.triton`` is the state."""
    stub = health_pb2_grpc.HealthStub(running.channel)
    request = health_pb2.HealthCheckRequest(service="predictor.triton")
    async with asyncio.timeout(START_S):
        watching = stub.Watch(request)
        async for reply in watching:
            if reply.status == state:
                watching.cancel()
                return


class Load:
    """Callers that call until ``end``; a failing call fails the test."""

    def __init__(self, running: Running, callers: int = 8) -> None:
        self._running = running
        self._stop = False
        self.replies: list[route_pb2.RouteResponse] = []
        self._callers = [asyncio.create_task(self._call()) for _ in range(callers)]

    async def _call(self) -> None:
        while not self._stop:
            self.replies.append(await self._running.route("hard"))
            # Without a pause the calls would take the cores from the server that starts.
            await asyncio.sleep(0.02)

    async def saw(self, version: str, *, degraded: bool) -> None:
        """Waits for a reply of this version that is degraded or not."""
        async with asyncio.timeout(START_S):
            while True:
                reply = await self._running.route("hard")
                self.replies.append(reply)
                if (reply.predictor_version, reply.degraded) == (version, degraded):
                    return
                await asyncio.sleep(0.02)

    async def end(self) -> None:
        self._stop = True
        async with asyncio.timeout(HANG_S):
            await asyncio.gather(*self._callers)
        assert {one.model for one in self.replies} == {"large"}


async def reloaded(running: Running, settings: Settings) -> tuple[str, str]:
    """Reloads the service; returns the outcome, and why where it was refused."""
    outcome = await running.service.reloader.start(lambda: settings)
    told = [one for one in running.logs if one["event"] == "reload"]
    return outcome, told[-1].get("detail", "")


async def test_a_server_that_is_killed_or_hangs_harms_no_call_and_is_taken_back(
    tmp_path: Path,
) -> None:
    repository = tmp_path / "repository"
    artifact = add_version(repository, 1)
    async with started(repository) as triton:
        settings = settings_for(tmp_path, artifact, triton.url)
        async with serving(settings) as running:
            load = Load(running)
            await load.saw("tiny-1+triton.1", degraded=False)
            triton.send(signal.SIGSTOP)
            await load.saw("tiny-1", degraded=True)
            await becomes(running, DOWN)
            triton.send(signal.SIGCONT)
            await becomes(running, UP)
            await load.saw("tiny-1+triton.1", degraded=False)
            triton.send(signal.SIGKILL)
            await load.saw("tiny-1", degraded=True)
            await becomes(running, DOWN)
            port = triton.url.rpartition(":")[2]
            async with started(repository, "--grpc-port", port):
                await becomes(running, UP)
                await load.saw("tiny-1+triton.1", degraded=False)
                await load.end()
            count = running.service.metrics.registry.get_sample_value
            timeouts = {"backend": "triton", "kind": "timeout"}
            assert (count("routoo_predictor_fallbacks_total", timeouts) or 0) >= 1
            assert (count("routoo_predictor_prompts_total", {"backend": "onnx-cpu"}) or 0) >= 1


async def test_a_server_that_comes_later_and_moves_on_to_a_new_version_is_followed(
    tmp_path: Path,
) -> None:
    repository = tmp_path / "repository"
    add_version(repository, 1)
    port = free_port()
    # The setting names the folder of all versions, of which the newest is served.
    settings = settings_for(tmp_path, repository / "predictor", f"127.0.0.1:{port}")
    async with serving(settings) as running:
        load = Load(running, callers=4)
        await load.saw("tiny-1", degraded=True)
        async with started(repository, "--grpc-port", str(port), "--control", "poll"):
            await load.saw("tiny-1+triton.1", degraded=False)
            add_version(repository, 2)
            await load.saw("tiny-2+triton.2", degraded=False)
            await load.end()
        assert running.service.engine.versions.predictor.startswith("tiny-2")


async def test_a_reload_has_the_server_load_the_version_and_serves_the_old_until_then(
    tmp_path: Path,
) -> None:
    repository = tmp_path / "repository"
    add_version(repository, 1)
    async with started(repository) as triton:
        settings = settings_for(
            tmp_path, repository / "predictor", triton.url, control="explicit", timeout_ms=60_000
        )
        async with serving(settings) as running:
            load = Load(running, callers=4)
            await load.saw("tiny-1+triton.1", degraded=False)
            second = add_version(repository, 2)
            model = (second / "model.py").read_text()
            (second / "model.py").write_text("raise RuntimeError('not this one')")
            outcome, detail = await reloaded(running, settings)
            assert outcome == "refused"
            assert "not this one" in detail
            await load.saw("tiny-1+triton.1", degraded=False)
            (second / "model.py").write_text(model)
            assert await reloaded(running, settings) == ("switched", "")
            await load.saw("tiny-2+triton.2", degraded=False)
            assert await reloaded(running, settings) == ("unchanged", "")
            await load.end()
            assert not any(one.degraded for one in load.replies)
            outcome = running.service.metrics.registry.get_sample_value(
                "routoo_predictor_reloads_total", {"outcome": "switched"}
            )
            assert outcome == 1


async def test_health_shows_each_component(tmp_path: Path) -> None:
    artifact = write_tiny_artifact(tmp_path / "predictor")
    settings = settings_for(tmp_path, artifact, "127.0.0.1:1")
    async with serving(settings) as running:
        stub = health_pb2_grpc.HealthStub(running.channel)
        await becomes(running, DOWN)
        for name, state in (("predictor.onnx-cpu", UP), ("predictor.prior", UP), ("", UP)):
            reply = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=HANG_S)
            assert reply.status == state
        reply = await running.route("hard")
        assert (reply.predictor_version, reply.degraded) == ("tiny-1", True)


def unreadable(version: Path) -> None:
    (version / "model.onnx").unlink()


def other_models(version: Path) -> None:
    change_manifest(version, models=["large", "medium", "small"])


def far_off(version: Path) -> None:
    write_tiny_artifact(version, scores=1.0 - SCORES)
    change_manifest(version, predictor_version="tiny-2")


@pytest.mark.parametrize(
    ("spoil", "piece"),
    [
        (unreadable, "model.onnx: cannot be read"),
        (other_models, "predicts other models, or in another order"),
        (far_off, "off those in use on average, 0.05 allowed"),
    ],
)
async def test_a_version_that_is_not_fit_is_refused_and_the_old_one_stays(
    tmp_path: Path, spoil: Any, piece: str
) -> None:
    versions = tmp_path / "versions"
    write_tiny_artifact(versions / "1")
    predictor = {"artifact": versions, "max_shift": 0.05}
    settings = tiny_settings(tmp_path, predictor=predictor)
    async with serving(settings) as running:
        assert await running.service.reloader.start(lambda: settings) == "unchanged"
        write_tiny_artifact(versions / "2")
        change_manifest(versions / "2", predictor_version="tiny-2")
        spoil(versions / "2")
        assert await running.service.reloader.start(lambda: settings) == "refused"
        (refused,) = [one for one in running.logs if one.get("outcome") == "refused"]
        assert piece in refused["detail"]
        assert (await running.route("hard")).predictor_version == "tiny-1"
        write_tiny_artifact(versions / "2")
        change_manifest(versions / "2", predictor_version="tiny-2")
        assert await running.service.reloader.start(lambda: settings) == "switched"
        reply = await running.route("hard")
        assert (reply.predictor_version, reply.degraded) == ("tiny-2", False)


async def test_what_was_learned_with_one_predictor_keeps_another_one_out(tmp_path: Path) -> None:
    versions = tmp_path / "versions"
    write_tiny_artifact(versions / "1")
    pinned = {"reference": "large", "max_drop": 0.05, "price": 0.0, "predictor_version": "tiny-1"}
    tiny = tiny_settings(tmp_path, predictor={"artifact": versions})
    pinned |= {"pool_digest": load_pool(tiny.pool).digest, "confidence": 0.95}
    settings = tiny_settings(
        tmp_path,
        predictor={"artifact": versions},
        policy={"name": "guarantee", "guarantee": pinned},
    )
    async with serving(settings) as running:
        write_tiny_artifact(versions / "2")
        change_manifest(versions / "2", predictor_version="tiny-2")
        assert await running.service.reloader.start(lambda: settings) == "refused"
        (refused,) = [one for one in running.logs if one.get("outcome") == "refused"]
        assert (
            "what policy.guarantee says was learned with predictor tiny-1, this is"
            in refused["detail"]
        )
        assert (await running.route("hard")).predictor_version == "tiny-1"


async def test_the_command_reloads_a_running_service(tmp_path: Path) -> None:
    versions = tmp_path / "versions"
    write_tiny_artifact(versions / "1")
    config = write_tiny_config(tmp_path, predictor={"artifact": str(versions)})
    async with process(*ROUTOO, "serve", "--config", str(config)) as serve:
        words = (await line_of(serve, "ready ")).split()
        pid = dict(word.split("=") for word in words[2:])["pid"]
        write_tiny_artifact(versions / "2")
        change_manifest(versions / "2", predictor_version="tiny-2")
        async with process(*ROUTOO, "reload", pid) as reload:
            assert await reload.wait() == 0
        assert serve.stderr is not None
        async with asyncio.timeout(HANG_S):
            while b'"outcome": "switched"' not in await serve.stderr.readline():
                pass
        async with connected(words[1]) as channel:
            info = await RouterServiceStub(channel).GetInfo(info_pb2.GetInfoRequest())
        assert info.predictor_version == "tiny-2"
    async with process(*ROUTOO, "reload", pid) as reload:
        _, error = await reload.communicate()
        assert reload.returncode == 2
        assert error.decode().startswith(f"error: no process {pid}")
