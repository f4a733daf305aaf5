"""Access over HTTP: the tokens, certificates, tenants, roles and limits of gRPC's calls."""

from __future__ import annotations

import ssl
from time import time
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest

from routoo.api.security.tokens import append_token, new_token
from routoo.errors import ConfigError
from routoo.server.service import Service
from routoo.v1 import route_pb2
from support.certificates import authority
from support.tiny_service import refusal, tiny_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from conftest import Front
    from support.certificates import Authority

    Fronts = Callable[..., AbstractAsyncContextManager[Front]]

BUDGETS = [
    {"name": "everyone", "usd": 1000.0, "per": "30d"},
    {"name": "team-a", "tenant": "a", "usd": 100.0, "per": "30d"},
]
METRICS = {"enabled": True, "listen": "127.0.0.1:0"}


class Tokens:
    """A file of tokens."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "tokens.jsonl"
        self.file.touch()

    def new(self, tenant: str = "", *roles: Any) -> str:
        text, stored = new_token(tenant, roles or ("route",), time(), None)
        append_token(self.file, stored)
        return text


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens(tmp_path)


async def test_a_token_lets_in_as_its_tenant(fronts: Fronts, tokens: Tokens) -> None:
    own = f"Bearer {tokens.new('a')}"
    async with fronts(security={"tokens": tokens.file}, budgets=BUDGETS) as front:
        body = {"prompt": "easy"}
        nobody = await front.post("/v1/route", body)
        assert nobody.status_code == 401
        assert nobody.headers["www-authenticate"] == 'Bearer realm="routoo"'
        assert nobody.json()["code"] == "UNAUTHENTICATED"
        wrong = await front.post("/v1/route", body, authorization="Bearer routoo_x_y")
        assert wrong.status_code == 401
        assert (await front.post("/v1/route", body, authorization=own)).status_code == 200
        assert (await front.post("/v1/route", body, x_api_key=own[7:])).status_code == 200
        other = await front.post("/v1/route", {**body, "tenant": "b"}, authorization=own)
        assert (other.status_code, other.json()["detail"][:6]) == (403, "tenant")
        shown = await front.client.get("/v1/budgets", headers={"authorization": own})
        assert [one["name"] for one in shown.json()["budgets"]] == ["team-a"]
        assert shown.json()["budgets"][0]["granted_requests"] == "2"


async def test_a_stranger_s_body_is_not_read(fronts: Fronts, tokens: Tokens) -> None:
    async with fronts(security={"tokens": tokens.file}) as front:
        reply = await front.client.post("/v1/route", content=b"{" * 1_000_000)
        assert (reply.status_code, reply.headers["connection"]) == (401, "close")
        for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
            assert (await front.client.get(path)).status_code == 200


async def test_metrics_of_all_tenants_are_for_admins(fronts: Fronts, tokens: Tokens) -> None:
    route, admin = tokens.new("a"), tokens.new("", "admin")
    async with fronts(security={"tokens": tokens.file}, metrics=METRICS) as front:
        statuses = [
            (await front.client.get("/metrics", headers=headers)).status_code
            for headers in (
                {},
                {"authorization": f"Bearer {route}"},
                {"authorization": f"Bearer {admin}"},
            )
        ]
        assert statuses == [401, 403, 200]
        refused = await front.post("/v1/route", {"prompt": "easy"}, authorization=f"Bearer {admin}")
        assert refused.json()["code"] == "PERMISSION_DENIED"


@pytest.mark.parametrize(("open_metrics", "status"), [(False, 403), (True, 200)])
async def test_metrics_are_not_shown_to_other_machines_unasked(
    fronts: Fronts, open_metrics: Any, status: int
) -> None:
    security = {"allow_insecure_exposure": True, "allow_open_metrics": open_metrics}
    everywhere = {"listen": "0.0.0.0:0"}
    async with fronts(http=everywhere, security=security, metrics=METRICS) as front:
        port = front.address.rpartition(":")[2]
        page = await front.client.get(f"http://127.0.0.1:{port}/metrics")
        assert page.status_code == status


async def test_a_client_s_limit_holds_for_both_ways_together(fronts: Fronts) -> None:
    limits = {"prompts_per_s": 0.001, "burst_prompts": 2}
    async with fronts(security={"per_client": limits}) as front:
        await front.running.route("easy")
        assert (await front.post("/v1/route", {"prompt": "easy"})).status_code == 200
        over = await front.post("/v1/route", {"prompt": "easy"})
        assert (over.status_code, over.json()["code"]) == (429, "RESOURCE_EXHAUSTED")
        assert int(over.headers["retry-after"]) > 100
        code, _ = await refusal(front.running.stub.Route(route_pb2.RouteRequest(prompt="easy")))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


def trusting(one: Authority, *names: str) -> ssl.SSLContext:
    """A client's context, with a certificate if it has a name."""
    context = ssl.create_default_context(cadata=one.ca.cert_pem.bytes().decode())
    if names:
        one.ca.issue_cert(*names).configure_cert(context)
    return context


