"""Checks that a running service really decides, by requests and by its own counters."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from urllib.request import urlopen

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from harness.load import LoadError
from routoo.v1.info_pb2 import ListModelsRequest
from routoo.v1.route_pb2 import RULE_UNSPECIFIED, RouteRequest, RouteResponse
from routoo.v1.router_pb2_grpc import RouterServiceStub

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CALL_WITHIN_S = 10.0
# h2load drops what is in flight when its time is over.
CODES_OF_A_GOOD_RUN = frozenset({"OK", "CANCELLED"})


@dataclass(frozen=True, slots=True)
class Decisions:
    """Decisions of the service, one prompt at a time.

    Attributes:
        models: the chosen model of each prompt.
        phases_us: the median time of each phase, in microseconds of the service's clock.
    """

    models: tuple[str, ...]
    phases_us: Mapping[str, float]

    def shares(self) -> dict[str, float]:
        """Returns the share of the prompts by model, most frequent first."""
        counted = Counter(self.models).most_common()
        return {model: count / len(self.models) for model, count in counted}


class ServiceProbe:
    """A gRPC client and a reader of the metrics page."""

    def __init__(self, address: str, metrics_address: str) -> None:
        """Connects and checks the health service.

        Raises:
            LoadError: the service says ready, but its health is not SERVING.
        """
        self._metrics_url = f"http://{metrics_address}/metrics"
        self._channel = grpc.insecure_channel(address)
        self._stub = RouterServiceStub(self._channel)
        health = health_pb2_grpc.HealthStub(self._channel).Check(
            health_pb2.HealthCheckRequest(service="routoo.v1.RouterService"), timeout=CALL_WITHIN_S
        )
        if health.status != health_pb2.HealthCheckResponse.SERVING:
            raise LoadError("the service printed ready, but its health is not SERVING")
        listed = self._stub.ListModels(ListModelsRequest(), timeout=CALL_WITHIN_S)
        self._pool = frozenset(model.name for model in listed.models)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def decide(self, prompts: Sequence[str]) -> Decisions:
        """Routes each prompt in turn.

        Raises:
            LoadError: a call failed, or its reply is not a decision.
        """
        replies = [self._route(prompt) for prompt in prompts]
        if len({reply.decision_id for reply in replies}) != len(replies):
            raise LoadError("two decisions have the same decision_id")
        phases = ("queue", "tokenize", "predict", "select", "total")
        return Decisions(
            tuple(reply.model for reply in replies),
            {
                phase: statistics.median(
                    getattr(reply.timing, f"{phase}_ns") * 1e-3 for reply in replies
                )
                for phase in phases
            },
        )

    def reply_bytes(self, prompt: str) -> int:
        """Returns the length of the reply to a prompt, in bytes."""
        return self._route(prompt).ByteSize()

    def answered(self) -> dict[str, float]:
        """Returns the number of ``Route`` calls answered so far, by status code."""
        with urlopen(self._metrics_url, timeout=CALL_WITHIN_S) as page:  # noqa: S310 - http, ours
            families = text_string_to_metric_families(page.read().decode())
        return {
            sample.labels["code"]: sample.value
            for family in families
            for sample in family.samples
            if sample.name == "routoo_requests_total" and sample.labels["rpc"] == "Route"
        }

    def check_answered(self, before: Mapping[str, float], calls: int) -> None:
        """Compares the client's count of calls with the service's.

        Raises:
            LoadError: the service answered fewer calls with OK than the client saw, or any with
                an error: HTTP status 200 hides both.
        """
        since = {code: count - before.get(code, 0.0) for code, count in self.answered().items()}
        if since.get("OK", 0.0) < calls:
            raise LoadError(f"{calls} calls were measured, the service decided {since}")
        failed = {code: n for code, n in since.items() if n and code not in CODES_OF_A_GOOD_RUN}
        if failed:
            raise LoadError(f"the service refused or failed calls of the load: {failed}")

    def _route(self, prompt: str) -> RouteResponse:
        try:
            reply = self._stub.Route(RouteRequest(prompt=prompt), timeout=CALL_WITHIN_S)
        except grpc.RpcError as error:
            raise LoadError(f"Route failed: {error.code().name}: {error.details()}") from None
        if reply.model not in self._pool or reply.reason.rule == RULE_UNSPECIFIED:
            raise LoadError(f"not a decision: model {reply.model!r}, rule {reply.reason.rule}")
        return reply
