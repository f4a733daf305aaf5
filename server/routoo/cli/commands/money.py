"""``routoo budgets`` and ``routoo report``: the state of budgets, and reports of outcomes."""
# ruff: noqa: PLC0415
# A command imports what it needs when it runs: ``routoo serve`` then starts fast and stays small.

from typing import TYPE_CHECKING, Annotated, cast

import typer

from routoo.cli.options.common import (
    Address,
    AsJson,
    TimeoutS,
    print_json,
    print_reply,
    service,
    show,
)
from routoo.cli.options.connection import DEFAULT_ADDRESS
from routoo.cli.output.errors import CommandError
from routoo.request_fields import UINT32_MAX

if TYPE_CHECKING:
    from routoo.client.messages import FailureName


def budgets(
    *,
    tenant: Annotated[
        str, typer.Option(help="Only the budgets that apply to this tenant.", metavar="T")
    ] = "",
    address: Address = DEFAULT_ADDRESS,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Show what is left of the budgets, and their prices."""
    from routoo.cli.output import reply_screens

    with service(address, timeout_s) as client:
        response = client.budgets(tenant=tenant)
    print_reply(response, reply_screens.budgets(response), as_json=as_json)


def report(  # noqa: PLR0913 - one parameter per option
    decision_id: Annotated[
        str, typer.Argument(help="The decision_id of the reply.", metavar="DECISION_ID")
    ],
    *,
    cost_usd: Annotated[
        float | None, typer.Option(help="What the answer cost.", metavar="USD")
    ] = None,
    score: Annotated[
        float | None, typer.Option(help="How good it was, 0 to 1.", metavar="X")
    ] = None,
    input_tokens: Annotated[
        int | None,
        typer.Option(min=0, max=UINT32_MAX, help="Billed; with --output-tokens.", metavar="N"),
    ] = None,
    output_tokens: Annotated[
        int | None,
        typer.Option(min=0, max=UINT32_MAX, help="Billed; stands in for a cost.", metavar="N"),
    ] = None,
    cached_input_tokens: Annotated[
        int | None,
        typer.Option(
            min=0, max=UINT32_MAX, help="Of the input, read from the provider's cache.", metavar="N"
        ),
    ] = None,
    cache_write_tokens: Annotated[
        int | None,
        typer.Option(
            min=0, max=UINT32_MAX, help="Of the input, written into its cache.", metavar="N"
        ),
    ] = None,
    cache_write_1h_tokens: Annotated[
        int | None,
        typer.Option(
            min=0, max=UINT32_MAX, help="Of the input, written into it for an hour.", metavar="N"
        ),
    ] = None,
    audio_input_tokens: Annotated[
        int | None, typer.Option(min=0, max=UINT32_MAX, help="Of the input, sound.", metavar="N")
    ] = None,
    image_input_tokens: Annotated[
        int | None, typer.Option(min=0, max=UINT32_MAX, help="Of the input, images.", metavar="N")
    ] = None,
    video_input_tokens: Annotated[
        int | None, typer.Option(min=0, max=UINT32_MAX, help="Of the input, films.", metavar="N")
    ] = None,
    reasoning_tokens: Annotated[
        int | None,
        typer.Option(min=0, max=UINT32_MAX, help="Of the output, not shown.", metavar="N"),
    ] = None,
    audio_output_tokens: Annotated[
        int | None, typer.Option(min=0, max=UINT32_MAX, help="Of the output, sound.", metavar="N")
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=0, max=UINT32_MAX, help="Images in the request.", metavar="N")
    ] = None,
    service_tier: Annotated[
        str | None, typer.Option(help="That was served: batch, flex, priority.", metavar="TIER")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Who answered, if another model.", metavar="MODEL")
    ] = None,
    error: Annotated[
        str | None, typer.Option(help="The provider's error, if no answer.", metavar="TEXT")
    ] = None,
    status_code: Annotated[
        int | None,
        typer.Option(min=0, max=UINT32_MAX, help="HTTP status of the reply.", metavar="N"),
    ] = None,
    retry_after_s: Annotated[
        float | None, typer.Option(help="The provider's Retry-After, in seconds.", metavar="S")
    ] = None,
    failure: Annotated[
        str | None,
        typer.Option(
            help="Without a status: timeout, connection, reset, rate_limited, server_error,"
            " credentials or gone.",
            metavar="WORD",
        ),
    ] = None,
    reason_code: Annotated[
        str | None,
        typer.Option(help="Why it is so, in a word of your own, for the log.", metavar="WORD"),
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Report what really happened after a decision; settles its cost.

    Exit code 2 when nothing was booked or counted; the line says why.
    """
    from routoo.cli.output import report_screen

    with service(address, timeout_s) as client:
        try:
            response = client.report_outcome(
                decision_id,
                cost_usd=cost_usd,
                score=score,
                input_tokens=input_tokens,
                output_tokens=output_tokens,
                cached_input_tokens=cached_input_tokens,
                cache_write_tokens=cache_write_tokens,
                cache_write_1h_tokens=cache_write_1h_tokens,
                audio_input_tokens=audio_input_tokens,
                image_input_tokens=image_input_tokens,
                video_input_tokens=video_input_tokens,
                reasoning_tokens=reasoning_tokens,
                audio_output_tokens=audio_output_tokens,
                images=images,
                service_tier=service_tier,
                model=model,
                error=error,
                status_code=status_code,
                retry_after_s=retry_after_s,
                failure=cast("FailureName | None", failure),
                reason_code=reason_code,
            )
        except UnicodeEncodeError:
            raise CommandError("an argument is not UTF-8; encode it so") from None
        except ValueError as wrong:
            raise CommandError(str(wrong)) from None
    if as_json:
        print_json(report_screen.values(decision_id, response))
    elif response.accepted:
        show(report_screen.accepted(response))
    if not response.accepted:
        raise CommandError(report_screen.refusal(decision_id, response), is_printed=True)
