"""``routoo batch``: decides many prompts jointly."""
# ruff: noqa: PLC0415
# A command imports what it needs when it runs: ``routoo serve`` then starts fast and stays small.

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from routoo.cli.options.common import (
    UINT64_MAX,
    Address,
    AsJson,
    TimeoutS,
    assignment_in,
    named_counts,
    named_numbers,
    print_json,
    prompts_in,
    service,
    show,
)
from routoo.cli.options.connection import DEFAULT_ADDRESS
from routoo.cli.output.errors import CommandError
from routoo.request_fields import UINT32_MAX

if TYPE_CHECKING:
    from routoo.client import BatchOptions


def batch(  # noqa: PLR0913 - one parameter per option
    file: Annotated[
        Path,
        typer.Argument(
            help="JSON Lines: a prompt or a request per line; - is stdin.", metavar="FILE"
        ),
    ],
    *,
    out: Annotated[
        Path,
        typer.Option(
            help="JSON Lines: a decision per line, in order; - is stdout.", metavar="FILE"
        ),
    ],
    budget_usd: Annotated[
        float | None, typer.Option(help="All answers together at most.", metavar="USD")
    ] = None,
    min_mean_score: Annotated[
        float | None, typer.Option(help="Mean predicted score at least, 0 to 1.", metavar="X")
    ] = None,
    score_per_usd: Annotated[
        float | None, typer.Option(help="What a dollar is worth, in score.", metavar="L")
    ] = None,
    capacity: Annotated[
        list[str] | None,
        typer.Option(help="At most K prompts for model M; repeatable.", metavar="M=K"),
    ] = None,
    token_capacity: Annotated[
        list[str] | None,
        typer.Option(help="At most K tokens for model M; repeatable.", metavar="M=K"),
    ] = None,
    max_mean_latency_ms: Annotated[
        float | None, typer.Option(help="Mean predicted time at most.", metavar="MS")
    ] = None,
    tenant_budget: Annotated[
        list[str] | None,
        typer.Option(help="Tenant T's answers at most; repeatable.", metavar="T=USD"),
    ] = None,
    alpha: Annotated[
        float, typer.Option(help="Take A standard deviations off each score.", metavar="A")
    ] = 0.0,
    policy: Annotated[
        str, typer.Option(help="Decide at economy, balanced or quality.", metavar="P")
    ] = "",
    assignment: Annotated[
        Path | None,
        typer.Option(help="Carry out these decisions, of `pareto` or `batch`.", metavar="FILE"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Decide, and book nothing in the budgets.")
    ] = False,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: TimeoutS = 300.0,
    as_json: AsJson = False,
) -> None:
    """Decide many prompts jointly, as one linear program.

    They get the most quality that --budget-usd buys. With --min-mean-score and no budget they cost
    the least that reaches it. With --score-per-usd they make the best trade at that price. Within
    capacities, tenants' budgets and a mean latency, if given; with no constraint, each prompt is
    decided as by `route`, by the --policy named, if any. What the service's budgets have left
    bounds them all. No model is called; what the answers are expected to cost is booked, unless
    --dry-run is given.

    --assignment gives each prompt the model that was decided for it before, at the cost that was
    shown then.

    A line of FILE is a JSON string, or an object: {"prompt": "...", "request_id": "7",
    "max_cost_usd": 0.01, "tenant": "acme"}. It may have "messages" for "prompt", and every
    constraint that `route` knows, by its name in the API.
    """
    from routoo.cli.output import batch_screens
    from routoo.cli.output.files import check_writable, replacing, write_lines
    from routoo.cli.output.progress import Phases

    constraints: BatchOptions = {
        "budget_usd": budget_usd,
        "min_mean_score": min_mean_score,
        "score_per_usd": score_per_usd,
        "max_requests": named_counts("--capacity", capacity, UINT32_MAX),
        "max_tokens": named_counts("--token-capacity", token_capacity, UINT64_MAX),
        "max_mean_latency_ms": max_mean_latency_ms,
        "tenant_budgets_usd": named_numbers("--tenant-budget", tenant_budget),
        "score_std_weight": alpha,
        "dry_run": dry_run,
    }
    if assignment is not None and any(
        value for name, value in constraints.items() if name != "dry_run"
    ):
        raise CommandError("--assignment is decided already; leave the constraints out")
    to_stdout = str(out) == "-"
    if as_json and to_stdout:
        raise CommandError("--json and --out - both want stdout; name a file with --out")
    if not to_stdout:
        check_writable(out)
    # Decisions and progress must not be mixed on one screen.
    is_shown = sys.stderr.isatty() and not (to_stdout and sys.stdout.isatty())
    with Phases(sys.stderr if is_shown else None) as phases:
        phases.start(f"reading {file}")
        prompts = prompts_in(file)
        count = f"{len(prompts.requests):,}"
        if assignment is not None:
            decided = assignment_in(assignment, prompts)
            decided.apply(prompts.requests)
            constraints["budget_usd"] = budget_usd = decided.budget_usd
        for request in prompts.requests:
            request.policy = request.policy or policy
        phases.finish(f"read {count} prompts")
        phases.start(f"deciding {count} prompts")
        with service(address, timeout_s, prompts) as client:
            try:
                response = client.route_many(prompts.requests, **constraints)
            except UnicodeEncodeError:
                raise CommandError("an argument is not UTF-8; encode it so") from None
        phases.finish(f"decided {count} prompts")
        phases.start(f"writing {out}", total=len(response.responses))
        if to_stdout:
            write_lines(sys.stdout.buffer, phases.track(response.responses))
        else:
            with replacing(out) as stream:
                write_lines(stream, phases.track(response.responses))
        phases.finish(f"wrote {count} decisions to {out}")
    if as_json:
        print_json(batch_screens.batch_summary(response, budget_usd=budget_usd, out=str(out)))
    else:
        screen = batch_screens.batch(response, budget_usd=budget_usd)
        show(screen, to_stderr=to_stdout)
