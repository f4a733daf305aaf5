"""``routoo health`` tells a probe by its exit code whether the service is healthy."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.processes.command_line import Run

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
# Where the service answers, the command may wait for it for as long as a busy machine takes.
HEALTH = ("health", "--timeout-s", "60")


@pytest.fixture
def patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[health.HealthServicer]:
    """A health service; the command finds it through ROUTOO_ADDRESS."""
    servicer = health.HealthServicer()
    server = grpc.server(ThreadPoolExecutor(2))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    address = f"unix:{tmp_path}/h.sock"
    server.add_insecure_port(address)
    server.start()
    monkeypatch.setenv("ROUTOO_ADDRESS", address)
    yield servicer
    server.stop(10).wait()


def test_serving_is_0(patient: health.HealthServicer, run: Run) -> None:
    patient.set("", SERVING)
    ended = run(*HEALTH)
    assert (ended.code, ended.out, ended.err) == (0, "SERVING\n", "")


def test_the_address_is_an_option_too(
    patient: health.HealthServicer, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient.set("", SERVING)
    monkeypatch.setenv("ROUTOO_ADDRESS", "unix:nobody")
    assert run(*HEALTH, "--address", f"unix:{tmp_path}/h.sock").code == 0
    assert run("--address", f"unix:{tmp_path}/h.sock", *HEALTH).code == 0


def test_json_is_one_object(patient: health.HealthServicer, run: Run) -> None:
    patient.set("", SERVING)
    assert run(*HEALTH, "--json").out == '{"status":"SERVING"}\n'


def test_draining_is_1(patient: health.HealthServicer, run: Run) -> None:
    patient.set("", NOT_SERVING)
    ended = run(*HEALTH)
    assert (ended.code, ended.out) == (1, "")
    assert "the service at unix:" in ended.err
    assert "says NOT_SERVING" in ended.err


def test_a_component_has_a_health_of_its_own(patient: health.HealthServicer, run: Run) -> None:
    patient.set("", SERVING)
    patient.set("predictor.triton", NOT_SERVING)
    assert run(*HEALTH).code == 0
    assert run(*HEALTH, "--component", "predictor.triton").code == 1
    unknown = run(*HEALTH, "--component", "predictor.abacus")
    assert unknown.code == 2
    assert "knows no 'predictor.abacus'" in unknown.err


def test_nobody_there_is_3(tmp_path: Path, run: Run) -> None:
    ended = run("health", f"unix:{tmp_path}/nobody.sock", "--timeout-s", "1")
    assert (ended.code, ended.out) == (3, "")
    assert "start it with `routoo serve`" in ended.err
    assert ended.err.count("\n") == 1
