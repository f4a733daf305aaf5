"""The example of LiteLLM's classifier hook runs unchanged; that of its router is in a tutorial."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from routoo.client import RouterClient
from support.processes.tools import missing

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[3]
LITELLM = ROOT / ".litellm"
PROMPTS = ("Hi", "Prove that sqrt(2) is irrational")


@pytest.fixture
def environment() -> dict[str, str]:
    """The variables of a process that can import LiteLLM."""
    if not (LITELLM / "litellm").is_dir():
        missing("no LiteLLM in .litellm; make test installs it there")
    paths = os.pathsep.join([str(LITELLM), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": paths.rstrip(os.pathsep)}


@pytest.fixture
def refused_address() -> Iterator[str]:
    """An address that is taken, and at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def classified(environment: dict[str, str], address: str) -> tuple[list[str], str]:
    """Runs the example of a classifier; returns the models that answered, and stderr."""
    ran = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "litellm_classifier.py"), *PROMPTS],
        env=environment | {"ROUTOO_ADDRESS": address},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    answers = [line.partition(": an answer of ") for line in ran.stdout.splitlines()]
    assert tuple(prompt for prompt, _, _ in answers) == PROMPTS
    return [model for _, _, model in answers], ran.stderr


def test_a_classifier_of_litellm_asks_routoo(service: str, environment: dict[str, str]) -> None:
    with RouterClient(service) as client:
        pair = ["deepseek/deepseek-v4-flash", "google/gemini-3.5-flash"]
        wanted = [client.route(prompt, allowed_models=pair).model for prompt in PROMPTS]
    answered, told = classified(environment, service)
    assert answered == wanted
    assert "no decision" not in told


def test_a_classifier_that_gets_no_decision_leaves_the_choice_to_litellm(
    environment: dict[str, str], refused_address: str
) -> None:
    answered, told = classified(environment, refused_address)
    assert answered == ["deepseek/deepseek-v4-flash"] * len(PROMPTS)
    assert told.count("no decision") == len(PROMPTS)
