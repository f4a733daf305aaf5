"""``routoo escalate``: keeps an answer or decides which model to ask next."""
# ruff: noqa: PLC0415
# A command imports what it needs when it runs: ``routoo serve`` then starts fast and stays small.

from typing import Annotated

import typer

from routoo.cli.options.common import (
    Address,
    AsJson,
    TimeoutS,
    print_reply,
    service,
)
from routoo.cli.options.connection import DEFAULT_ADDRESS
from routoo.cli.output.errors import CommandError


def escalate(  # noqa: PLR0913 - one parameter per option
    decision_id: Annotated[
        str, typer.Argument(help="The decision whose answer was seen.", metavar="DECISION")
    ],
    *,
    agreement: Annotated[
        float | None,
        typer.Option(help="Share of other cheap models' answers that agree.", metavar="X"),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(help="First token's best probability minus its second.", metavar="X"),
    ] = None,
    logprobs: Annotated[
        str | None,
        typer.Option(help="The tokens' log-probabilities, comma between.", metavar="X,X,..."),
    ] = None,
    check: Annotated[
        float | None, typer.Option(help="Your own grade of the answer, 0 to 1.", metavar="X")
    ] = None,
    answered: Annotated[
        list[str] | None,
        typer.Option(help="Another model whose answer is at hand; repeatable.", metavar="MODEL"),
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(help="The next model's expected score at least.", metavar="X")
    ] = None,
    max_cost_usd: Annotated[
        float | None, typer.Option(help="The next answer's cost at most.", metavar="USD")
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Keep an answer that was seen, or decide which model to ask next.

    Give one kind of signal; the service needs a rule for it (policy.cascade), learned by
    `routoo calibrate --policy cascade`. Without a signal the answer is taken as of no use.
    """
    from routoo.cli.output import reply_screens

    with service(address, timeout_s) as client:
        try:
            response = client.escalate(
                decision_id,
                agreement=agreement,
                margin=margin,
                logprobs=None if logprobs is None else _numbers(logprobs),
                check=check,
                answered_models=answered,
                min_score=min_score,
                max_cost_usd=max_cost_usd,
            )
        except ValueError as error:
            raise CommandError(str(error)) from None
    print_reply(response, reply_screens.escalation(response), as_json=as_json)


def _numbers(text: str) -> list[float]:
    try:
        return [float(one) for one in text.split(",")]
    except ValueError:
        raise CommandError(f"--logprobs: {text!r} are not numbers with commas between") from None
