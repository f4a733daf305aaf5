"""Decisions on trial over HTTP, which book nothing: one prompt, and two policies on many."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Final

import orjson

from routoo.api.convert.live import difference_message, totals_message
from routoo.api.convert.messages import route_response
from routoo.api.http.door import Door
from routoo.api.http.json_form import JsonForm
from routoo.api.http.rpcs import admitted, json_of
from routoo.api.tenancy import decisions_shown
from routoo.errors import InvalidRequestError, NoEligibleModelError
from routoo.routing.joint import JointConstraints
from routoo.telemetry.live.feed import SHOWN_PROMPT_CHARS
from routoo.telemetry.live.seen_decision import SeenDecision
from routoo.telemetry.live.sums import decided_by, totals_of
from routoo.v1.live_pb2 import ComparePoliciesRequest, ComparePoliciesResponse, PolicySide
from routoo.v1.route_pb2 import RouteRequest, RouteResponse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.api.http.call import HttpCall
    from routoo.api.service import RouterService
    from routoo.engine.current import ActiveEngine
    from routoo.routing.request import PromptRequest
    from routoo.telemetry.live.feed import LiveFeed

_MOST_DIFFERENCES, _MOST_PROMPTS = 50, 200
_MOST_BYTES: Final = 2**20
"""Read on the event loop, which longer bodies would hold up."""
_ALONE: Final = "requests[0]: "


class TrialDoors:
    """Decides without booking, logging or counting. Lives on the event loop that serves.

    Args:
        current: the engine and the settings in force.
        router: reads requests.
        feed: has the latest decisions.
    """

    def __init__(self, current: ActiveEngine, router: RouterService, feed: LiveFeed) -> None:
        self._current = current
        self._router = router
        self._feed = feed
        self._tried = JsonForm.of(RouteRequest)
        self._reply = JsonForm.of(RouteResponse)
        self._comparison = JsonForm.of(ComparePoliciesRequest)
        self._compared = JsonForm.of(ComparePoliciesResponse)

    def doors(self) -> list[Door]:
        """Returns the doors."""
        return [
            Door(
                "POST",
                "/v1/decisions/try",
                self._try,
                "TryRoute",
                most_bytes=_MOST_BYTES,
                summary="Decides one prompt as /v1/route does; nothing is booked.",
                messages=(RouteRequest, RouteResponse),
            ),
            Door(
                "POST",
                "/v1/decisions/compare",
                self._compare,
                "ComparePolicies",
                most_bytes=_MOST_BYTES,
                summary="Tells what two policies would do with the same requests.",
                messages=(ComparePoliciesRequest, ComparePoliciesResponse),
            ),
        ]

    async def _try(self, call: HttpCall) -> None:
        message = self._tried.read(json_of(call.body))
        request = self._router.prompt_request(message, admitted(call).caller)
        try:
            solved = await self._current.engine.route_batch(
                [request], JointConstraints(), is_dry=True
            )
        except NoEligibleModelError as error:
            line = str(error).removeprefix(_ALONE)
            raise NoEligibleModelError(line, constraint=error.constraint) from None
        response = route_response(solved.decisions[0])
        await call.reply(200, orjson.dumps(self._reply.written(response)))

    async def _compare(self, call: HttpCall) -> None:
        admission = admitted(call)
        tenant = decisions_shown(admission.caller)
        asked = self._comparison.read(json_of(call.body))
        self._check_policies(asked)
        if asked.requests:
            admission.count(len(asked.requests) - 1)
            seen, first, other = await self._decide(asked, call)
        else:
            self._feed.look()
            engine = self._current.engine
            names = engine.pool.names
            seen = [one for one in self._feed.latest(tenant) if one.pool.names == names]
            tenants = [one.tenant for one in seen]
            first, other = (
                decided_by(policy, seen, engine.accounting.prices(policy.name, tenants)).tolist()
                for policy in (
                    engine.policies.named[name] for name in (asked.policy, asked.other_policy)
                )
            )
        response = self._comparison_of(asked, seen, first, other)
        await call.reply(200, orjson.dumps(self._compared.written(response)))

    def _check_policies(self, asked: ComparePoliciesRequest) -> None:
        policies = self._current.engine.policies
        for field in ("policy", "other_policy"):
            name = getattr(asked, field)
            if name not in policies.named:
                raise InvalidRequestError(
                    f"unknown policy {name!r}; this service has {', '.join(policies.offered)}",
                    field=field,
                )

    async def _decide(
        self, asked: ComparePoliciesRequest, call: HttpCall
    ) -> tuple[list[SeenDecision], list[int], list[int]]:
        """Decides the prompts of a comparison by both policies.

        Returns:
            The decisions by the first one, and the columns that either has chosen.
        """
        if len(asked.requests) > _MOST_PROMPTS:
            raise InvalidRequestError(
                f"{len(asked.requests)} prompts; send at most {_MOST_PROMPTS}", field="requests"
            )
        by_policy: list[list[SeenDecision]] = []
        for policy in (asked.policy, asked.other_policy):
            requests = self._requests(asked, policy, call)
            solved = await self._current.engine.route_batch(
                requests, JointConstraints(), is_dry=True
            )
            by_policy.append(
                [
                    SeenDecision.of(
                        one.batch,
                        one.row,
                        number=0,
                        time_s=time(),
                        decision_id="",
                        tenant=one.tenant,
                        refused="",
                        ticket=0,
                        prompt=request.text[:SHOWN_PROMPT_CHARS],
                    )
                    for one, request in zip(solved.decisions, requests, strict=True)
                ]
            )
        first, other = by_policy
        return first, [one.choice for one in first], [one.choice for one in other]

    def _requests(
        self, asked: ComparePoliciesRequest, policy: str, call: HttpCall
    ) -> list[PromptRequest]:
        found = []
        for row, message in enumerate(asked.requests):
            if message.policy:
                raise InvalidRequestError(
                    "two policies are compared; leave it empty", field=f"requests[{row}].policy"
                )
            own = RouteRequest()
            own.CopyFrom(message)
            own.policy = policy
            try:
                found.append(self._router.prompt_request(own, admitted(call).caller))
            except InvalidRequestError as error:
                raise error.within(f"requests[{row}]") from None
        return found

    def _comparison_of(
        self,
        asked: ComparePoliciesRequest,
        seen: Sequence[SeenDecision],
        first: Sequence[int],
        other: Sequence[int],
    ) -> ComparePoliciesResponse:
        policies = self._current.engine.policies.named
        differing = [row for row, (a, b) in enumerate(zip(first, other, strict=True)) if a != b]
        side, other_side = (
            PolicySide(policy=policies[name].name, totals=totals_message(totals_of(seen, choice)))
            for name, choice in ((asked.policy, first), (asked.other_policy, other))
        )
        return ComparePoliciesResponse(
            side=side,
            other_side=other_side,
            same=len(seen) - len(differing),
            differences=[
                difference_message(seen[row], first[row], other[row])
                for row in reversed(differing)
                if first[row] >= 0 and other[row] >= 0
            ][:_MOST_DIFFERENCES],
        )