async def asked(front: Front, context: ssl.SSLContext) -> httpx.Response:
    async with httpx.AsyncClient(verify=context, timeout=HANG_S, trust_env=False) as client:
        address = front.address.replace("127.0.0.1", "localhost")
        return await client.post(f"https://{address}/v1/route", json={"prompt": "easy"})


async def test_a_certificate_of_the_list_lets_in(fronts: Fronts, tmp_path: Path) -> None:
    one = authority(tmp_path)
    security = {
        "tls": one.serve(),
        "certificates": [{"subject": "team-a.example", "tenant": "a"}],
    }
    async with fronts(security=security) as front:
        reply = await asked(front, trusting(one, "team-a.example"))
        assert reply.status_code == 200
        other = await asked(front, trusting(one, "team-b.example"))
        assert other.status_code == 401
        with pytest.raises(httpx.TransportError):
            await asked(front, trusting(one))
        stranger = trusting(one)
        authority(tmp_path).ca.issue_cert("team-a.example").configure_cert(stranger)
        with pytest.raises(httpx.TransportError):
            await asked(front, stranger)
        with pytest.raises(httpx.TransportError):
            await front.client.post("/v1/route", json={"prompt": "easy"})


async def test_a_renewed_certificate_is_taken_for_new_connections(
    fronts: Fronts, tmp_path: Path, tokens: Tokens
) -> None:
    first = authority(tmp_path)
    tls = {name: path for name, path in first.serve().items() if name != "client_ca"}
    token = f"Bearer {tokens.new()}"
    async with fronts(security={"tls": tls, "tokens": tokens.file}) as front:
        assert (await asked(front, trusting(first))).status_code == 401
        second = authority(tmp_path)
        second.serve()
        with pytest.raises(httpx.TransportError):
            await asked(front, trusting(first))
        async with httpx.AsyncClient(
            verify=trusting(second), timeout=HANG_S, trust_env=False
        ) as client:
            reply = await client.post(
                f"https://{front.address}/v1/route",
                json={"prompt": "easy"},
                headers={"authorization": token},
            )
        assert reply.status_code == 200


async def test_an_authority_that_was_taken_off_lets_nobody_in(
    fronts: Fronts, tmp_path: Path
) -> None:
    one = authority(tmp_path)
    tls = one.serve()
    security = {"tls": tls, "certificates": [{"subject": "team-a.example"}]}
    async with fronts(security=security) as front:
        client = trusting(one, "team-a.example")
        assert (await asked(front, client)).status_code == 200
        authority(tmp_path).ca.cert_pem.write_to_path(tls["client_ca"])
        with pytest.raises(httpx.TransportError):
            await asked(front, client)


async def test_without_tls_where_that_is_said(fronts: Fronts, tmp_path: Path) -> None:
    security = {"tls": authority(tmp_path).serve(), "allow_insecure_exposure": True}
    del security["tls"]["client_ca"]
    async with fronts(http={"tls": False}, security=security) as front:
        assert (await front.post("/v1/route", {"prompt": "easy"})).status_code == 200


async def test_a_port_in_use_is_one_line_with_the_remedy(fronts: Fronts, tmp_path: Path) -> None:
    async with fronts() as front:
        settings = tiny_settings(tmp_path, http={"listen": front.address})
        with pytest.raises(ConfigError) as caught:
            await Service.start(settings)
        assert str(caught.value) == (
            f"cannot listen on {front.address}: in use or not allowed; stop what listens there or"
            " set another address with http.listen"
        )
        assert (await front.post("/v1/route", {"prompt": "easy"})).status_code == 200


@pytest.mark.parametrize(
    "http",
    [
        {"listen": "8080"},
        {"listen": "unix:/tmp/x.sock"},
        {"hosts": ["https://routoo.example"]},
        {"hosts": ["a:80"]},
        {"max_connections": 0},
        {"no": 1},
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, http: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        tiny_settings(tmp_path, http=http)
    assert "http" in str(caught.value)
