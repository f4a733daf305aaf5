"""Listeners of the service: socket files, several addresses, TLS, and refused ones."""

from __future__ import annotations

import asyncio
import socket
import ssl
import stat
from typing import TYPE_CHECKING, Any
from urllib.request import ProxyHandler, build_opener

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from routoo.client.channel import Tls, open_aio_channel
from routoo.errors import ConfigError
from routoo.server.assembly import check
from routoo.server.service import Service
from routoo.v1 import route_pb2
from routoo.v1.router_pb2_grpc import RouterServiceStub
from support.certificates import authority
from support.tiny_service import Running, refusal, serving, tiny_settings

if TYPE_CHECKING:
    from pathlib import Path

    from routoo.config.settings import Settings

SERVICE = "routoo.v1.RouterService"
EASY = route_pb2.RouteRequest(prompt="easy")
OWN_POOL = (("grpc.use_local_subchannel_pool", 1),)


async def answer(address: str, tls: Tls | None = None, metadata: Any = ()) -> str:
    """Returns the model that a service chooses, asked over a new connection."""
    async with open_aio_channel(address, OWN_POOL, tls=tls) as channel:
        call = RouterServiceStub(channel).Route(EASY, metadata=metadata, timeout=60)
        return str((await call).model)


async def start_refusal(settings: Settings) -> str:
    with pytest.raises(ConfigError) as caught:
        await Service.start(settings)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose path is short enough for a socket file in it."""
    return tmp_path_factory.mktemp("s")


async def test_a_socket_file_beside_a_port(short: Path) -> None:
    path = short / "routoo.sock"
    async with serving(tiny_settings(short, listeners=[f"unix:{path}"])) as running:
        assert running.service.addresses == (running.service.address, f"unix:{path}")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        for address in running.service.addresses:
            assert await answer(address) == "small"
    assert not path.exists()


async def test_ipv6_wherever_an_address_is_listened_on(short: Path) -> None:
    settings = tiny_settings(
        short,
        listen="[::1]:0",
        listeners=["[::1]:0"],
        metrics={"enabled": True, "listen": "[::1]:0"},
    )
    async with serving(settings) as running:
        for address in running.service.addresses:
            assert address.startswith("[::1]:")
            assert await answer(address) == "small"
        assert running.service.metrics_address.startswith("[::1]:")
        page = await asyncio.to_thread(_page, running.service.metrics_address)
    assert b"routoo_requests_total" in page


def _page(address: str) -> bytes:
    with build_opener(ProxyHandler({})).open(f"http://{address}/metrics", timeout=60) as page:
        found: bytes = page.read()
    return found


async def test_a_socket_file_alone_with_a_mode_of_its_own(short: Path) -> None:
    path = short / "routoo.sock"
    settings = tiny_settings(short, listen=f"unix:{path}", security={"socket_mode": "0660"})
    async with serving(settings) as running:
        assert running.service.address == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert (await running.route("easy")).model == "small"


async def test_the_socket_file_of_a_killed_service_is_replaced(short: Path) -> None:
    path = short / "routoo.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))  # closing does not remove the file
    assert path.is_socket()
    async with serving(tiny_settings(short, listen=f"unix:{path}")) as running:
        assert (await running.route("easy")).model == "small"


async def test_the_socket_file_of_a_running_service_is_left_alone(short: Path) -> None:
    path = short / "routoo.sock"
    settings = tiny_settings(short, listen=f"unix:{path}")
    async with serving(settings) as running:
        text = await start_refusal(settings)
        assert text.startswith(f"cannot listen on unix:{path}: in use or not allowed;")
        assert (await running.route("easy")).model == "small"
        assert await answer(f"unix:{path}") == "small"


async def test_a_file_that_is_no_socket_is_left_alone(short: Path) -> None:
    path = short / "notes.txt"
    path.write_text("mine")
    text = await start_refusal(tiny_settings(short, listen=f"unix:{path}"))
    assert "there is a file that is no socket; name another path" in text
    assert path.read_text() == "mine"


async def test_a_socket_in_a_folder_that_there_is_not(short: Path) -> None:
    text = await start_refusal(tiny_settings(short, listen=f"unix:{short}/none/a.sock"))
    assert f"there is no folder {short}/none; make it" in text


async def test_a_second_address_in_use_takes_the_first_back(short: Path) -> None:
    path = short / "routoo.sock"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        listeners = [f"unix:{path}", f"127.0.0.1:{port}"]
        text = await start_refusal(tiny_settings(short, listeners=listeners))
    assert f"cannot listen on 127.0.0.1:{port}: in use" in text
    assert not path.exists()


EXPOSED = {
    "everywhere": ({"listen": "0.0.0.0:0"}, "no TLS (security.tls) and no authentication"),
    "everywhere, IPv6": ({"listen": "[::]:0"}, "no TLS"),
    "a name": ({"listen": "router.example:0"}, "no TLS"),
    "second address": ({"listeners": ["10.0.0.1:0"]}, "10.0.0.1:0 can be reached"),
    "HTTP": ({"http": {"listen": "0.0.0.0:0"}}, "or say security.allow_insecure_exposure: true"),
    "HTTP, IPv6": ({"http": {"listen": "[::]:0"}}, "no TLS (security.tls) and no authentication"),
    "metrics": (
        {"metrics": {"enabled": True, "listen": "0.0.0.0:0"}},
        "listen on 127.0.0.1, or say security.allow_open_metrics: true",
    ),
}


@pytest.mark.parametrize("case", EXPOSED)
def test_nothing_is_opened_to_other_machines_unasked(tmp_path: Path, case: str) -> None:
    changes, words = EXPOSED[case]
    with pytest.raises(ConfigError) as caught:
        tiny_settings(tmp_path, **changes)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tls_without_authentication_is_not_enough(tmp_path: Path) -> None:
    tls = authority(tmp_path).serve()
    del tls["client_ca"]
    with pytest.raises(ConfigError, match=r"has no authentication \(security.tokens or"):
        tiny_settings(tmp_path, listen="0.0.0.0:0", security={"tls": tls})
    tokens = {"tls": tls, "tokens": tmp_path / "tokens.jsonl"}
    with pytest.raises(ConfigError, match=r"has no TLS \(security.tls\);"):
        tiny_settings(tmp_path, listeners=[{"address": "0.0.0.0:0", "tls": False}], security=tokens)
    assert tiny_settings(tmp_path, listen="0.0.0.0:0", security=tokens).security.asks_who_calls


async def test_it_is_opened_to_other_machines_when_the_settings_say_so(tmp_path: Path) -> None:
    security = {"allow_insecure_exposure": True, "allow_open_metrics": True}
    metrics = {"enabled": True, "listen": "0.0.0.0:0"}
    async with serving(
        tiny_settings(tmp_path, listen="0.0.0.0:0", metrics=metrics, security=security)
    ) as running:
        port = running.service.address.rpartition(":")[2]
        assert await answer(f"127.0.0.1:{port}") == "small"


async def test_tls_and_a_plain_loopback_beside_it(tmp_path: Path) -> None:
    signed = authority(tmp_path)
    tls = signed.serve()
    del tls["client_ca"]
    plain = {"address": "127.0.0.1:0", "tls": False}
    async with serving(
        tiny_settings(tmp_path, listeners=[plain], security={"tls": tls})
    ) as running:
        encrypted, open_address = running.service.addresses
        assert await answer(encrypted, signed.client()) == "small"
        assert await answer(open_address) == "small"
        for address, wrong in (
            (encrypted, None),
            (encrypted, authority(tmp_path).client()),
            (open_address, signed.client()),
        ):
            code, _ = await refusal(answer(address, wrong))
            assert code is grpc.StatusCode.UNAVAILABLE


def certificate_of(address: str) -> bytes:
    """Returns the certificate that a new connection is shown."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, int(port)), timeout=60) as tcp,
        context.wrap_socket(tcp, server_hostname=host) as encrypted,
    ):
        shown = encrypted.getpeercert(binary_form=True)
    assert shown is not None
    return shown


