"""Starts a real Triton server on this machine, CPU only, without a container.

The binary comes from the package nvidia-pytriton, in an environment of its own that ``make triton``
makes. It has the Python backend only, so the repository is served through ``model.py``: of a
repository for another backend, a copy with another configuration is served.

Prints one line that begins with ``ready`` when it serves, and runs until SIGTERM or Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from routoo_export.artifact.triton_repository import (
    CONFIG_FILE,
    MODEL_NAME,
    TritonConfig,
    write_config,
)

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
# Far longer than a start takes, as it does on a busy machine.
START_TIMEOUT_S = 180.0
STUB_TIMEOUT_S = 120
"""Longest wait for the Python process of a version to start; the backend's own is 30 s."""
LOOK_EVERY_S = 0.05
STUB = "triton_python_backend_stub"


def main() -> int:
    """Runs the command line; returns Triton's exit code, 2 where it could not be started."""
    arguments = _arguments()
    try:
        return _serve(arguments)
    except _CannotStartError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


class _CannotStartError(Exception):
    """The server cannot be started; the message is one line that names the remedy."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Raw)
    add = parser.add_argument
    add("--environment", type=Path, default=ROOT / ".triton", help="where nvidia-pytriton is")
    add("--repository", type=Path, default=ROOT / "model_repository", help="what is served")
    add("--copy", type=Path, help="where the rewritten copy goes; default: in the environment")
    add("--control", choices=("explicit", "poll"), default="explicit", help="how versions change")
    for name in ("grpc", "http", "metrics"):
        add(f"--{name}-port", type=int, default=0, help="0 takes a free one")
    add("--log", type=Path, help="Triton's log; default: tritonserver.log in the environment")
    return parser.parse_args()


class _Raw(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """A help formatter that shows defaults and keeps paragraphs."""


def _serve(arguments: argparse.Namespace) -> int:
    server = _server_folder(arguments.environment)
    copy = arguments.copy or arguments.environment / "repository"
    repository = _python_repository(arguments.repository, copy)
    ports = _ports(arguments.grpc_port, arguments.http_port, arguments.metrics_port)
    log: Path = arguments.log or arguments.environment / "tritonserver.log"
    command = [
        str(server / "bin" / "tritonserver"),
        *("--model-repository", str(repository), "--backend-directory", str(server / "backends")),
        *("--grpc-address", HOST, "--grpc-port", str(ports[0])),
        *("--http-address", HOST, "--http-port", str(ports[1])),
        *("--metrics-address", HOST, "--metrics-port", str(ports[2])),
        *("--allow-gpu-metrics", "false", "--exit-timeout-secs", "5"),
        *("--backend-config", f"python,stub-timeout-seconds={STUB_TIMEOUT_S}"),
        *("--model-control-mode", arguments.control),
        *(
            ("--load-model", MODEL_NAME)
            if arguments.control == "explicit"
            else ("--repository-poll-secs", "1")
        ),
    ]
    # The Python backend runs the first python on the PATH.
    path = f"{arguments.environment / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env={**environment, "PATH": path}
        )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: process.terminate())
    try:
        _wait_until_ready(process, f"http://{HOST}:{ports[1]}/v2/health/ready", log)
        print(
            f"ready grpc={HOST}:{ports[0]} http={HOST}:{ports[1]} metrics={HOST}:{ports[2]}"
            f" pid={process.pid}\nstop it with Ctrl-C, or: kill {process.pid}",
            flush=True,
        )
        return process.wait()
    finally:
        process.kill()


def _server_folder(environment: Path) -> Path:
    """Returns the server's folder in the package, with the stub beside the Python backend."""
    for packages in environment.glob("lib/python*/site-packages"):
        server = packages / "pytriton" / "tritonserver"
        if server.is_dir():
            version = packages.parent.name.removeprefix("python")
            stub = server / "python_backend_stubs" / version / STUB
            if not stub.is_file():
                raise _CannotStartError(f"nvidia-pytriton has no stub for Python {version}")
            if not (server / "backends" / "python" / STUB).is_file():
                shutil.copy(stub, server / "backends" / "python")
            return server
    raise _CannotStartError(f"{environment}: no nvidia-pytriton there; run: make triton")


def _python_repository(repository: Path, copy: Path) -> Path:
    """Returns the repository if it is for the Python backend, else a rewritten copy."""
    config = repository / MODEL_NAME / CONFIG_FILE
    message = model_config_pb2.ModelConfig()
    try:
        text_format.Parse(config.read_text(encoding="utf-8"), message)
    except (OSError, text_format.ParseError) as error:
        raise _CannotStartError(f"{config}: {error}; run: routoo-export repository") from None
    if message.backend == "python":
        return repository
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(repository, copy)
    write_config(copy, TritonConfig(backend="python"))
    return copy


def _ports(*wanted: int) -> tuple[int, ...]:
    with ExitStack() as stack:
        free = [stack.enter_context(socket.create_server((HOST, 0))) for _ in wanted]
        found = [one.getsockname()[1] for one in free]
    return tuple(port or spare for port, spare in zip(wanted, found, strict=True))


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until_s = monotonic() + START_TIMEOUT_S
    here = build_opener(ProxyHandler({}))  # this machine is behind no proxy
    while monotonic() < until_s:
        if process.poll() is not None:
            raise _CannotStartError(f"Triton ended with code {process.returncode}; see {log}")
        try:
            with here.open(url, timeout=1.0):
                return
        except (URLError, OSError):
            sleep(LOOK_EVERY_S)
    raise _CannotStartError(f"Triton was not ready within {START_TIMEOUT_S:.0f} s; see {log}")


if __name__ == "__main__":
    sys.exit(main())
