"""``routoo replay``: decides again what a service has logged."""
# ruff: noqa: PLC0415
# A command imports what it needs when it runs: ``routoo serve`` then starts fast and stays small.

import gc
import math
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from routoo.cli.options.common import AsJson, ConfigFile, print_json, show
from routoo.cli.output.errors import FAILED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from routoo.telemetry.decision_log.what_if import Alternative


def _price(value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise typer.BadParameter(f"{value} is not a number of at least 0.")
    return value


def replay(
    logs: Annotated[
        list[Path], typer.Argument(help="Decision logs, the oldest first.", metavar="LOG...")
    ],
    *,
    policy: Annotated[
        str | None, typer.Option(help="What this policy would have decided.", metavar="P")
    ] = None,
    config: ConfigFile = None,
    price: Annotated[
        float | None,
        typer.Option(
            callback=_price,
            help="Decide at so much score per USD instead of the price that was in force.",
            metavar="X",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Decide again what a service has logged.

    Alone: reproduces every decision bit for bit; one that comes out otherwise is shown, exit code
    1. With --policy, --price or --config: what would have been decided with that policy, at that
    price, or by a service with those settings (its pool, prices of models and policy).
    """
    from time import perf_counter

    from routoo.cli.output import replay_screens
    from routoo.selector.lp.presets import PRESETS
    from routoo.telemetry.decision_log.preset_price import preset_price
    from routoo.telemetry.decision_log.reader import read_logs
    from routoo.telemetry.decision_log.replay import reproduce
    from routoo.telemetry.decision_log.what_if import what_if

    instead = None
    if policy is not None or price is not None or config is not None:
        instead = _instead(policy or "", price, config)
    with _uncollected():
        started_s = perf_counter()
        log = read_logs(logs)
        log.findings += log.not_replayed
        if config is None and policy in PRESETS and price is None:
            instead = _instead(policy, preset_price(log, policy), None)
        if instead is not None:
            compared = what_if(log, instead)
            seconds = perf_counter() - started_s
            if as_json:
                print_json(replay_screens.comparison_json(compared, log.findings, seconds))
            else:
                show(replay_screens.comparison(compared, seconds))
            _tell(log.findings)
            return
        found = reproduce(log)
    seconds = perf_counter() - started_s
    findings = [*log.findings, *found.findings]
    if as_json:
        print_json(replay_screens.reproduction_json(found, findings, seconds))
    else:
        show(replay_screens.reproduction(found, seconds))
    _tell(findings)
    raise typer.Exit(FAILED if found.mismatches else 0)


@contextmanager
def _uncollected() -> "Iterator[None]":
    """Stops the garbage collector: searching a log's objects for cycles took half the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _instead(policy: str, price: float | None, config: Path | None) -> "Alternative":
    from routoo.telemetry.decision_log.what_if import OtherPolicy, OtherService

    if config is None:
        return OtherPolicy(policy, price)
    from routoo.config.loading import load_settings
    from routoo.server.assembly import load_components

    overrides = {"policy": {"name": policy}} if policy else None
    parts = load_components(load_settings(config, overrides))
    policies = parts.policies
    at = parts.price_in_force if price is None else price
    return OtherService(policies.in_force, parts.pool, at, str(config), policies.unsure)


def _tell(findings: list[str]) -> None:
    for finding in findings:
        print(f"routoo: {finding}", file=sys.stderr)  # noqa: T201
