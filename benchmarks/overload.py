"""The fate of requests when four times as many come as can be answered.

Finds the capacity first, closed-loop (h2load, 32 calls at a time). Then a client in a process of
its own sends at random times, a fifth of the capacity, without waiting for answers: first alone,
which gives the unloaded latency, and again while h2load sends the rest of ``--factor`` times the
capacity, and for three seconds after that. That client's calls are the sample; the service's own
counters count all calls.

Every call has a deadline of a second. The client and h2load share the machine with the service.

``--bodies`` measures something else: how long that client waits at most while another one sends
bodies and calls of 4 MB and more that are made to take long.
"""

from __future__ import annotations

import os
import platform
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from harness.command import make_parser, run, show_fields
from harness.hostile_bodies import BODIES, CALLS, sent
from harness.load import METHOD_PATH, H2load, Load, LoadError
from harness.open_loop import OpenLoop
from harness.process import ServerProcess, StartError
from routoo.v1.route_pb2 import RouteRequest

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from harness.open_loop import Call

TIMEOUT_S = 1.0
CLOSED_LOOP_CALLS = 32
SAMPLE_SHARE = 0.2
UNLOADED_S = 10.0
AFTER_S = 3.0
CONNECTIONS = 8
# Of bodies: times in each round, and the other client's calls per second and seconds.
BODY_TIMES, BODY_RATE, BODY_WINDOW_S = 2, 100.0, 4.0
MOST_WAIT_MS = 50.0


def answered(metrics: str) -> Counter[str]:
    """Returns the calls of Route by status, as the service counted them."""
    found: Counter[str] = Counter()
    with urlopen(f"http://{metrics}/metrics") as page:
        for family in text_string_to_metric_families(page.read().decode()):
            for sample in family.samples:
                if sample.name == "routoo_requests_total" and sample.labels["rpc"] == "Route":
                    found[sample.labels["code"]] += int(sample.value)
    return found


