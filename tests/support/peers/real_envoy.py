"""A real Envoy with deploy/envoy/envoy.yaml, on free ports."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL
from typing import TYPE_CHECKING, Any

import yaml

from support.peers.ports import free_port
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = ROOT / "deploy" / "envoy" / "envoy.yaml"
ENVOY = str(Path(sys.executable).with_name("envoy"))


def envoy_config(
    *, routoo: int, local: int, hosted: int, local_models: str = ""
) -> tuple[dict[str, Any], int]:
    """Returns the shipped configuration with these ports, and the port of its listener."""
    config = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    del config["admin"]
    listener = config["static_resources"]["listeners"][0]
    port = free_port()
    listener["address"]["socket_address"]["port_value"] = port
    ports = {"routoo": routoo, "local_models": local, "hosted_models": hosted}
    for cluster in config["static_resources"]["clusters"]:
        endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
        endpoint["address"]["socket_address"]["port_value"] = ports[cluster["name"]]
    if local_models:
        by_model = clusters_by_model(config)["on_no_match"]["matcher"]["matcher_list"]["matchers"]
        one = by_model[0]["predicate"]["single_predicate"]["value_match"]
        one["safe_regex"]["regex"] = local_models  # an anchor: it is the fallback's, too
    return config, port


def clusters_by_model(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the matcher that picks a cluster, for changes in place."""
    first = manager(config)["route_config"]["virtual_hosts"][0]["routes"][0]["route"]
    extension = first["inline_cluster_specifier_plugin"]["extension"]
    found: dict[str, Any] = extension["typed_config"]["cluster_matcher"]
    return found


def manager(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the HTTP connection manager's part of a configuration, for changes in place."""
    listener = config["static_resources"]["listeners"][0]
    found: dict[str, Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def processor(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the external processor's part of a configuration, for changes in place."""
    filters = manager(config)["http_filters"]
    found: dict[str, Any] = next(
        one["typed_config"] for one in filters if one["name"] == "envoy.filters.http.ext_proc"
    )
    return found


@asynccontextmanager
async def running_envoy(config: dict[str, Any], folder: Path, port: int) -> AsyncIterator[None]:
    """Runs an Envoy until the block ends."""
    file = folder / f"envoy-{port}.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    log = folder / f"envoy-{port}.log"
    process = await asyncio.create_subprocess_exec(
        *(ENVOY, "-c", str(file), "--use-dynamic-base-id", "--concurrency", "1"),
        *("--log-level", "warning", "--log-path", str(log), "--disable-hot-restart"),
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=DEVNULL,
    )
    try:
        await _listening(process, port, log)
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _listening(process: asyncio.subprocess.Process, port: int, log: Path) -> None:
    async with asyncio.timeout(HANG_S):
        while True:
            assert process.returncode is None, f"envoy ended; see {log}"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)  # Envoy does not report that it listens
            else:
                writer.close()
                await writer.wait_closed()
                return
