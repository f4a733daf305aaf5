"""A service that cannot start prints the reason in one line and ends with exit code 2."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from routoo.config.loading import load_settings
from routoo.errors import ConfigError
from routoo.server.assembly import check
from routoo.server.service import Service
from routoo.v1 import info_pb2
from routoo.v1.router_pb2_grpc import RouterServiceStub
from support.artifacts.tiny_artifact import MODELS, change_manifest
from support.peers.ports import free_port
from support.processes.process import (
    ENVIRONMENT,
    ROUTOO,
    exit_code,
    line_of,
    process,
    write_tiny_config,
)
from support.tiny_pool import SPECS, write_tiny_pool
from support.tiny_service import connected, serving, tiny_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(os.environ) - set(ENVIRONMENT):
        monkeypatch.delenv(name)


@pytest.fixture
def taken() -> Iterator[str]:
    """Yields an address on which another socket listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield "127.0.0.1:{1}".format(*listening.getsockname())


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def write_pool(folder: Path, *specs: dict[str, Any]) -> None:
    text = yaml.safe_dump({"models": list(specs)})
    (folder / "pool.yaml").write_text(text, encoding="utf-8")


def write_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.yaml"
    values = {**yaml.safe_load(path.read_text(encoding="utf-8")), **changes}
    path.write_text(yaml.safe_dump(values), encoding="utf-8")


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


# Each entry: a function that breaks the folder of config, pool and artifact, and the line's text.
MISTAKES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "no artifact": (
        lambda at: write_config(at, predictor={"artifact": "nowhere"}),
        [
            "nowhere/manifest.json: cannot be read (No such file",
            "name the version folder of a predictor (predictor.artifact",
        ],
    ),
    "no graph": (
        lambda at: (at / "predictor/model.onnx").unlink(),
        ["predictor/model.onnx: cannot be read (No such file", "copy the whole version folder"],
    ),
    "corrupt graph": (
        lambda at: flip_a_bit(at / "predictor/model.onnx"),
        ["predictor/model.onnx: is not the file of the manifest (sha256 "],
    ),
    "corrupt tokenizer": (
        lambda at: flip_a_bit(at / "predictor/tokenizer.json"),
        ["predictor/tokenizer.json: is not the file of the manifest (sha256 "],
    ),
    "corrupt sample": (
        lambda at: flip_a_bit(at / "predictor/calibration.npz"),
        ["predictor/calibration.npz: is not the file of the manifest (sha256 "],
    ),
    "manifest of another predictor": (
        lambda at: change_manifest(at / "predictor", models=[*MODELS, "huge"]),
        ["predictor/manifest.json: ", "outputs have to have 4 columns, one per model"],
    ),
    "unknown manifest key": (
        lambda at: change_manifest(at / "predictor", temperature=1),
        ["predictor/manifest.json: temperature: unknown key"],
    ),
    "no pool": (
        lambda at: (at / "pool.yaml").unlink(),
        ["pool.yaml: cannot be read: No such file or directory"],
    ),
    "malformed pool": (
        lambda at: append(at / "pool.yaml", "- ["),
        ["pool.yaml: line ", "malformed YAML"],
    ),
    "negative price": (
        lambda at: write_pool(at, {**SPECS[0], "usd_per_1m_input_tokens": -1}),
        ["pool.yaml: models.0.usd_per_1m_input_tokens: ", "(given: -1)"],
    ),
    "model twice": (
        lambda at: write_pool(at, SPECS[0], SPECS[0]),
        ["pool.yaml: model 'small' stands twice"],
    ),
    "model that the manifest does not know": (
        lambda at: write_pool(at, SPECS[0], {**SPECS[1], "name": "gpt-9"}),
        ["pool model 'gpt-9' is not among the predictor's 3 models; remove it from the pool"],
    ),
    "malformed config": (
        lambda at: append(at / "config.yaml", "policy: ["),
        ["config.yaml: line ", "malformed YAML"],
    ),
    "key twice": (
        lambda at: append(at / "config.yaml", "pool: pool.yaml\n"),
        ["config.yaml: line ", "key 'pool' stands twice"],
    ),
    "unknown key": (
        lambda at: write_config(at, polcy={"max_mean_cost_usd": 1}),
        ["config.yaml: polcy: unknown key; remove it or correct its spelling"],
    ),
    "too little money": (
        lambda at: write_config(at, policy={"max_mean_cost_usd": 1e-6}),
        ["policy.max_mean_cost_usd 1e-06 is below the least possible 0.000", "; raise it by 0.000"],
    ),
}


