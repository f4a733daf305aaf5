"""``routoo health``: asks whether a service takes requests; for containers and probes."""
# Only gRPC is imported: a probe that starts every few seconds has to be cheap.
# ruff: noqa: PLC0415

from typing import Annotated

import typer

from routoo.cli.options.common import AsJson, TimeoutS, print_json
from routoo.cli.options.connection import credential_files
from routoo.cli.output.errors import FAILED, UNREACHABLE, CommandError


def health(
    address: Annotated[
        str | None,
        typer.Argument(help="HOST:PORT or unix:PATH of the service.", metavar="A"),
    ] = None,
    *,
    component: Annotated[
        str, typer.Option(help="Ask about a part, e.g. predictor.triton.", metavar="NAME")
    ] = "",
    timeout_s: TimeoutS = 2.0,
    as_json: AsJson = False,
) -> None:
    """Ask the gRPC health service; exit code 0 when it says SERVING.

    1: it says something else, e.g. while it drains. 3: nobody answers in time.
    """
    assert address is not None  # noqa: S101 - with_connection has filled it in
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from routoo.client.channel import open_channel

    what = component or "the service"
    with open_channel(address, tls=credential_files().read_tls()) as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=component), timeout=timeout_s
            )
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                raise CommandError(
                    f"the service at {address} knows no {component!r}; ask without --component"
                ) from None
            raise CommandError(
                f"no health from {address} within {timeout_s:g} s ({error.code().name}); start it"
                " with `routoo serve`, or name another address",
                UNREACHABLE,
            ) from None
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)
    if reply.status != health_pb2.HealthCheckResponse.SERVING:
        raise CommandError(f"{what} at {address} says {status}; its log says why", FAILED)
    if as_json:
        print_json({"status": status})
    else:
        typer.echo(status)
