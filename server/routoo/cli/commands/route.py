"""``routoo route``: decides one prompt."""
# ruff: noqa: PLC0415
# A command imports what it needs when it runs: ``routoo serve`` then starts fast and stays small.

from typing import Annotated

import typer

from routoo.cli.commands.common import (
    DEFAULT_ADDRESS,
    UINT32_MAX,
    Address,
    AsJson,
    TimeoutS,
    print_reply,
    service,
    stdin_text,
)
from routoo.cli.output.errors import CommandError


def route(  # noqa: PLR0913 - one parameter per option
    prompt: Annotated[
        str, typer.Argument(help="The prompt; - reads it from stdin.", metavar="PROMPT")
    ],
    *,
    max_cost_usd: Annotated[
        float | None, typer.Option(help="At most this predicted cost.", metavar="USD")
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(help="At least this predicted score, 0 to 1.", metavar="X")
    ] = None,
    max_latency_ms: Annotated[
        float | None, typer.Option(help="At most this predicted time.", metavar="MS")
    ] = None,
    allow: Annotated[
        list[str] | None, typer.Option(help="Only this model; repeatable.", metavar="MODEL")
    ] = None,
    deny: Annotated[
        list[str] | None, typer.Option(help="Not this model; repeatable.", metavar="MODEL")
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(help="Only models with this capability; repeatable.", metavar="CAP"),
    ] = None,
    expected_output_tokens: Annotated[
        int | None,
        typer.Option(min=0, max=UINT32_MAX, help="Your estimate of the answer.", metavar="N"),
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Who pays.", metavar="T")] = None,
    session_id: Annotated[str | None, typer.Option(help="The conversation.", metavar="ID")] = None,
    policy: Annotated[
        str | None, typer.Option(help="Decide by this policy, not the one in force.", metavar="P")
    ] = None,
    max_quality_gap: Annotated[
        float | None,
        typer.Option(help="Policy quality_gap: what the small model may lose.", metavar="X"),
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Decide which model should answer one prompt, and show why."""
    from routoo.cli.output import reply_screens

    text = stdin_text() if prompt == "-" else prompt
    with service(address, timeout_s) as client:
        try:
            response = client.route(
                text,
                max_cost_usd=max_cost_usd,
                min_score=min_score,
                max_latency_ms=max_latency_ms,
                allowed_models=allow,
                denied_models=deny,
                required_capabilities=require,
                tenant=tenant,
                session_id=session_id,
                policy=policy,
                max_quality_gap=max_quality_gap,
                expected_output_tokens=expected_output_tokens,
                explain=True,
            )
        except UnicodeEncodeError:
            raise CommandError("an argument is not UTF-8; encode it so") from None
    print_reply(response, reply_screens.decision(response), as_json=as_json)
