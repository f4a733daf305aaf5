"""Retries of the client: which calls are tried again, when, and never beyond the deadline."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from routoo.client import NO_RETRIES, AsyncRouterClient, RetryPolicy, RouterClient, RouterError
from routoo.v1.outcome_pb2 import ReportOutcomeResponse
from support.certificates import authority
from support.client_time import Time
from support.peers.scripted_router import Fails, Hangs, scripted_router

if TYPE_CHECKING:
    from support.peers.scripted_router import Answer, ScriptedRouter

AWAY = Fails(grpc.StatusCode.UNAVAILABLE)
CUT = Fails(grpc.StatusCode.CANCELLED)
SHED = Fails(grpc.StatusCode.RESOURCE_EXHAUSTED, pushback="250")
SPENT = Fails(grpc.StatusCode.RESOURCE_EXHAUSTED, text="budget all has $0 left")


def client_of(router: ScriptedRouter, time: Time, **options: Any) -> RouterClient:
    options = {"timeout_s": 30.0, "rng": time.rng, **options}
    return RouterClient(router.address, sleep=time.sleep, clock=time.clock, **options)


@pytest.mark.parametrize("failures", [[AWAY], [SHED], [CUT], [AWAY, SHED, CUT]])
def test_what_passes_is_tried_again(failures: list[Answer]) -> None:
    time = Time()
    with scripted_router(*failures) as router, client_of(router, time) as client:
        assert client.route("x").model == "small"
        assert len(router.calls) == len(time.slept_s) + 1 == len(failures) + 1
        assert client.retries == len(failures)


async def test_the_async_client_tries_again_too() -> None:
    time = Time()
    with scripted_router(AWAY, SHED) as router:
        async with AsyncRouterClient(
            router.address, timeout_s=30, sleep=time.sleep_async, clock=time.clock, rng=time.rng
        ) as client:
            assert (await client.route("x")).model == "small"
            assert client.retries == 2
        assert len(router.calls) == 3
    assert 0.25 <= time.slept_s[1] <= 0.30


@pytest.mark.parametrize(
    "refusal",
    [
        SPENT,
        Fails(grpc.StatusCode.RESOURCE_EXHAUSTED, pushback="-1"),
        Fails(grpc.StatusCode.UNAVAILABLE, pushback="-1"),
        Fails(grpc.StatusCode.UNAVAILABLE, pushback="soon"),
        Fails(grpc.StatusCode.INVALID_ARGUMENT),
        Fails(grpc.StatusCode.FAILED_PRECONDITION, pushback="10"),
        Fails(grpc.StatusCode.INTERNAL),
    ],
)
def test_what_does_not_pass_is_not(refusal: Fails) -> None:
    time = Time()
    with scripted_router(refusal) as router, client_of(router, time) as client:
        with pytest.raises(RouterError) as caught:
            client.route("x")
        assert caught.value.code is refusal.code
        assert len(router.calls) == 1
    assert not time.slept_s


def test_a_service_that_says_when_is_asked_then_and_little_later() -> None:
    time = Time()
    with scripted_router(SHED, SHED, SHED) as router, client_of(router, time) as client:
        client.route("x")
    assert all(0.25 <= pause_s <= 0.30 for pause_s in time.slept_s)
    assert len(set(time.slept_s)) == 3


def test_pauses_are_drawn_up_to_a_bound_that_doubles() -> None:
    time = Time()
    policy = RetryPolicy(attempts=8, first_pause_s=0.1, longest_pause_s=0.4)
    with scripted_router(*[AWAY] * 7) as router:
        for seed in range(20):
            router.then(*[AWAY] * 7 if seed else [])
            with client_of(router, time, retry=policy, rng=Time(seed).rng, timeout_s=600) as client:
                client.route("x")
    bounds_s = [0.1, 0.2, 0.4, 0.4, 0.4, 0.4, 0.4]
    for retry, bound_s in enumerate(bounds_s):
        drawn_s = time.slept_s[retry :: len(bounds_s)]
        assert max(drawn_s) <= bound_s
        assert min(drawn_s) < bound_s / 4  # all of the range, from nothing on
        assert max(drawn_s) > bound_s * 3 / 4


def test_attempts_are_counted() -> None:
    time = Time()
    with (
        scripted_router(*[AWAY] * 9) as router,
        client_of(router, time, retry=RetryPolicy(attempts=3)) as client,
    ):
        with pytest.raises(RouterError) as caught:
            client.route("x")
        assert caught.value.code is grpc.StatusCode.UNAVAILABLE
        assert len(router.calls) == 3


@pytest.mark.parametrize("attempts", [0, -1])
def test_a_policy_without_a_first_attempt_is_refused(attempts: int) -> None:
    with pytest.raises(ValueError, match="the first call is one"):
        RetryPolicy(attempts=attempts)


def test_no_retries_means_one_call() -> None:
    time = Time()
    with (
        scripted_router(AWAY) as router,
        client_of(router, time, retry=NO_RETRIES) as client,
        pytest.raises(RouterError),
    ):
        client.route("x")
    assert len(router.calls) == 1


def test_a_pause_that_the_deadline_does_not_allow_is_not_begun() -> None:
    time = Time()
    late = Fails(grpc.StatusCode.RESOURCE_EXHAUSTED, pushback="20000", text="the queue is full")
    with scripted_router(late) as router, client_of(router, time, timeout_s=15) as client:
        with pytest.raises(RouterError) as caught:
            client.route("x")
        assert caught.value.message == "the queue is full"
        assert caught.value.retry_after_s == 20.0
        assert len(router.calls) == 1
    assert not time.slept_s


def test_each_attempt_has_what_is_left_of_the_deadline() -> None:
    time = Time()
    waits = Fails(grpc.StatusCode.UNAVAILABLE, pushback="300000")
    with scripted_router(waits) as router, client_of(router, time, timeout_s=1000) as client:
        client.route("x")
    first_s, second_s = router.remaining_s
    # gRPC writes a deadline in whole units, of up to ten seconds here, and rounds them up. A call
    # arrives when this machine comes to it.
    assert 900 < first_s <= 1010
    assert 600 < second_s <= 710


def test_a_service_that_is_down_is_not_asked_several_times_over() -> None:
    time = Time()
    policy = RetryPolicy(attempts=4, most_failures=8)
    with (
        scripted_router(*[AWAY] * 100) as router,
        client_of(router, time, retry=policy) as client,
    ):
        for _ in range(20):
            with pytest.raises(RouterError):
                client.route("x")
        # The first fails four times, which is half of 8: from then on, once each.
        assert len(router.calls) == 4 + 19
    assert client.retries == 3


def test_successes_earn_retries_back() -> None:
    time = Time()
    policy = RetryPolicy(attempts=2, most_failures=3, gain_per_success=1.0)
    with (
        scripted_router(AWAY, AWAY, AWAY) as router,
        client_of(router, time, retry=policy) as client,
    ):
        for retries in (1, 1):  # 3 failures of 3: the second call is not repeated
            with pytest.raises(RouterError):
                client.route("x")
            assert client.retries == retries
        for _ in range(3):
            client.route("x")
        router.then(AWAY)
        client.route("x")
        assert client.retries == 2


def test_a_reply_that_was_lost_leaves_a_report_open_to_doubt() -> None:
    time = Time()
    with (
        scripted_router(AWAY, ReportOutcomeResponse(accepted=False)) as router,
        client_of(router, time) as client,
    ):
        assert client.report("d-1", cost_usd=0.1) is False
        assert [rpc for rpc, _ in router.calls] == ["ReportOutcome"] * 2


def test_an_escalation_is_repeated_only_when_it_was_surely_not_carried_out() -> None:
    time = Time()
    with scripted_router(AWAY) as router, client_of(router, time) as client:
        with pytest.raises(RouterError):
            client.escalate("d-1")
        router.then(SHED)
        client.escalate("d-1")
        assert len(router.calls) == 3


def test_a_call_that_hangs_ends_at_its_deadline_and_is_not_repeated() -> None:
    with scripted_router(Hangs()) as router, RouterClient(router.address) as client:
        with pytest.raises(RouterError) as caught:
            client.route("x", timeout_s=0.05)
        assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert client.retries == 0


def test_a_unix_socket_is_an_address(tmp_path: Path) -> None:
    with (
        scripted_router(address=f"unix:{tmp_path}/r.sock") as router,
        RouterClient(router.address, timeout_s=30) as client,
    ):
        assert client.route("x").model == "small"


def test_machines_behind_one_address_are_asked_in_turn() -> None:
    with scripted_router() as one, scripted_router() as other:
        both = f"ipv4:{one.address},{other.address}"
        with RouterClient(both, timeout_s=30) as client:
            while not (one.calls and other.calls):  # the second connection may come later
                client.route("x")
            asked = len(one.calls), len(other.calls)
            for _ in range(10):
                client.route("x")
        assert (len(one.calls), len(other.calls)) == (asked[0] + 5, asked[1] + 5)


@pytest.mark.parametrize("token", [None, "secret"])
def test_a_token_goes_with_each_call(token: str | None) -> None:
    time = Time()
    with scripted_router(AWAY) as router, client_of(router, time, token=token) as client:
        client.route("x")
        client.report("d-1")
    wanted = None if token is None else "Bearer secret"
    assert [metadata.get("authorization") for _, metadata in router.calls] == [wanted] * 3


def test_over_tls_a_token_may_go_anywhere_and_else_stays_on_this_machine(tmp_path: Path) -> None:
    issuer = authority(tmp_path)
    files = {name: Path(file).read_bytes() for name, file in issuer.serve().items()}
    credentials = grpc.ssl_server_credentials([(files["key"], files["certificate"])])
    with (
        scripted_router(credentials=credentials) as router,
        RouterClient(router.address, timeout_s=30, tls=issuer.client(), token="t") as client,  # noqa: S106
    ):
        assert client.route("x").model == "small"
        assert router.calls[0][1]["authorization"] == "Bearer t"
    with pytest.raises(ValueError, match="use TLS"):
        RouterClient("router.example:50051", token="t")  # noqa: S106


def test_closing_a_client_ends_its_calls_for_good() -> None:
    hangs = Hangs()
    with scripted_router(hangs) as router, ThreadPoolExecutor(1) as pool:
        client = RouterClient(router.address, timeout_s=60)
        call = pool.submit(client.route, "x")
        assert hangs.begun.wait(60)
        client.close()
        with pytest.raises(RouterError) as caught:
            call.result(60)
        assert caught.value.code is grpc.StatusCode.CANCELLED
        assert client.retries == 0
