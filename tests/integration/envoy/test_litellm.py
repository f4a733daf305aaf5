"""The example of a LiteLLM router runs unchanged against the installed service."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LITELLM = ROOT / ".litellm"
PROMPTS = ("Hi", "Prove that sqrt(2) is irrational")


@pytest.fixture
def environment() -> dict[str, str]:
    """The variables of a process that can import LiteLLM."""
    if not (LITELLM / "litellm").is_dir():
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("no LiteLLM in .litellm; make test installs it there")
    paths = os.pathsep.join([str(LITELLM), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": paths.rstrip(os.pathsep)}


def test_a_litellm_router_asks_routoo_and_reports(
    service: str, environment: dict[str, str]
) -> None:
    ran = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "litellm_router.py"), *PROMPTS],
        env=environment | {"ROUTOO_ADDRESS": service},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    for prompt, line in zip(PROMPTS, lines, strict=False):
        asked, _, answer = line.partition(": an answer of ")
        assert asked == prompt
        assert answer in {"deepseek/deepseek-v4-flash", "google/gemini-3.5-flash"}
    assert lines[len(PROMPTS) :] == ["booked"] * len(PROMPTS)
    assert "no decision" not in ran.stderr
