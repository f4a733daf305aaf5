"""The added cost of an HTTP request through Envoy when Routoo picks its model.

Two Envoys with deploy/envoy/envoy.yaml, one of them without the processor, are loaded in turn in
one run, before the same upstream: a third Envoy that answers the same bytes to everything. Every
figure is the median of the rounds, every difference the median of the rounds' own differences.

With ``--doors``, the doors of Routoo's own HTTP front stand beside the two Envoys, and a LiteLLM
proxy with one worker, if ``--litellm`` names its command.

The client is h2load over HTTP/1.1, a connection per caller. Every reply has to be 200, and the
processor's own counters have to show that each request was routed and each reply's usage read.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families
from rich.box import SIMPLE_HEAD
from rich.table import Table

from harness.command import make_parser, progress, run, wide_console
from harness.envoys import envoys, litellm, upstream
from harness.load import H2load, Load, LoadError
from harness.process import ServerProcess, StartError
from harness.prompts import varied_prompts

if TYPE_CHECKING:
    from argparse import Namespace

    from rich.console import Console

    from harness.load import Sample

CONCURRENCIES = (1, 32)
PROMPT_WORDS = 48
PATH = "/v1/chat/completions"
H1_OPTIONS = ("--h1", "--header", "content-type: application/json")
MOST_ADDED_MS = 2.5
LEAST_PER_S = 800.0
LOG_WITHIN_S = 5.0
MOST_ADDED_BY_DOORS_MS = 3.0
LEAST_OVER_LITELLM = 12.0
LITELLM = "LiteLLM"
SLOW_WARM_UP_S, SLOW_DURATION_S = 8.0, 10.0
SERVE = (
    *(sys.executable, "-c", "import sys; from routoo.cli import main; sys.exit(main())"),
    "serve",
)


@dataclass(frozen=True, slots=True)
class Effort:
    """The number of rounds, and their length."""

    rounds: int
    warm_up_s: float
    duration_s: float


FULL = Effort(rounds=7, warm_up_s=0.5, duration_s=2.0)
QUICK = Effort(rounds=2, warm_up_s=0.3, duration_s=1.0)


def measure(options: Namespace) -> dict[str, Any]:
    """Measures everything; the result is one JSON object.

    Raises:
        LoadError: a call failed, or a request was not routed.
        StartError: a server did not start or stop as it should.
    """
    if options.doors:
        return measure_doors(options)
    effort = QUICK if options.quick else FULL
    client = H2load()
    body = _body()
    environment = os.environ | {
        "ROUTOO_LISTEN": "127.0.0.1:0",
        "ROUTOO_HTTP__LISTEN": "",
        "ROUTOO_METRICS__ENABLED": "true",
        "ROUTOO_METRICS__LISTEN": "127.0.0.1:0",
        "ROUTOO_PROCESSOR__ENABLED": "true",
        "ROUTOO_PROCESSOR__USAGE_FROM": options.usage_from,
    }
    rows = []
    with (
        progress() as tell,
        TemporaryDirectory() as folder,
        ServerProcess.start(SERVE, environment) as routoo,
        upstream(Path(folder)) as port,
        envoys(Path(folder), routoo.address, port) as (routed, plain),
    ):
        metrics = routoo.field("metrics")
        for concurrency in CONCURRENCIES:
            tell(f"concurrency {concurrency}")
            load = Load(concurrency, effort.warm_up_s, effort.duration_s, per_connection=1)
            rows.append(_compare(client, (routed, plain), body, load, effort.rounds))
        counted = _counts_when_read(metrics)
        resident_mb = routoo.resident_mb()
    calls = sum(row["calls"] for row in rows)
    wrong = counted["refused"] + counted["passed"] + counted["failed"] + counted["estimated"]
    if min(counted["routed"], counted["read"]) < calls or wrong:
        raise LoadError(f"{calls} calls were measured, but the processor counted {counted}")
    one, many = rows
    targets = [
        ("added p50 at 1, ms", one["added_p50_ms"], MOST_ADDED_MS, "<="),
        ("requests/s at 32", many["with_processor"]["requests_per_s"], LEAST_PER_S, ">="),
    ]
    return {
        "benchmark": "envoy",
        "machine": {"cpus": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"},
        "python": platform.python_version(),
        "usage_from": options.usage_from,
        "body_bytes": len(body),
        "rows": rows,
        "processor_counts": counted,
        "resident_mb": resident_mb,
        "targets": [_target(*target) for target in targets],
    }


def measure_doors(options: Namespace) -> dict[str, Any]:
    """Measures all ways in front of the same upstream, one after the other in each round.

    Raises:
        LoadError: a call failed.
        StartError: a server did not start or stop as it should.
    """
    effort = QUICK if options.quick else FULL
    client = H2load()
    body = _body()
    rows: list[dict[str, Any]] = []
    with (
        progress() as tell,
        ExitStack() as running,
        TemporaryDirectory() as folder,
        upstream(Path(folder)) as port,
    ):
        entries = {"*": {"base_url": f"http://127.0.0.1:{port}/v1"}}
        environment = os.environ | {
            "ROUTOO_LISTEN": "127.0.0.1:0",
            "ROUTOO_METRICS__ENABLED": "false",
            "ROUTOO_HTTP__LISTEN": "127.0.0.1:0",
            "ROUTOO_PROXY__KNOWN_PROVIDERS": "false",
            "ROUTOO_PROXY__UPSTREAMS": json.dumps(entries),
            "ROUTOO_PROCESSOR__ENABLED": "true",
            "ROUTOO_PROCESSOR__USAGE_FROM": options.usage_from,
        }
        routoo = running.enter_context(ServerProcess.start(SERVE, environment))
        routed, plain = running.enter_context(envoys(Path(folder), routoo.address, port))
        ways = {"Envoy alone": plain, "Envoy, processor": routed, "doors": routoo.field("http")}
        if options.litellm:
            litellm_at = running.enter_context(litellm(Path(folder), options.litellm, port))
            ways[LITELLM] = litellm_at
        for concurrency in CONCURRENCIES:
            tell(f"concurrency {concurrency}")
            load = Load(concurrency, effort.warm_up_s, effort.duration_s, per_connection=1)
            # It answers none of 32 callers in the time in which others answer a thousand times.
            slow = Load(concurrency, SLOW_WARM_UP_S, SLOW_DURATION_S, per_connection=1)
            samples: dict[str, list[Sample]] = {name: [] for name in ways}
            for _ in range(effort.rounds):
                for name, address in ways.items():
                    url = f"http://{address}{PATH}"
                    run_load = slow if name == LITELLM else load
                    samples[name].append(client.post(url, body, run_load, H1_OPTIONS))
            rows += [
                {"callers": concurrency, "way": name, **_medians(found)}
                for name, found in samples.items()
            ]
    return {
        "benchmark": "doors",
        "machine": {"cpus": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"},
        "python": platform.python_version(),
        "body_bytes": len(body),
        "rows": rows,
        "targets": _targets_of_doors(rows),
    }


def _targets_of_doors(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = {(row["callers"], row["way"]): row for row in rows}
    fewest, most = CONCURRENCIES
    added = found[fewest, "doors"]["p50_ms"] - found[fewest, "Envoy alone"]["p50_ms"]
    targets = [_target("added p50 at 1, ms", added, MOST_ADDED_BY_DOORS_MS, "<=")]
    if (most, LITELLM) in found:
        ratio = found[most, "doors"]["requests_per_s"] / found[most, LITELLM]["requests_per_s"]
        targets.append(_target("requests/s over LiteLLM's", ratio, LEAST_OVER_LITELLM, ">="))
    return targets


def _target(what: str, measured: float, bound: float, sign: str) -> dict[str, Any]:
    met = measured <= bound if sign == "<=" else measured >= bound
    return {"what": what, "measured": measured, "bound": bound, "sign": sign, "met": met}


def _body() -> bytes:
    prompt = " ".join(varied_prompts(8))[:300]
    return json.dumps(
        {"model": "auto", "messages": [{"role": "user", "content": prompt}], "max_tokens": 256}
    ).encode()


def _compare(
    client: H2load, addresses: tuple[str, str], body: bytes, load: Load, rounds: int
) -> dict[str, Any]:
    pairs: list[tuple[Sample, Sample]] = []
    for _ in range(rounds):
        routed, plain = (
            client.post(f"http://{address}{PATH}", body, load, H1_OPTIONS) for address in addresses
        )
        pairs.append((routed, plain))
    return {
        "concurrency": load.concurrency,
        "rounds": rounds,
        "calls": sum(routed.calls for routed, _ in pairs),
        "with_processor": _medians([routed for routed, _ in pairs]),
        "without": _medians([plain for _, plain in pairs]),
        "added_p50_ms": statistics.median(routed.p50_ms - plain.p50_ms for routed, plain in pairs),
        "added_p99_ms": statistics.median(routed.p99_ms - plain.p99_ms for routed, plain in pairs),
    }


def _medians(samples: list[Sample]) -> dict[str, float]:
    return {
        name: statistics.median(asdict(sample)[name] for sample in samples)
        for name in ("requests_per_s", "p50_ms", "p99_ms")
    }


def _counts_when_read(metrics: str) -> dict[str, int]:
    """Returns the counts once the log of the last replies has come."""
    until_s = time.monotonic() + LOG_WITHIN_S
    while True:
        counted = _counts(metrics)
        told = counted["read"] + counted["gone"]
        if told >= counted["routed"] or time.monotonic() > until_s:
            return counted
        time.sleep(0.05)


def _counts(metrics: str) -> dict[str, int]:
    """Returns the processor's counts by result."""
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=10) as page:
        text = page.read().decode()
    return {
        sample.labels["result"]: int(sample.value)
        for family in text_string_to_metric_families(text)
        if family.name in ("routoo_http_requests", "routoo_http_replies")
        for sample in family.samples
        if sample.name.endswith("_total")
    }


