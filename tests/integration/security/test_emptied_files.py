"""Files of tokens and authorities that are emptied, or cut off, let nobody in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest

from routoo.api.security.tokens import append_token, new_token
from routoo.client.channel import Tls, open_aio_channel, token_metadata
from routoo.v1 import route_pb2
from routoo.v1.router_pb2_grpc import RouterServiceStub
from support.certificates import authority
from support.tiny_service import refusal, serving, tiny_settings

if TYPE_CHECKING:
    from pathlib import Path

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
EASY = route_pb2.RouteRequest(prompt="easy")
OWN_POOL = [("grpc.use_local_subchannel_pool", 1)]
NOW_S = 1_800_000_000.0


@pytest.mark.parametrize("by_rename", [False, True], ids=["in place", "by rename"])
async def test_no_beginning_of_a_token_file_lets_a_stranger_in(
    tmp_path: Path, *, by_rename: bool
) -> None:
    path = tmp_path / "tokens.jsonl"
    made = [new_token(tenant, ["route"], NOW_S, None) for tenant in ("a", "b")]
    for _, stored in made:
        append_token(path, stored)
    text = path.read_bytes()
    shown = [token_metadata(token, "127.0.0.1:1", None) for token, _ in made]
    stranger = token_metadata(new_token("a", ["route"], NOW_S)[0], "127.0.0.1:1", None)

    def write(content: bytes) -> None:
        beside = path.with_suffix(".new") if by_rename else path
        beside.write_bytes(content)
        beside.rename(path)

    async with serving(tiny_settings(tmp_path, security={"tokens": path})) as running:

        async def lets_in(metadata: Any) -> bool:
            call = running.stub.Route(EASY, metadata=metadata, timeout=60)
            code = await call.code()
            assert code in (grpc.StatusCode.OK, UNAUTHENTICATED)
            return bool(code is grpc.StatusCode.OK)

        gate = running.service._entrance.gate
        first_line = text.index(b"\n") + 1
        for length in range(len(text)):
            write(text[:length])
            gate._looked_s = -1e9  # look again, at once
            assert not await lets_in(stranger)
            assert not await lets_in(None)
            known = [await lets_in(one) for one in shown]
            # A line that is not there was taken off. A line that is cut off is no file of tokens.
            if length == 0:
                assert known == [False, False]
            elif length in (first_line - 1, first_line):
                assert known == [True, False]
            elif length == len(text) - 1:
                assert known == [True, True]
        (line,) = [one for one in running.logs if one["event"] == "no token is left"]
        assert line["file"] == str(path)
        write(text)
        gate._looked_s = -1e9
        assert [await lets_in(one) for one in shown] == [True, True]


async def test_no_beginning_of_the_authorities_lets_a_stranger_in(tmp_path: Path) -> None:
    signed, second = authority(tmp_path), authority(tmp_path)
    certificates = [{"subject": "a.example"}, {"subject": "b.example"}]
    security = {"tls": signed.serve(), "certificates": certificates}
    path = tmp_path / "clients.pem"
    text = signed.ca.cert_pem.bytes() + second.ca.cert_pem.bytes()
    path.write_bytes(text)
    foreign = authority(tmp_path).client("a.example")
    ours = signed.ca.cert_pem.bytes()
    own, other = signed.client("a.example"), second.client("b.example")
    async with serving(tiny_settings(tmp_path, security=security)) as running:

        async def answer(tls: Tls) -> str:
            async with open_aio_channel(running.service.address, OWN_POOL, tls=tls) as channel:
                return str((await RouterServiceStub(channel).Route(EASY, timeout=60)).model)

        ends = [0, *(place + 1 for place, one in enumerate(text) if one == ord("\n"))]
        for length in (*ends[:-1], 70, len(text) - 10):
            path.write_bytes(text[:length])
            for stranger in (signed.client(), Tls(ours, foreign.certificate, foreign.key)):
                code, _ = await refusal(answer(stranger))
                assert code is grpc.StatusCode.UNAVAILABLE
            assert await answer(own) == "small"
        path.write_bytes(text)
        running.service._entrance.gate._looked_s = -1e9  # look again, at once
        assert await answer(Tls(ours, other.certificate, other.key)) == "small"
