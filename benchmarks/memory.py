"""The memory of a service under its limits, compared with what its settings say it comes to.

For each set of limits the service is started, filled with open decisions, and sent batches of the
largest size that its limits let in, all at once and again and again. The most memory that its
process has had, as Linux tells it (VmHWM), is compared with the sum that ``check-config`` shows.
"""

from __future__ import annotations

import os
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc

from harness.command import make_parser, run, show_fields
from harness.process import ServerProcess, StartError
from routoo.api.memory.in_flight import batch_bytes, message_bytes
from routoo.config.sections.sessions import SessionSettings
from routoo.config.settings import LimitSettings, OutcomeSettings, Settings
from routoo.server.resources.memory_need import MIB, memory_need
from routoo.v1.batch_pb2 import RouteBatchRequest
from routoo.v1.route_pb2 import RouteRequest

if TYPE_CHECKING:
    from argparse import Namespace

METHOD = "/routoo.v1.RouterService/RouteBatch"
LIMITS = ((1_000, 64), (20_000, 160))
"""Open decisions, and MiB of calls in progress."""
CALLERS, ROUNDS = 2, 2
TIMEOUT_S = 300.0


def batch_of(prompts: int) -> bytes:
    """Returns the message of a batch of short prompts."""
    requests = [RouteRequest(prompt=f"word {row}") for row in range(prompts)]
    return RouteBatchRequest(requests=requests).SerializeToString()


def send(address: str, body: bytes) -> str:
    """Sends a batch ``ROUNDS`` times and returns the last status."""
    status = "OK"
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(address, options) as channel:
        for _ in range(ROUNDS):
            try:
                channel.unary_unary(METHOD)(body, timeout=TIMEOUT_S)
            except grpc.RpcError as error:
                status = error.code().name
    return status


def measured(decisions: int, in_flight_mib: int, models: int) -> dict[str, Any]:
    """Measures one set of limits."""
    settings = Settings(
        outcomes=OutcomeSettings(max_open_decisions=decisions),
        limits=LimitSettings(max_in_flight_bytes=in_flight_mib * MIB),
        sessions=SessionSettings(enabled=False),
    )
    environment = os.environ | {
        "ROUTOO_LISTEN": "127.0.0.1:0",
        "ROUTOO_HTTP__LISTEN": "",
        "ROUTOO_METRICS__LISTEN": "127.0.0.1:0",
        "ROUTOO_OUTCOMES__MAX_OPEN_DECISIONS": str(decisions),
        "ROUTOO_SESSIONS__ENABLED": "false",
        "ROUTOO_LIMITS__MAX_IN_FLIGHT_BYTES": str(in_flight_mib * MIB),
    }
    each = batch_bytes(1, models) + message_bytes(20) - message_bytes(0)
    largest = min(int(0.97 * in_flight_mib * MIB / each), settings.limits.max_batch_prompts)
    command = [sys.executable, "-m", "routoo.cli", "serve"]
    with ServerProcess.start(command, environment) as server:
        idle_mib = server.most_bytes() / MIB
        filling = batch_of(min(5_000, largest))
        for _ in range(1 + decisions // 5_000):
            send(server.address, filling)
        body = batch_of(largest)
        with ThreadPoolExecutor(CALLERS) as callers:
            statuses = list(callers.map(lambda _: send(server.address, body), range(CALLERS)))
        found_mib = server.most_bytes() / MIB
    said_mib = memory_need(settings, models, int(idle_mib * MIB)).total / MIB
    return {
        "max_open_decisions": decisions,
        "max_in_flight_mib": in_flight_mib,
        "prompts_in_a_batch": largest,
        "idle_mib": idle_mib,
        "most_mib": found_mib,
        "said_mib": said_mib,
        "ratio": found_mib / said_mib,
        "statuses": statuses,
    }


def measure(options: Namespace) -> dict[str, Any]:
    """Measures everything; the result is one JSON object."""
    rows = [measured(*limits, options.models) for limits in LIMITS]
    return {
        "benchmark": "memory",
        "machine": {"cpus": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"},
        "rows": rows,
        "targets": {"most_over_said": max(row["ratio"] for row in rows), "at_most": 1.1},
    }


def show(result: dict[str, Any]) -> None:
    """Prints the result for people."""
    for row in result["rows"]:
        show_fields(row)


def main() -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--models", type=int, default=16, help="models of the pool")
    return run(parser.parse_args(), measure, show, errors=(StartError,))


if __name__ == "__main__":
    sys.exit(main())