def show(result: dict[str, Any]) -> None:
    """Prints the result as tables."""
    console = wide_console()
    if result["benchmark"] == "doors":
        table = Table(title="The same requests by each way", box=SIMPLE_HEAD)
        for column in ("callers", "way", "requests/s", "p50 ms", "p99 ms"):
            table.add_column(column, justify="right")
        for row in result["rows"]:
            figures = (f"{row[name]:,.3g}" for name in ("requests_per_s", "p50_ms", "p99_ms"))
            table.add_row(str(row["callers"]), row["way"], *figures)
        _show_targets(console, table, result)
        return
    table = Table(title="Through Envoy, with the processor | without", box=SIMPLE_HEAD)
    for column in ("callers", "requests/s", "p50 ms", "p99 ms", "added p50 ms"):
        table.add_column(column, justify="right")
    for row in result["rows"]:
        routed, plain = row["with_processor"], row["without"]
        table.add_row(
            str(row["concurrency"]),
            f"{routed['requests_per_s']:,.0f} | {plain['requests_per_s']:,.0f}",
            f"{routed['p50_ms']:.3g} | {plain['p50_ms']:.3g}",
            f"{routed['p99_ms']:.3g} | {plain['p99_ms']:.3g}",
            f"{row['added_p50_ms']:.3g}",
        )
    _show_targets(console, table, result)


def _show_targets(console: Console, table: Table, result: dict[str, Any]) -> None:
    console.print(table)
    for target in result["targets"]:
        verdict = "met" if target["met"] else "missed"
        console.print(
            f"{target['what']}: {target['measured']:.3g}, to reach {target['sign']}"
            f" {target['bound']:g}: {verdict}"
        )


def main() -> int:
    parser = make_parser(__doc__, quick="under 20 s instead of under 80 s")
    parser.add_argument("--usage-from", choices=("access_log", "reply"), default="access_log")
    parser.add_argument("--doors", action="store_true", help="the ways in beside each other")
    parser.add_argument("--litellm", metavar="PATH", help="with --doors: the command litellm")
    return run(parser.parse_args(), measure, show, errors=(LoadError, StartError))


if __name__ == "__main__":
    sys.exit(main())
