"""Runs seeds of chaos until the time is over, and minimises the first one that breaks a promise.

    PYTHONPATH=tests python -m chaos --seconds 180

Exit code 0: no promise was broken. 1: one was; the seed, its faults and the smallest part of them
that still breaks it are printed, with the command that runs them again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.faults import kinds
from chaos.minimise import minimal
from chaos.run import run
from chaos.schedule import draw
from chaos.triton import TritonPeer

if TYPE_CHECKING:
    from chaos.run import Result
    from chaos.schedule import Schedule

_RUN_S = 20.0
_NONE = "none"


def main() -> int:
    """Runs the command line; returns the exit code."""
    return asyncio.run(_Chaos(_arguments()).run())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seconds", type=float, default=180.0, help="no seed is begun after so long (180)")
    add("--seed", type=int, help="run this one alone")
    add("--first", type=int, default=0, help="the first of the seeds (0)")
    add("--only", help="numbers of the seed's faults, with commas, or none; others are left out")
    add("--load", type=float, default=_RUN_S, help="seconds of load and faults per seed (20)")
    add("--without", default="", help="triton or envoy or both, with a comma: run without them")
    add("--repeats", type=int, default=2, help="runs before a part of a schedule is innocent (2)")
    add(
        "--probes", type=int, default=24, help="most schedules to try when minimising (24); 0: none"
    )
    add("--go-on", action="store_true", help="go on after a seed that failed, without minimising")
    add("--json", action="store_true", help="print one JSON object at the end")
    return parser.parse_args()


def _numbers(text: str) -> set[int]:
    return set() if text == _NONE else {int(one) for one in text.split(",")}


class _Chaos:
    def __init__(self, arguments: argparse.Namespace) -> None:
        without = set(filter(None, arguments.without.split(",")))
        self._given = arguments
        self._envoy = "envoy" not in without
        self._wants_triton = "triton" not in without
        self._triton: TritonPeer | None = None
        self._tally: Counter[str] = Counter()
        self._failed: dict[int, list[str]] = {}

    async def run(self) -> int:
        async with AsyncExitStack() as held:
            if self._wants_triton:
                folder = tempfile.mkdtemp(prefix="chaos-triton-")
                held.callback(shutil.rmtree, folder, ignore_errors=True)
                self._triton = TritonPeer(Path(folder))
                held.push_async_callback(self._triton.close)
                await self._triton.start()
            await self._run_seeds()
        self._say_end()
        return 1 if self._failed else 0

    async def _run_seeds(self) -> None:
        given, start_s = self._given, time.monotonic()
        seed = given.first if given.seed is None else given.seed
        while True:
            schedule = draw(
                seed, given.load, kinds(envoy=self._envoy, triton=self._triton is not None)
            )
            if given.only is not None:
                schedule = schedule.only(_numbers(given.only))
            result = await self._one(schedule)
            if result.violations:
                self._failed[seed] = list(result.violations)
                self._say_failure(schedule, result)
                if not given.go_on:
                    if given.probes:
                        await self._minimise(schedule)
                    return
            seed += 1
            if given.seed is not None or time.monotonic() - start_s >= given.seconds:
                return

    async def _one(self, schedule: Schedule) -> Result:
        start_s = time.monotonic()
        result = await run(schedule, envoy=self._envoy, triton=self._triton)
        calls = result.evidence.calls
        granted = sum(len(call.granted) for call in calls)
        self._tally.update(seeds=1, faults=len(schedule.events), calls=len(calls), granted=granted)
        self._say(
            f"seed {schedule.seed}: {len(schedule.events)} faults, {len(calls)} calls,"
            f" {granted} decisions, {len(result.violations)} broken promises,"
            f" {time.monotonic() - start_s:.0f} s"
        )
        return result

    async def _minimise(self, schedule: Schedule) -> None:
        self._say("minimising ...")

        async def fails(numbers: tuple[int, ...]) -> bool:
            for _ in range(self._given.repeats):
                result = await self._one(schedule.only(set(numbers)))
                if result.violations:
                    shutil.rmtree(result.folder, ignore_errors=True)
                    return True
            return False

        numbers = tuple(event.number for event in schedule.events)
        kept = await minimal(numbers, fails, most_probes=self._given.probes)
        self._say(f"{len(kept)} of {len(numbers)} faults are enough:")
        for event in schedule.only(set(kept)).events:
            self._say(f"  {event}")
        only = ",".join(map(str, kept)) or _NONE
        self._say(f'again: make chaos SEED={schedule.seed} ARGS="{self._options()}--only {only}"')

    def _say_failure(self, schedule: Schedule, result: Result) -> None:
        self._say(f"seed {schedule.seed} breaks promises; files: {result.folder}")
        for event in schedule.events:
            self._say(f"  fault {event}")
        for line in result.violations:
            self._say(f"  BROKEN {line}")
        again = f' ARGS="{self._options().strip()}"' if self._options() else ""
        self._say(f"again: make chaos SEED={schedule.seed}{again}")

    def _options(self) -> str:
        given = self._given
        load = f"--load {given.load:g} " if given.load != _RUN_S else ""
        return load + (f"--without {given.without} " if given.without else "")

    def _say_end(self) -> None:
        tally = self._tally
        if self._given.json:
            print(json.dumps({**tally, "failed": self._failed}))
            return
        self._say(
            f"{tally['seeds']} runs, {tally['faults']} faults, {tally['calls']} calls,"
            f" {tally['granted']} decisions; failed seeds: {sorted(self._failed) or 'none'}"
        )
        # Once more at the end: of a long output, the end is what is read.
        for seed, violations in self._failed.items():
            for line in violations:
                self._say(f"seed {seed}: BROKEN {line}")

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr if self._given.json else sys.stdout, flush=True)


if __name__ == "__main__":
    sys.exit(main())
