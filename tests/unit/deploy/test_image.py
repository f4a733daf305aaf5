"""The image holds the service without the training; compose files name existing settings."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from routoo.cli.app import app
from routoo.config.checks import refuse_exposure
from routoo.config.loading import load_settings

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
INSTRUCTIONS = [
    line.strip()
    for line in re.sub(r"\\\n", " ", (DEPLOY / "Dockerfile").read_text()).splitlines()
    if line.strip() and not line.startswith("#")
]


def arguments(keyword: str) -> list[list[str]]:
    return [shlex.split(one)[1:] for one in INSTRUCTIONS if one.split()[0] == keyword]


def copied() -> set[str]:
    copies = [words for words in arguments("COPY") if not words[0].startswith("--from")]
    return {name for words in copies for name in words[:-1]}


def test_what_is_copied_exists_and_trains_nothing() -> None:
    assert copied() == {
        "pyproject.toml",
        "setup.py",
        "constraints.txt",
        "README.md",
        "LICENSE",
        "server",
        "model_repository",
        "proto",
    }
    assert all((ROOT / name).exists() for name in copied())


def test_the_builder_is_sent_only_that() -> None:
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in ignore if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied()


def test_it_runs_as_a_number_that_is_not_root_and_asks_its_own_health() -> None:
    stages = [index for index, one in enumerate(INSTRUCTIONS) if one.startswith("FROM ")]
    assert len(stages) == 2
    last = INSTRUCTIONS[stages[-1] :]
    (user,) = [one.split()[1] for one in last if one.startswith("USER ")]
    assert all(int(number) > 0 for number in user.split(":"))
    assert [one for one in last if one.startswith("COPY")] == [
        "COPY --from=build /opt/routoo /opt/routoo"
    ]
    (check,) = [one for one in last if one.startswith("HEALTHCHECK")]
    assert check.endswith('CMD ["routoo", "health"]')


def test_its_commands_are_commands() -> None:
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    used = set(re.findall(r'CMD \["(?:routoo", ")?([a-z]+)"', " ".join(INSTRUCTIONS)))
    assert used == {"serve", "health"}
    assert used <= known


def test_the_extras_are_ones_of_the_project() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    (extras,) = re.findall(r'"\.\[(.*?)\]"', (DEPLOY / "Dockerfile").read_text())
    for extra in [*extras.replace("${RUNTIME},", "").split(","), "cpu", "gpu"]:
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE), extra


def environment_of(*files: str) -> dict[str, str]:
    variables: dict[str, str] = {}
    for file in files:
        service = compose(file)["services"]["routoo"]
        variables |= service.get("environment", {})
    return variables


def compose(file: str) -> Any:
    return yaml.safe_load((DEPLOY / file).read_text())


def test_ports_are_published_to_the_host_alone() -> None:
    ports = compose("compose.yaml")["services"]["routoo"]["ports"]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_container_can_write_nothing_and_may_do_nothing() -> None:
    service = compose("compose.yaml")["services"]["routoo"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert {"mem_limit", "cpus", "pids_limit"} <= set(service)


@pytest.mark.parametrize("files", [["compose.yaml"], ["compose.yaml", "compose.triton.yaml"]])
def test_its_variables_are_settings(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment_of(*files).items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.listen == "0.0.0.0:50051"
    assert settings.predictor.backend == ("triton" if len(files) > 1 else "onnx")
    refuse_exposure(settings)
