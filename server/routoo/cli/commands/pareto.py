"""``routoo pareto``: finds the cost-quality frontier of a file of prompts."""
# ruff: noqa: PLC0415
# A command imports what it needs when it runs: ``routoo serve`` then starts fast and stays small.

import sys
from pathlib import Path
from typing import Annotated

import typer

from routoo.cli.options.common import (
    Address,
    AsJson,
    TimeoutS,
    print_json,
    prompts_in,
    service,
    show,
)
from routoo.cli.options.connection import DEFAULT_ADDRESS
from routoo.cli.output.errors import CommandError


def pareto(  # noqa: PLR0913 - one parameter per option
    file: Annotated[
        Path,
        typer.Argument(
            help="JSON Lines: a prompt or a request per line; - is stdin.", metavar="FILE"
        ),
    ],
    *,
    out: Annotated[Path, typer.Option(help="The frontier: NAME.json or NAME.png.", metavar="FILE")],
    alpha: Annotated[
        float, typer.Option(help="Take A standard deviations off each score.", metavar="A")
    ] = 0.0,
    pick: Annotated[
        int | None, typer.Option(help="Decide as vertex N, from 0, the cheapest.", metavar="N")
    ] = None,
    pick_budget_usd: Annotated[
        float | None, typer.Option(help="Decide as the best vertex within this.", metavar="USD")
    ] = None,
    assignment: Annotated[
        Path | None,
        typer.Option(help="JSON Lines: the decisions of the picked vertex.", metavar="FILE"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Pick, and book nothing in the budgets.")
    ] = False,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: TimeoutS = 300.0,
    as_json: AsJson = False,
) -> None:
    """Find every point of a file's cost-quality frontier, and decide as one of them.

    The frontier is exact: it holds each vertex of the linear program's optimum as a function of
    the budget. --pick or --pick-budget-usd takes a vertex and writes its decisions to --assignment.
    The service's budgets book them, and where less is left than the vertex costs, the decisions are
    the best within that. With --dry-run nothing is booked; `batch --assignment` carries them out
    later. With --alpha, scores that are less certain count for less. FILE is as for `batch`.
    """
    from routoo.cli.output import batch_screens
    from routoo.cli.output.files import check_writable, replacing, write_lines
    from routoo.cli.output.frontier_file import Vertices, check_format, write_frontier
    from routoo.cli.output.progress import Phases

    if pick is not None and pick_budget_usd is not None:
        raise CommandError("--pick and --pick-budget-usd both pick a vertex; give one of them")
    if (pick is None and pick_budget_usd is None) != (assignment is None):
        raise CommandError(
            "--assignment FILE goes with --pick or --pick-budget-usd; give both, or neither"
        )
    check_format(out)
    for path in filter(None, (out, assignment)):
        check_writable(path)
    with Phases(sys.stderr if sys.stderr.isatty() else None) as phases:
        phases.start(f"reading {file}")
        prompts = prompts_in(file)
        count = f"{len(prompts.requests):,}"
        phases.finish(f"read {count} prompts")
        phases.start("finding the frontier")
        with service(address, timeout_s, prompts) as client:
            response = client.frontier(prompts.requests, score_std_weight=alpha)
            vertices = Vertices.of(response, len(prompts.requests), alpha)
            phases.finish(f"found {len(vertices.total_cost_usd):,} vertices")
            picked = decided = None
            if pick is not None:
                picked = vertices.at(pick)
            elif pick_budget_usd is not None:
                picked = vertices.within(pick_budget_usd)
            if picked is not None:
                phases.start(f"deciding {count} prompts")
                decided = client.route_many(
                    prompts.requests,
                    budget_usd=vertices.total_cost_usd[picked],
                    score_std_weight=alpha,
                    dry_run=dry_run,
                )
                phases.finish(f"decided {count} prompts")
        with replacing(out) as stream:
            write_frontier(stream, vertices, picked, is_picture=out.suffix == ".png")
        if decided is not None and assignment is not None:
            with replacing(assignment) as stream:
                write_lines(stream, decided.responses)
    if as_json:
        print_json(batch_screens.frontier_summary(vertices, picked, decided, out=str(out)))
    else:
        show(batch_screens.frontier(vertices, picked, decided))
