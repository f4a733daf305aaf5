"""Authentication on real channels lets callers in as their tenant and hides the others' data."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from time import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from routoo.api.security.tokens import append_token, new_token
from routoo.client.channel import Tls, open_aio_channel, token_metadata
from routoo.v1 import batch_pb2, budget_pb2, info_pb2, outcome_pb2, route_pb2
from routoo.v1.router_pb2_grpc import RouterServiceStub
from support.certificates import authority
from support.tiny_service import Running, refusal, serving, tiny_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
DENIED = grpc.StatusCode.PERMISSION_DENIED
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
EASY = route_pb2.RouteRequest(prompt="easy")
BUDGETS = [
    {"name": "everyone", "usd": 1000.0, "per": "30d"},
    {"name": "team-a", "tenant": "a", "usd": 100.0, "per": "30d"},
    {"name": "team-b", "tenant": "b", "usd": 100.0, "per": "30d"},
]
WITHOUT_BODY = {
    "Route": route_pb2.RouteRequest,
    "RouteBatch": batch_pb2.RouteBatchRequest,
    "Frontier": batch_pb2.FrontierRequest,
    "ListModels": info_pb2.ListModelsRequest,
    "GetInfo": info_pb2.GetInfoRequest,
    "ReportOutcome": outcome_pb2.ReportOutcomeRequest,
    "Escalate": outcome_pb2.EscalateRequest,
    "GetBudget": budget_pb2.GetBudgetRequest,
}


class Clock:
    """A clock for the gate, which the test moves."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Tokens:
    """A file of tokens, and the metadata with which each token is sent."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "tokens.jsonl"
        self.file.touch()

    def new(self, tenant: str = "", *roles: str, valid_s: float | None = None) -> Any:
        text, stored = new_token(tenant, roles or ("route",), time(), valid_s)
        append_token(self.file, stored)
        return token_metadata(text, "127.0.0.1:1", None)


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens(tmp_path)


@asynccontextmanager
async def asking(folder: Path, tokens: Tokens, **changes: Any) -> AsyncIterator[Running]:
    """Runs a service that requires the tokens of a file."""
    security = {"tokens": tokens.file, **changes.pop("security", {})}
    async with serving(tiny_settings(folder, security=security, **changes)) as running:
        yield running


def gate_clock(running: Running) -> Clock:
    """Gives the gate a clock that the test moves, and returns it."""
    clock = Clock()
    gate = running.service._entrance.gate
    gate._clock_s = clock
    gate._looked_s = 0.0
    if gate._limits is not None:
        gate._limits._clock_s = clock
    return clock


async def test_nobody_gets_in_without_a_token(tmp_path: Path, tokens: Tokens) -> None:
    good = tokens.new("a")
    bad = (("authorization", good[0][1][:-1] + ("A" if good[0][1][-1] != "A" else "B")),)
    async with asking(tmp_path, tokens) as running:
        for metadata, words in (
            (None, "who calls is asked here; send the header `authorization: Bearer TOKEN`"),
            (bad, "the token is not known here, or has expired; ask the operator"),
            ((("authorization", "Basic eDp5"),), "the token is not known here"),
            ((("authorization", ""),), "the token is not known here"),
            ((*good, *good), "the token is not known here"),
        ):
            for name, kind in WITHOUT_BODY.items():
                call = getattr(running.stub, name)(kind(), metadata=metadata, timeout=60)
                code, text = await refusal(call)
                assert code is UNAUTHENTICATED, name
                assert text.startswith(words)
            stream = running.stub.RouteStream(metadata=metadata, timeout=60)
            code, text = await refusal(stream.read())
            assert code is UNAUTHENTICATED
        reply = await running.stub.Route(EASY, metadata=good, timeout=60)
        assert reply.model == "small"
        value = running.service.metrics.registry.get_sample_value
        refused = value("routoo_refused_calls_total", {"reason": "unauthenticated"})
        assert refused == 5 * (len(WITHOUT_BODY) + 1)
        assert value("routoo_requests_total", {"rpc": "Route", "code": "UNAUTHENTICATED"}) == 5


async def test_a_strangers_body_is_not_read(tmp_path: Path, tokens: Tokens) -> None:
    """A caller without a token that never ends its message is answered all the same."""
    async with asking(tmp_path, tokens) as running:
        call = running.channel.stream_unary("/routoo.v1.RouterService/Route")(timeout=60)
        code, _ = await refusal(call)
        assert code is UNAUTHENTICATED


async def test_health_needs_no_token(tmp_path: Path, tokens: Tokens) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    async with asking(tmp_path, tokens) as running:
        stub = health_pb2_grpc.HealthStub(running.channel)
        reply = await stub.Check(health_pb2.HealthCheckRequest(), timeout=60)
        assert reply.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_token_is_taken_and_taken_back_without_a_restart(
    tmp_path: Path, tokens: Tokens
) -> None:
    first = tokens.new("a")
    async with asking(tmp_path, tokens) as running:
        clock = gate_clock(running)
        second = tokens.new("b")
        clock.now_s += 2.0
        assert (await running.stub.Route(EASY, metadata=second, timeout=60)).model == "small"
        kept = tokens.file.read_bytes()
        tokens.file.write_bytes(kept.splitlines(keepends=True)[1])
        clock.now_s += 2.0
        code, _ = await refusal(running.stub.Route(EASY, metadata=first, timeout=60))
        assert code is UNAUTHENTICATED
        tokens.file.write_text("broken")
        clock.now_s += 2.0
        assert (await running.stub.Route(EASY, metadata=second, timeout=60)).model == "small"
        assert [one["event"] for one in running.logs if "tokens" in one["event"]] == [
            *["took new tokens"] * 2,
            "kept the old tokens",
        ]


async def test_an_expired_token(tmp_path: Path, tokens: Tokens) -> None:
    metadata = tokens.new("a", valid_s=-1.0)
    async with asking(tmp_path, tokens) as running:
        code, _ = await refusal(running.stub.Route(EASY, metadata=metadata, timeout=60))
        assert code is UNAUTHENTICATED


async def test_the_tenant_is_the_tokens_and_not_the_requests(
    tmp_path: Path, tokens: Tokens
) -> None:
    a, nobody, admin = tokens.new("a"), tokens.new(), tokens.new("", "admin", "route")
    foreign = route_pb2.RouteRequest(prompt="easy", tenant="b")
    async with asking(tmp_path, tokens, budgets=BUDGETS) as running:
        stub = running.stub

        async def reserved() -> dict[str, float]:
            shown = await stub.GetBudget(budget_pb2.GetBudgetRequest(), metadata=admin, timeout=60)
            return {one.name: one.reserved_usd for one in shown.budgets}

        await stub.Route(EASY, metadata=a, timeout=60)
        after = await reserved()
        assert after["team-a"] > 0.0
        assert after["team-b"] == 0.0
        own = route_pb2.RouteRequest(prompt="easy", tenant="a")
        await stub.Route(own, metadata=a, timeout=60)
        assert (await reserved())["team-a"] == pytest.approx(2 * after["team-a"])
        batch = batch_pb2.RouteBatchRequest(requests=[EASY, foreign])
        limits = batch_pb2.RouteBatchRequest(requests=[EASY], tenant_budgets_usd={"b": 1.0})
        frontier = batch_pb2.FrontierRequest(requests=[foreign])
        for metadata in (a, nobody, admin):
            for call in (
                stub.Route(foreign, metadata=metadata, timeout=60),
                stub.RouteBatch(batch, metadata=metadata, timeout=60),
                stub.RouteBatch(limits, metadata=metadata, timeout=60),
                stub.Frontier(frontier, metadata=metadata, timeout=60),
            ):
                code, text = await refusal(call)
                assert code is DENIED
                assert text == (
                    "tenant: another than that of your token or certificate; leave it empty"
                )
        stream = stub.RouteStream(metadata=a, timeout=60)
        await stream.write(foreign)
        assert (await stream.read()).error.code == DENIED.value[0]
        await stream.write(EASY)
        assert (await stream.read()).model == "small"
        await stream.done_writing()
        assert (await reserved())["team-b"] == 0.0


async def test_who_sees_which_budgets(tmp_path: Path, tokens: Tokens) -> None:
    a, nobody, admin = tokens.new("a"), tokens.new(), tokens.new("", "admin")
    async with asking(tmp_path, tokens, budgets=BUDGETS) as running:

        async def shown(metadata: Any, tenant: str = "") -> list[str]:
            request = budget_pb2.GetBudgetRequest(tenant=tenant)
            reply = await running.stub.GetBudget(request, metadata=metadata, timeout=60)
            return [one.name for one in reply.budgets]

        assert await shown(a) == ["team-a"]
        assert await shown(a, "a") == ["team-a"]
        assert await shown(admin) == ["everyone", "team-a", "team-b"]
        assert await shown(admin, "b") == ["everyone", "team-b"]
        for metadata, tenant in ((a, "b"), (nobody, ""), (nobody, "a")):
            code, _ = await refusal(shown(metadata, tenant))
            assert code is DENIED
        code, text = await refusal(running.stub.Route(EASY, metadata=admin, timeout=60))
        assert (code, text) == (DENIED, "Route needs a token or certificate with the role route")


async def test_the_shadows_sums_are_for_admins(tmp_path: Path, tokens: Tokens) -> None:
    a, admin = tokens.new("a"), tokens.new("", "admin")
    async with asking(tmp_path, tokens, policy={"shadow": "best"}) as running:
        request = info_pb2.GetInfoRequest()
        seen = await running.stub.GetInfo(request, metadata=a, timeout=60)
        assert not seen.HasField("shadow")
        assert seen.policy_version
        seen = await running.stub.GetInfo(request, metadata=admin, timeout=60)
        assert seen.HasField("shadow")


async def test_another_tenants_decision_can_be_neither_reported_nor_escalated(
    tmp_path: Path, tokens: Tokens
) -> None:
    a, b = tokens.new("a"), tokens.new("b")
    async with asking(tmp_path, tokens, budgets=BUDGETS) as running:
        stub = running.stub
        made = (await stub.Route(EASY, metadata=a, timeout=60)).decision_id
        report = outcome_pb2.ReportOutcomeRequest(decision_id=made, cost_usd=0.0)
        assert not (await stub.ReportOutcome(report, metadata=b, timeout=60)).accepted
        escalate = outcome_pb2.EscalateRequest(decision_id=made)
        code, text = await refusal(stub.Escalate(escalate, metadata=b, timeout=60))
        unknown = outcome_pb2.EscalateRequest(decision_id="none")
        same = await refusal(stub.Escalate(unknown, metadata=b, timeout=60))
        assert (code, text) == (same[0], same[1].replace("none", made))
        assert (await stub.Escalate(escalate, metadata=a, timeout=60)).kept_score is not None
        assert (await stub.ReportOutcome(report, metadata=a, timeout=60)).accepted


async def test_one_clients_limit_does_not_touch_the_other(tmp_path: Path, tokens: Tokens) -> None:
    a, b = tokens.new("a"), tokens.new("b")
    limits = {"per_client": {"prompts_per_s": 2.0, "burst_prompts": 2}}
    async with asking(tmp_path, tokens, security=limits) as running:
        clock = gate_clock(running)
        stub = running.stub
        await stub.Route(EASY, metadata=a, timeout=60)
        batch = batch_pb2.RouteBatchRequest(requests=[EASY] * 3)
        await stub.RouteBatch(batch, metadata=a, timeout=60)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Route(EASY, metadata=a, timeout=60)
        assert caught.value.code() is EXHAUSTED
        assert "above the 2 prompts per second" in (caught.value.details() or "")
        trailers = dict(caught.value.trailing_metadata() or ())
        assert trailers["grpc-retry-pushback-ms"] == "1500"
        await stub.Route(EASY, metadata=b, timeout=60)
        clock.now_s += 1.5
        stream = stub.RouteStream(metadata=a, timeout=60)
        await stream.write(EASY)
        assert (await stream.read()).error.code == EXHAUSTED.value[0]
        clock.now_s += 1.0
        await stream.write(EASY)
        assert (await stream.read()).model == "small"
        await stream.done_writing()


async def test_calls_at_once_without_authentication(tmp_path: Path) -> None:
    limits = {"per_client": {"max_concurrent": 1}}
    async with serving(tiny_settings(tmp_path, security=limits)) as running:
        stream = running.stub.RouteStream(timeout=60)
        await stream.write(EASY)
        assert (await stream.read()).model == "small"
        code, text = await refusal(running.route("easy"))
        assert code is EXHAUSTED
        assert text.startswith("1 calls of yours are in progress")
        second = running.stub.RouteStream(timeout=60)
        assert (await refusal(second.read()))[0] is EXHAUSTED
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        assert await stream.code() is grpc.StatusCode.OK
        assert (await running.route("easy", tenant="whoever")).model == "small"


async def by_certificate(address: str, tls: Tls, metadata: Any = (), tenant: str = "") -> str:
    async with open_aio_channel(
        address, (("grpc.use_local_subchannel_pool", 1),), tls=tls
    ) as channel:
        request = route_pb2.RouteRequest(prompt="easy", tenant=tenant)
        call = RouterServiceStub(channel).Route(request, metadata=metadata, timeout=60)
        return str((await call).model)


async def test_certificates_say_who_calls(tmp_path: Path, tokens: Tokens) -> None:
    signed = authority(tmp_path)
    security = {
        "tls": signed.serve(),
        "certificates": [
            {"subject": "a.example", "tenant": "a"},
            {"subject": "an old device", "tenant": "b"},
        ],
    }
    token = tokens.new("b")
    async with asking(tmp_path, tokens, security=security) as running:
        address = running.service.address
        known = signed.client("other.example", "a.example")
        assert await by_certificate(address, known, tenant="a") == "small"
        assert (await refusal(by_certificate(address, known, tenant="b")))[0] is DENIED
        # A token takes precedence over a certificate, and has to be valid.
        assert await by_certificate(address, known, token, tenant="b") == "small"
        bad = (("authorization", "Bearer nothing"),)
        assert (await refusal(by_certificate(address, known, bad)))[0] is UNAUTHENTICATED
        old = signed.client(common_name="an old device")
        assert await by_certificate(address, old, tenant="b") == "small"
        # The common name does not count in a certificate with alternative names.
        both = signed.client("c.example", common_name="an old device")
        for stranger in (signed.client("c.example"), both):
            assert (await refusal(by_certificate(address, stranger)))[0] is UNAUTHENTICATED
        other = authority(tmp_path / "..").client("a.example")
        trusting = Tls(signed.ca.cert_pem.bytes(), other.certificate, other.key)
        for without in (signed.client(), trusting):
            code, _ = await refusal(by_certificate(address, without))
            assert code is grpc.StatusCode.UNAVAILABLE


async def test_many_callers_at_once_are_kept_apart(tmp_path: Path, tokens: Tokens) -> None:
    callers = {name: tokens.new(name) for name in "abcdefgh"}
    budgets = [{"name": name, "tenant": name, "usd": 100.0, "per": "30d"} for name in callers]
    async with asking(tmp_path, tokens, budgets=budgets) as running:

        async def decide(name: str, times: int) -> None:
            for _ in range(times):
                await running.stub.Route(EASY, metadata=callers[name], timeout=60)

        wanted = {name: 1 + row for row, name in enumerate(callers)}
        await asyncio.gather(*(decide(name, times) for name, times in wanted.items()))
        spent = {}
        for name, metadata in callers.items():
            request = budget_pb2.GetBudgetRequest()
            shown = (await running.stub.GetBudget(request, metadata=metadata, timeout=60)).budgets
            spent[name] = shown[0].reserved_usd
        for name, times in wanted.items():
            assert spent[name] == pytest.approx(times * spent["a"])
