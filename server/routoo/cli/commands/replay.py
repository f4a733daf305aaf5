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
    from collections.abc import Callable, Iterator, Mapping

    from routoo.telemetry.decision_log.columns import Logged
    from routoo.telemetry.decision_log.otherwise import Alternative


def _price(value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise typer.BadParameter(f"{value} is not a number of at least 0.")
    return value


def _weight(value: float | None) -> float | None:
    if value is not None and not value >= 1.0:
        raise typer.BadParameter(f"{value} is not a number of at least 1.")
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
    value: Annotated[
        bool,
        typer.Option(
            "--value", help="Estimate quality and cost of the other way from what was reported."
        ),
    ] = False,
    predictor: Annotated[
        Path | None,
        typer.Option(
            help="With --value: decide by the scores of this version folder.", metavar="FOLDER"
        ),
    ] = None,
    most_weight: Annotated[
        float | None,
        typer.Option(
            callback=_weight,
            help="With --value: graded decisions that weigh more do not count; 500.",
            metavar="W",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Decide again what a service has logged.

    Alone: reproduces every decision bit for bit; one that comes out otherwise is shown, exit code
    1. With --policy, --price or --config: what would have been decided with that policy, at that
    price, or by a service with those settings (its pool, prices of models and policy). With
    --value: what that would have been worth, with confidence intervals; exit code 1 where the log
    cannot tell.
    """
    from time import perf_counter

    from routoo.cli.output import replay_screens
    from routoo.cli.output.progress import working
    from routoo.telemetry.decision_log.preset_price import at_its_point
    from routoo.telemetry.decision_log.reader import read_logs
    from routoo.telemetry.decision_log.replay import reproduce
    from routoo.telemetry.decision_log.what_if import what_if

    if value:
        other = _instead(policy or "", price, config)
        _show_value(logs, other, predictor, most_weight, as_json=as_json)
        return
    if predictor is not None:
        raise typer.BadParameter("--predictor goes with --value.")
    instead = None
    if policy is not None or price is not None or config is not None:
        instead = _instead(policy or "", price, config)
    with working("reading and deciding again"), _uncollected():
        started_s = perf_counter()
        log = read_logs(logs)
        log.findings += log.not_replayed
        if instead is not None:
            compared = what_if(log, at_its_point(instead, log))
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


def _show_value(
    logs: list[Path],
    instead: "Alternative",
    predictor: Path | None,
    most_weight: float | None,
    *,
    as_json: bool,
) -> None:
    """Shows the value of the other way, or why the log cannot tell it."""
    from routoo.cli.output import value_screen
    from routoo.cli.output.progress import working
    from routoo.telemetry.decision_log.off_policy.grounds import LineExtras, ValueGrounds
    from routoo.telemetry.decision_log.off_policy.value import MOST_WEIGHT, judge_policy
    from routoo.telemetry.decision_log.preset_price import at_its_point
    from routoo.telemetry.decision_log.reader import read_logs

    with working("reading the log"), _uncollected():
        log = read_logs(logs)
        instead = at_its_point(instead, log)
        extras = LineExtras.read(dict.fromkeys(logs), prompts=predictor is not None)
        again = None if predictor is None else _predict(predictor, extras.prompts)
        grounds = ValueGrounds.of(log, instead, extras.propensities, again)
    by = "" if predictor is None else f", by the predictor {predictor}"
    limit = MOST_WEIGHT if most_weight is None else most_weight
    found = judge_policy(grounds, instead.text + by, most_weight=limit)
    findings = [*log.findings, *log.not_replayed]
    if as_json:
        print_json(value_screen.value_json(found, findings))
    else:
        show(value_screen.value_screen(found))
    _tell(findings)
    refusals = [one.refusal for one in (found.quality, found.cost_usd) if one.refusal]
    _tell([f"cannot tell: {one}" for one in dict.fromkeys(refusals)])
    raise typer.Exit(FAILED if refusals else 0)


def _predict(folder: Path, prompts: "Mapping[str, str]") -> "Callable[[Logged], Logged]":
    from routoo.cli.output.progress import Phases
    from routoo.config.sections.predictor import PredictorSettings
    from routoo.predictor.artifact import load_artifact
    from routoo.predictor.manager import in_process
    from routoo.telemetry.decision_log.off_policy.reprediction import predicted_again

    made = in_process(PredictorSettings(), load_artifact(folder))

    def again(logged: "Logged") -> "Logged":
        with Phases(sys.stderr if sys.stderr.isatty() else None) as phases:
            phases.start("predicting the prompts")
            return predicted_again(logged, prompts, made, phases.track)

    return again


@contextmanager
def _uncollected() -> "Iterator[None]":
    """Stops the garbage collector: searching a log's objects for cycles took half the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _instead(policy: str, price: float | None, config: Path | None) -> "Alternative":
    from routoo.telemetry.decision_log.otherwise import OtherPolicy, OtherService

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
        print(f"warning: {finding}", file=sys.stderr)  # noqa: T201
