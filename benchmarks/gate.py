"""The processor time per call of the gate that authenticates callers, without gRPC."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from time import process_time, time
from timeit import repeat
from typing import TYPE_CHECKING, Any

import trustme
from prometheus_client import CollectorRegistry

from harness.command import make_parser, run
from routoo.api.security.gate import Gate
from routoo.api.security.shared_counts import SharedCounts
from routoo.api.security.tokens import append_token, new_token
from routoo.config.sections.security import SecuritySettings

if TYPE_CHECKING:
    from argparse import Namespace

CALLS = 20_000
ROUNDS = 7
TOKENS = 1000
WORKERS = 4


class Call:
    """A call as gRPC describes it to the gate."""

    def __init__(self, token: str, certificate: bytes) -> None:
        self._certificate = certificate
        self._metadata = (
            ("user-agent", "grpc-python-asyncio/1.85.1"),
            ("grpc-accept-encoding", "identity, deflate, gzip"),
            *([("authorization", f"Bearer {token}")] if token else []),
        )

    def invocation_metadata(self) -> Any:
        return self._metadata

    def auth_context(self) -> dict[str, list[bytes]]:
        return {
            "transport_security_type": [b"ssl"],
            "x509_common_name": [b"team-a"],
            "x509_subject_alternative_name": [b"team-a.example"],
            "x509_pem_cert": [bytes(bytearray(self._certificate))],
        }

    def peer(self) -> str:
        return "ipv4:127.0.0.1:5555"


def measure(settings: SecuritySettings, call: Call, counts: Path | None = None) -> float:
    """Returns the microseconds per call, the best of some rounds.

    Args:
        settings: the way of authentication, and the limits.
        call: each of the calls.
        counts: the file that the worker shares with others; None: it is alone.
    """
    shared = None
    if counts is not None:
        each = [SharedCounts(counts, worker, WORKERS) for worker in range(WORKERS)]
        for other in each[1:]:
            Gate(settings, CollectorRegistry(), shared=other).admit(call, "Route").leave()
        shared = each[0]
    gate = Gate(settings, CollectorRegistry(), shared=shared)

    def admit() -> None:
        with gate.anyone or gate.admit(call, "Route"):
            pass

    return min(repeat(admit, number=CALLS, repeat=ROUNDS, timer=process_time)) / CALLS * 1e6


def measure_all(_options: Namespace) -> dict[str, Any]:
    """Measures each way of authentication."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tokens.jsonl"
        for _ in range(TOKENS):
            token, stored = new_token("a", ["route"], time())
            append_token(file, stored)
        limits = {"max_concurrent": 10, "prompts_per_s": 1e9, "burst_prompts": 1_000_000}
        authority = trustme.CA()
        authority.cert_pem.write_to_path(f"{folder}/ca.pem")
        own = authority.issue_cert("team-a.example").cert_chain_pems[0].bytes()
        tls = dict.fromkeys(("certificate", "key", "client_ca"), f"{folder}/ca.pem")
        certificates = [{"subject": "team-a.example"}]
        ways: dict[str, tuple[dict[str, Any], str]] = {
            "off": ({}, ""),
            "limits": ({"per_client": limits}, ""),
            "token": ({"tokens": file}, token),
            "token_and_limits": ({"tokens": file, "per_client": limits}, token),
            "certificate": ({"tls": tls, "certificates": certificates}, ""),
        }
        found = {
            name: round(measure(SecuritySettings.model_validate(values), Call(shown, own)), 2)
            for name, (values, shown) in ways.items()
        }
        limited = SecuritySettings.model_validate({"per_client": limits})
        counts = Path(folder) / "counts"
        found["limits_of_workers"] = round(measure(limited, Call("", own), counts), 2)
    return {"us_per_call": found, "tokens": TOKENS}


def show(result: dict[str, Any]) -> None:
    """Prints one way per line."""
    for name, us in result["us_per_call"].items():
        print(f"{name:18} {us:6.2f} us")


def main() -> int:
    return run(make_parser(__doc__, whole=True).parse_args(), measure_all, show)


if __name__ == "__main__":
    sys.exit(main())
