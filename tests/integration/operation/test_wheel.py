"""The wheel: what it carries is found wherever it is installed, and each extra does its part."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import orjson
import pytest

from routoo.predictor.artifact import load_artifact, shipped_artifact
from support.processes.wheel_environments import (
    ROOT,
    Environment,
    build_wheel,
    install_into,
    make_environment,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Where a client has to work, nothing may come that only a service needs.
NOT_FOR_CLIENTS = {"numpy", "scipy", "onnxruntime", "pydantic-settings", "uvloop", "cryptography"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def client(server: Environment, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return make_environment(tmp_path_factory.mktemp("client") / "venv", server.site)


@pytest.fixture(scope="module")
def commands(server: Environment, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return make_environment(tmp_path_factory.mktemp("cli") / "venv", server.site, "cli")


@pytest.fixture(scope="module")
def server(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return make_environment(tmp_path_factory.mktemp("server") / "venv", wheel, "server")


@pytest.fixture(scope="module")
def address(server: Environment) -> Iterator[str]:
    """The address of a service of the environment, with all that ships and no settings."""
    command = [str(server.folder / "bin" / "routoo"), "serve", "--listen", "127.0.0.1:0"]
    command += ["--http-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"]
    log = server.folder / "stderr.log"
    with (
        log.open("wb") as stderr,
        subprocess.Popen(
            command,
            cwd=server.folder,
            env=server.environ(),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as running,
    ):
        assert running.stdout is not None
        try:
            line = running.stdout.readline()
            assert line.startswith("ready "), log.read_text(encoding="utf-8")
            yield line.split()[1]
        finally:
            running.terminate()
            ended = running.wait(timeout=120)
    assert ended == 0


def test_a_wheel_is_for_every_platform(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")


def test_a_wheel_brings_the_predictor_wherever_it_is_installed(tmp_path: Path, wheel: Path) -> None:
    target = tmp_path / "target"
    install_into(target, wheel)
    asked = "from routoo.predictor.artifact import shipped_artifact; print(shipped_artifact())"
    ended = subprocess.run(
        [sys.executable, "-c", asked],
        env={"PYTHONPATH": str(target)},
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    found = type(target)(ended.stdout.strip())
    assert found.is_relative_to(target)
    assert load_artifact(found).version == load_artifact(shipped_artifact()).version
    protos = {path.name for path in (ROOT / "proto/routoo/v1").iterdir()}
    assert protos == {path.name for path in (target / "routoo/v1").glob("*.proto")}


def test_an_installed_service_answers(server: Environment, address: str) -> None:
    asked = server.routoo("route", "--address", address, "--json", "What is 2 + 2?")
    assert asked.returncode == 0, asked.stderr
    assert orjson.loads(asked.stdout)["model"]


def test_a_client_needs_grpc_and_protobuf_alone(client: Environment, address: str) -> None:
    assert client.packages == {"grpcio", "protobuf", "typing-extensions"}
    script = (
        "from routoo.client import RouterClient\n"
        f"with RouterClient({address!r}, timeout_s=60) as router:\n"
        "    print(router.route('What is 2 + 2?').model)\n"
    )
    asked = client.python("-c", script)
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.strip()


def test_commands_that_ask_a_service_need_one_extra(commands: Environment, address: str) -> None:
    assert not NOT_FOR_CLIENTS & commands.packages
    for command in (
        ("health", address),
        ("route", "--address", address, "--json", "What is 2 + 2?"),
        ("models", "--address", address),
        ("info", "--address", address),
    ):
        asked = commands.routoo(*command)
        assert asked.returncode == 0, asked.stderr


@pytest.mark.parametrize(
    "command", [("serve",), ("check-config",), ("pool", "show"), ("route", "x")]
)
def test_a_command_without_its_package_names_the_remedy(
    client: Environment, commands: Environment, command: tuple[str, ...]
) -> None:
    tried = [client] if command[0] == "route" else [client, commands]
    for environment in tried:
        ended = environment.routoo(*command)
        assert ended.returncode == 2
        assert ended.stderr.startswith("error: this command needs ")
        assert ended.stderr.endswith("pip install 'routoo[server]'\n")
        assert ended.stderr.count("\n") == 1


def test_exporting_names_its_extras(commands: Environment) -> None:
    ended = commands.python("-c", "from routoo_export.cli import main; main()")
    assert ended.returncode == 2
    assert ended.stderr.endswith("pip install 'routoo[server,export]'\n")
    assert ended.stderr.count("\n") == 1