async def test_a_renewed_certificate_is_taken_and_no_call_is_dropped(tmp_path: Path) -> None:
    signed = authority(tmp_path)
    tls = signed.serve()
    del tls["client_ca"]
    twice = ["127.0.0.1:0"]
    async with serving(tiny_settings(tmp_path, listeners=twice, security={"tls": tls})) as running:
        addresses = running.service.addresses
        before = [await asyncio.to_thread(certificate_of, one) for one in addresses]
        assert before[0] == before[1]
        async with open_aio_channel(addresses[0], OWN_POOL, tls=signed.client()) as channel:
            stub = RouterServiceStub(channel)
            stream = stub.RouteStream(timeout=60)
            await stream.write(EASY)
            assert (await stream.read()).model == "small"
            signed.serve()
            for address in addresses:
                assert await asyncio.to_thread(certificate_of, address) != before[0]
                assert await answer(address, signed.client()) == "small"
            await stream.write(EASY)
            assert (await stream.read()).model == "small"
            await stream.done_writing()
            assert (await stub.Route(EASY, timeout=60)).model == "small"
        renewed = await asyncio.to_thread(certificate_of, addresses[0])
        (tmp_path / "server.key").write_text("half of a k")
        assert await asyncio.to_thread(certificate_of, addresses[1]) == renewed
        assert await answer(addresses[0], signed.client()) == "small"
        counted = running.service.metrics.registry.get_sample_value
        for result in ("taken", "refused"):
            labels = {"file": "certificate", "result": result}
            assert counted("routoo_security_reloads_total", labels) == 1.0


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("server.key", None, "server.key: cannot be read: No such file"),
        ("server.key", "nonsense", "are not a PEM certificate and its key"),
        ("clients.pem", "nonsense", "clients.pem is not a PEM file"),
    ],
)
def test_files_that_cannot_serve_are_named_at_the_start(
    tmp_path: Path, file: str, content: str | None, words: str
) -> None:
    tls = authority(tmp_path).serve()
    certificates = [{"subject": "a.example"}]
    settings = tiny_settings(tmp_path, security={"tls": tls, "certificates": certificates})
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_text(content)
    with pytest.raises(ConfigError) as caught:
        check(settings)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    signed = authority(tmp_path)
    tls = signed.serve()
    other = (tmp_path / "server.key").read_bytes()
    signed.serve()
    (tmp_path / "server.key").write_bytes(other)
    del tls["client_ca"]
    with pytest.raises(ConfigError, match="are not a PEM certificate and its key"):
        check(tiny_settings(tmp_path, security={"tls": tls}))


async def listed(running: Running) -> set[str]:
    stub = reflection_pb2_grpc.ServerReflectionStub(running.channel)
    call = stub.ServerReflectionInfo(timeout=60)
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    names = {one.name for one in (await call.read()).list_services_response.service}
    await call.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE))
    files = (await call.read()).file_descriptor_response.file_descriptor_proto
    assert any(b"routoo/v1/router.proto" in file for file in files)
    await call.done_writing()
    return names


async def test_reflection_lists_the_services_where_it_is_on(tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path, security={"reflection": True})) as running:
        assert await listed(running) == {
            SERVICE,
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        }


async def test_reflection_is_off_by_default(tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path)) as running:
        code, _ = await refusal(listed(running))
        assert code is grpc.StatusCode.UNIMPLEMENTED