def flood(address: str, body: Path, rate: float, duration_s: float) -> subprocess.Popen[str]:
    """Starts h2load at a rate that does not depend on answers."""
    return subprocess.Popen(
        [
            *("h2load", f"--clients={CONNECTIONS}", "--max-concurrent-streams=5000"),
            *(f"--rps={max(1, round(rate / CONNECTIONS))}", f"--duration={duration_s:.0f}s"),
            *("--header", "content-type: application/grpc", "--header", "te: trailers"),
            *("--header", f"grpc-timeout: {TIMEOUT_S * 1e3:.0f}m"),
            *(f"--data={body}", f"http://{address}{METHOD_PATH}"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def latencies(calls: Sequence[Call]) -> dict[str, float]:
    """Returns percentiles of the latencies of answered calls, in milliseconds.

    Raises:
        LoadError: no call was answered.
    """
    took_ms = [call.latency_s * 1e3 for call in calls if call.code == "OK"]
    if not took_ms:
        raise LoadError("no call was answered")
    p50, p99 = np.percentile(took_ms, [50, 99])
    return {"p50_ms": float(p50), "p99_ms": float(p99), "max_ms": max(took_ms)}


def recovery_s(calls: Sequence[Call], ended_s: float, bound_s: float) -> float:
    """Returns when the last call that failed or took too long was sent, from the flood's end."""
    late = [
        call.sent_s - ended_s
        for call in calls
        if call.sent_s > ended_s and (call.code != "OK" or call.latency_s > bound_s)
    ]
    return max(late, default=0.0)


def measure(options: Namespace) -> dict[str, Any]:
    """Measures everything; the result is one JSON object."""
    body = RouteRequest(prompt=" ".join(["analyse"] * options.prompt_words)).SerializeToString()
    command = [sys.executable, "-m", "routoo.cli", "serve"]
    environment = os.environ | {
        "ROUTOO_LISTEN": "127.0.0.1:0",
        "ROUTOO_HTTP__LISTEN": "",
        "ROUTOO_METRICS__LISTEN": "127.0.0.1:0",
    }
    with TemporaryDirectory() as folder, ServerProcess.start(command, environment) as server:
        framed = Path(folder, "body")
        framed.write_bytes(struct.pack(">BI", 0, len(body)) + body)
        closed = H2load().run(server.address, [body], Load(CLOSED_LOOP_CALLS, 1.0, 3.0))
        capacity = closed.requests_per_s
        rate = SAMPLE_SHARE * capacity
        with OpenLoop(server.address, body, rate, UNLOADED_S, Path(folder, "alone")) as client:
            alone = client.calls()
        before = answered(server.field("metrics"))
        most_s = options.duration_s + AFTER_S
        with OpenLoop(server.address, body, rate, most_s + 1.0, Path(folder, "flood")) as client:
            rest = (options.factor - SAMPLE_SHARE) * capacity
            flooding = flood(server.address, framed, rest, options.duration_s)
            flooding.communicate()
            ended_s = monotonic()
            after = answered(server.field("metrics"))
            calls = client.calls()
        counted = after - before
    begun_s = ended_s - options.duration_s
    loaded = [call for call in calls if begun_s <= call.sent_s <= ended_s]
    unloaded, accepted = latencies(alone), latencies(loaded)
    codes = Counter(call.code for call in loaded)
    refused = [call for call in loaded if call.code == "RESOURCE_EXHAUSTED"]
    # CANCELLED calls are h2load's: it ends with calls in flight when its time is over.
    misses = counted["DEADLINE_EXCEEDED"] + codes["DEADLINE_EXCEEDED"]
    bound_s = 3.0 * unloaded["p99_ms"] * 1e-3
    return {
        "benchmark": "overload",
        "machine": {"cpus": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"},
        "prompt_words": options.prompt_words,
        "factor": options.factor,
        "duration_s": options.duration_s,
        "capacity_per_s": capacity,
        "unloaded": unloaded,
        "overloaded": accepted,
        "p99_ratio": accepted["p99_ms"] / unloaded["p99_ms"],
        "sampled": dict(codes),
        "counted_by_the_service": dict(counted),
        "offered_per_s": counted.total() / options.duration_s,
        "answered_per_s": counted["OK"] / options.duration_s,
        "deadline_misses": misses,
        "refusal": latencies_of_refusals(refused),
        "recovery_s": recovery_s(calls, ended_s, bound_s),
        "targets": {
            "accepted requests that missed their deadline: 0": misses == 0,
            "p99 of accepted at most 3 times the unloaded": accepted["p99_ms"]
            <= 3.0 * unloaded["p99_ms"],
            "the rest RESOURCE_EXHAUSTED": set(codes) <= {"OK", "RESOURCE_EXHAUSTED"},
            "normal within 1 s": recovery_s(calls, ended_s, bound_s) <= 1.0,
        },
    }


def measure_bodies(options: Namespace) -> dict[str, Any]:
    """Measures the longest waits beside hostile bodies; the result is one JSON object.

    Per body it is the median of the rounds' longest, as other processes of the machine make some
    calls late in any round.
    """
    body = RouteRequest(prompt="Explain relativity to a child of ten").SerializeToString()
    command = [sys.executable, "-m", "routoo.cli", "serve"]
    environment = os.environ | {
        "ROUTOO_LISTEN": "127.0.0.1:0",
        "ROUTOO_HTTP__LISTEN": "",
        "ROUTOO_METRICS__ENABLED": "false",
        "ROUTOO_PROCESSOR__ENABLED": "true",
        "ROUTOO_PROCESSOR__USAGE_FROM": "access_log",
    }
    rows = []
    with TemporaryDirectory() as folder, ServerProcess.start(command, environment) as server:
        for name in (*BODIES, *CALLS):
            waits_ms, alone_ms, took_ms, answers = [], [], [], set()
            for number in range(options.rounds):
                log = Path(folder, f"{name}-{number}")
                with OpenLoop(server.address, body, BODY_RATE, BODY_WINDOW_S, log) as client:
                    found = sent(server.address, name, BODY_TIMES)
                    calls = client.calls()
                begun_s, ended_s = found[0].sent_s, found[-1].answered_s
                beside = [
                    one.latency_s * 1e3
                    for one in calls
                    if one.sent_s + one.latency_s >= begun_s and one.sent_s <= ended_s
                ]
                alone = [one.latency_s * 1e3 for one in calls if one.sent_s > ended_s + 0.1]
                if not beside or not alone:
                    raise LoadError(f"no call was sent beside {name}, or after it")
                waits_ms.append(max(beside))
                alone_ms.append(max(alone))
                took_ms += [(one.answered_s - one.sent_s) * 1e3 for one in found]
                answers |= {one.answer for one in found}
            rows.append(
                {
                    "body": name,
                    "worst_ms": float(np.median(waits_ms)),
                    "worst_alone_ms": float(np.median(alone_ms)),
                    "took_ms": float(np.median(took_ms)),
                    "answers": sorted(answers),
                }
            )
    worst_ms = max(row["worst_ms"] for row in rows)
    return {
        "benchmark": "overload by bodies",
        "machine": {"cpus": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"},
        "rounds": options.rounds,
        "rows": {row.pop("body"): row for row in rows},
        "worst_ms": worst_ms,
        "targets": {f"others wait at most {MOST_WAIT_MS:.0f} ms": worst_ms <= MOST_WAIT_MS},
    }


def latencies_of_refusals(refused: Sequence[Call]) -> dict[str, float] | None:
    """Returns latencies of refusals, and the share of them that say when to retry."""
    if not refused:
        return None
    took_ms = [call.latency_s * 1e3 for call in refused]
    return {
        "p50_ms": float(np.median(took_ms)),
        "p99_ms": float(np.percentile(took_ms, 99)),
        "with_retry_after": sum(call.retry_ms >= 0 for call in refused) / len(refused),
        "retry_after_p50_ms": float(np.median([call.retry_ms for call in refused])),
    }


def main() -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--factor", type=float, default=4.0, help="times the capacity")
    parser.add_argument("--duration-s", type=float, default=30.0)
    parser.add_argument("--prompt-words", type=int, default=2000)
    parser.add_argument("--bodies", action="store_true", help="waits beside hostile bodies")
    parser.add_argument("--rounds", type=int, default=5, help="of each hostile body")
    errors = (LoadError, RuntimeError, StartError)
    options = parser.parse_args()
    measures = measure_bodies if options.bodies else measure
    return run(options, measures, show_fields, errors=errors)


if __name__ == "__main__":
    sys.exit(main())
