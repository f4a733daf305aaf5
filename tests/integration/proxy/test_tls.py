"""Providers behind TLS: whose certificates are taken, and what a caller is told of the others."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from support.peers.llm_upstream import TEXT, upstream
from support.peers.proxied import KEY, proxied

if TYPE_CHECKING:
    from pathlib import Path

PATH = "/v1/chat/completions"
CHAT: Any = {"model": "auto", "messages": [{"role": "user", "content": "easy"}]}


def context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    """Returns the context of a server with a certificate for a name."""
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(found)
    return found


@pytest.mark.parametrize(
    ("name", "takes"),
    [
        ("127.0.0.1", "ca"),
        ("provider.example", "anything"),
    ],
)
async def test_a_provider_is_asked_over_tls(tmp_path: Path, name: str, takes: str) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    more = {"ca": tmp_path / "ca.pem"} if takes == "ca" else {"verify": False}
    async with upstream(context(authority, name)) as provider:
        provider_url = {"base_url": f"https://127.0.0.1:{provider.port}/v1"}
        async with (
            proxied(tmp_path, provider=provider_url | more) as one,
            one.http() as client,
        ):
            answered = await client.post(PATH, json=CHAT)
        assert answered.json()["choices"][0]["message"]["content"] == TEXT
        assert provider.last.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("name", "trusted"),
    [("127.0.0.1", "nobody"), ("127.0.0.1", "another"), ("provider.example", "its own")],
)
async def test_a_provider_with_a_wrong_certificate_gets_no_key(
    tmp_path: Path, name: str, trusted: str
) -> None:
    authority = trustme.CA()
    known = authority if trusted == "its own" else trustme.CA()
    known.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    more = {} if trusted == "nobody" else {"ca": tmp_path / "ca.pem"}
    async with upstream(context(authority, name)) as provider:
        provider_url = {"base_url": f"https://127.0.0.1:{provider.port}/v1"}
        async with (
            proxied(tmp_path, provider=provider_url | more) as one,
            one.http() as client,
        ):
            answered = await client.post(PATH, json=CHAT)
            failed = (await one.replies())["failed"]
        assert answered.status_code == 502
        assert KEY not in answered.text
        assert failed == 1
        assert not provider.received
