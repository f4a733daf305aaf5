"""Three Envoys for a comparison: one with the processor, one without, and one as the upstream.

The upstream is an Envoy that answers every request with the same bytes, so that it costs as little
as an HTTP server can. The other two have deploy/envoy/envoy.yaml, one of them without the parts for
Routoo.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from harness.process import StartError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SHIPPED = Path(__file__).resolve().parents[2] / "deploy" / "envoy" / "envoy.yaml"
READY_WITHIN_S = 20.0
LITELLM_READY_WITHIN_S = 180.0
REPLY = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "any",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "Paris is the capital of France."},
            }
        ],
        "usage": {"prompt_tokens": 64, "completion_tokens": 8, "total_tokens": 72},
    }
)


@contextmanager
def upstream(folder: Path) -> Iterator[int]:
    """Runs the Envoy that is the upstream, and yields its port.

    Raises:
        StartError: it did not start.
    """
    port = free_port()
    with envoy(folder, _upstream(port), port):
        yield port


@contextmanager
def envoys(folder: Path, processor_address: str, upstream_port: int) -> Iterator[tuple[str, str]]:
    """Runs the other two, and yields the HOST:PORT with the processor and that without it.

    Raises:
        StartError: an Envoy did not start.
    """
    with ExitStack() as running:
        addresses = []
        for with_processor in (True, False):
            config, port = _proxy(processor_address, upstream_port, with_processor=with_processor)
            running.enter_context(envoy(folder, config, port))
            addresses.append(f"127.0.0.1:{port}")
        yield addresses[0], addresses[1]


def shipped(ports: Mapping[str, int], *, local_models: str = "") -> tuple[dict[str, Any], int]:
    """Returns the shipped configuration on free ports, and the port of its listener.

    Args:
        ports: the port of each cluster.
        local_models: the expression for the models of the first cluster; empty: as it is.
    """
    config = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    del config["admin"]
    listener = config["static_resources"]["listeners"][0]
    port = free_port()
    listener["address"]["socket_address"]["port_value"] = port
    for cluster in config["static_resources"]["clusters"]:
        endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
        endpoint["address"]["socket_address"]["port_value"] = ports[cluster["name"]]
    if local_models:
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        route = manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]
        specifier = route["inline_cluster_specifier_plugin"]["extension"]["typed_config"]
        by_model = specifier["cluster_matcher"]["on_no_match"]["matcher"]["matcher_list"]
        one = by_model["matchers"][0]["predicate"]["single_predicate"]["value_match"]
        one["safe_regex"]["regex"] = local_models  # an anchor: it is the fallback's, too
    return config, port


def _proxy(
    processor_address: str, upstream_port: int, *, with_processor: bool
) -> tuple[dict[str, Any], int]:
    target = int(processor_address.rpartition(":")[2])
    config, port = shipped(
        {"routoo": target, "local_models": upstream_port, "hosted_models": upstream_port}
    )
    if not with_processor:
        listener = config["static_resources"]["listeners"][0]
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        del manager["access_log"]
        del manager["route_config"]["virtual_hosts"][0]["response_headers_to_add"]
        manager["http_filters"] = manager["http_filters"][-1:]  # the router
    return config, port


def _upstream(port: int) -> dict[str, Any]:
    types = "type.googleapis.com/envoy.extensions.filters"
    reply = {"status": 200, "body": {"inline_string": REPLY}}
    kind = {"header": {"key": "content-type", "value": "application/json"}}
    overwrite = {**kind, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    route = {
        "match": {"prefix": "/"},
        "direct_response": reply,
        "response_headers_to_add": [overwrite],
    }
    manager = {
        "@type": f"{types}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "upstream",
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{types}.http.router.v3.Router"},
            }
        ],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": filters}],
    }
    return {"static_resources": {"listeners": [listener]}}


@contextmanager
def envoy(folder: Path, config: dict[str, Any], port: int) -> Iterator[None]:
    """Runs an Envoy until the block ends.

    Raises:
        StartError: it did not start.
    """
    file = folder / f"envoy-{port}.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    log = folder / f"envoy-{port}.log"
    command = [
        *(str(Path(sys.executable).with_name("envoy")), "-c", str(file), "--concurrency", "1"),
        *("--use-dynamic-base-id", "--disable-hot-restart"),
        *("--log-level", "warning", "--log-path", str(log)),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(process, port, log)
        yield
    finally:
        process.kill()
        process.wait()


def _wait(
    process: subprocess.Popen[bytes], port: int, log: Path, within_s: float = READY_WITHIN_S
) -> None:
    until_s = time.monotonic() + within_s
    while time.monotonic() < until_s and process.poll() is None:
        with closing(socket.socket()) as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    said = log.read_text().splitlines() if log.exists() else []
    raise StartError(f"envoy did not start; it said: {said[-1] if said else 'nothing'}")


def free_port() -> int:
    """Returns a port of this machine that is free at the moment."""
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def litellm(folder: Path, command: str, upstream_port: int) -> Iterator[str]:
    """Runs a LiteLLM proxy with one worker before the upstream, and yields its HOST:PORT.

    Args:
        folder: of its configuration and its log.
        command: the path of ``litellm``, in an environment of its own.
        upstream_port: of the upstream.

    Raises:
        StartError: it did not start.
    """
    port, file, log = free_port(), folder / "litellm.yaml", folder / "litellm.log"
    parameters = {
        "model": "openai/any",
        "api_base": f"http://127.0.0.1:{upstream_port}/v1",
        "api_key": "none",
    }
    config = {
        "model_list": [{"model_name": "auto", "litellm_params": parameters}],
        "general_settings": {"dangerously_permit_weak_or_unset_master_key": True},
    }
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    options = ("--host", "127.0.0.1", "--num_workers", "1", "--telemetry", "False")
    with log.open("w") as told:
        process = subprocess.Popen(
            [command, "--config", str(file), "--port", str(port), *options],
            env=environment,
            stdout=told,
            stderr=told,
        )
        try:
            _wait(process, port, log, LITELLM_READY_WITHIN_S)
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()