@pytest.mark.parametrize(("spoil", "pieces"), MISTAKES.values(), ids=list(MISTAKES))
async def test_a_mistake_stops_the_start_and_check_config_finds_it(
    tmp_path: Path, spoil: Callable[[Path], object], pieces: list[str]
) -> None:
    config = write_tiny_config(tmp_path)
    check(load_settings(config))
    spoil(tmp_path)
    with pytest.raises(ConfigError) as started:
        await Service.start(load_settings(config))
    message = str(started.value)
    assert "\n" not in message
    for piece in pieces:
        assert piece in message
    with pytest.raises(ConfigError) as checked:
        check(load_settings(config))
    assert str(checked.value) == message


@pytest.mark.parametrize("mistake", ["corrupt graph", "negative price", "unknown key"])
async def test_the_command_says_it_in_one_line_and_exits_with_2(
    tmp_path: Path, mistake: str
) -> None:
    config = write_tiny_config(tmp_path)
    spoil, pieces = MISTAKES[mistake]
    spoil(tmp_path)
    async with process(*ROUTOO, "serve", "--config", str(config)) as serve:
        out, err = await serve.communicate()
        assert await exit_code(serve) == 2
    assert out == b""
    (line,) = err.decode().splitlines()
    assert line.startswith("error: ")
    for piece in pieces:
        assert piece in line


async def test_a_misspelt_environment_variable_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_tiny_config(tmp_path)
    monkeypatch.setenv("ROUTOO_POLICY__MAX_MEAN_COST", "1")
    with pytest.raises(ConfigError) as caught:
        load_settings(config)
    assert str(caught.value) == (
        "environment variable ROUTOO_POLICY__MAX_MEAN_COST: no such setting; known here:"
        " cascade, explore, fallbacks, fixed, guarantee, latency_percentile, max_mean_cost_usd,"
        " name, offered, prices, quality_gap, round_robin, shadow, threshold, unsure"
    )


def free_address() -> str:
    return f"127.0.0.1:{free_port()}"


async def test_a_port_that_is_in_use_leaves_nothing_behind(tmp_path: Path, taken: str) -> None:
    metrics = {"listen": free_address()}
    with pytest.raises(ConfigError) as caught:
        await Service.start(tiny_settings(tmp_path, listen=taken, metrics=metrics))
    assert str(caught.value) == (
        f"cannot listen on {taken}: in use or not allowed; stop what listens there or set another"
        " address with listen"
    )
    async with serving(tiny_settings(tmp_path, metrics=metrics)) as running:
        assert running.service.metrics_address == metrics["listen"]


async def test_a_metrics_port_that_is_in_use_leaves_nothing_behind(
    tmp_path: Path, taken: str
) -> None:
    free = free_address()
    with pytest.raises(ConfigError) as caught:
        await Service.start(tiny_settings(tmp_path, listen=free, metrics={"listen": taken}))
    assert str(caught.value) == (
        f"cannot serve metrics on {taken}: Address already in use; set another address with"
        " metrics.listen or metrics.enabled to false"
    )
    async with serving(tiny_settings(tmp_path, listen=free)) as running:
        assert running.service.address == free
        assert (await running.route("easy")).model == "small"


async def test_a_second_process_on_the_same_port_exits_with_2(tmp_path: Path) -> None:
    config = write_tiny_config(tmp_path)
    async with process(*ROUTOO, "serve", "--config", str(config)) as first:
        address = (await line_of(first, "ready ")).split()[1]
        arguments = ("serve", "--config", str(config), "--listen", address)
        async with process(*ROUTOO, *arguments) as second:
            out, err = await second.communicate()
            assert await exit_code(second) == 2
        assert out == b""
        assert err.decode().startswith(f"error: cannot listen on {address}: in use")
        async with connected(address) as channel:
            stub = RouterServiceStub(channel)
            assert (await stub.GetInfo(info_pb2.GetInfoRequest())).predictor_version == "tiny-1"
        first.terminate()
        assert await exit_code(first) == 0


async def test_the_ready_line_tells_what_serves(tmp_path: Path) -> None:
    config = write_tiny_config(tmp_path, metrics={"listen": "127.0.0.1:0"})
    async with process(*ROUTOO, "serve", "--config", str(config)) as serve:
        words = (await line_of(serve, "ready ")).split()
        values = dict(word.split("=") for word in words[2:])
        assert values["predictor"] == "tiny-1"
        assert values["policy"].startswith("lp-")
        assert values["models"] == "3"
        assert values["metrics"].startswith("127.0.0.1:")
        serve.terminate()
        assert await exit_code(serve) == 0


def test_check_tells_where_the_service_would_work(tmp_path: Path) -> None:
    write_tiny_pool(tmp_path / "pool.yaml")
    findings = check(load_settings(write_tiny_config(tmp_path)))
    assert findings[0] == "pool: 3 models"
    assert findings[1].startswith("predictor: tiny-1 on onnx-")
    assert any(line.startswith("shadow price: ") for line in findings)
    assert any(line.startswith("expected: mean score 0.") for line in findings)
