"""``routoo init`` refuses wrong input before it asks anybody, and finds a row for each model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from routoo.cli.commands.init.answers import PROVIDERS, usual_key
from routoo.cli.commands.init.models import local_model
from routoo.cli.commands.init.served import ServedModel
from routoo.cli.commands.pool.file import artifact_of
from routoo.routing.upkeep.known_models import KnownModels

if TYPE_CHECKING:
    from pathlib import Path

    from support.processes.command_line import Run

KEY = "sk-proj-0123456789abcdef"


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in PROVIDERS:
        monkeypatch.delenv(usual_key(name), raising=False)


@pytest.fixture(scope="module")
def known() -> KnownModels:
    return KnownModels.of(artifact_of(None))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--yes",), "no provider: name one with --provider openai"),
        (("--provider", "nobody"), "--provider nobody: not known"),
        (("--provider", "openai", "--key-env", KEY), "and never the key itself"),
        (("--provider", "openai", "--key-env", f"openai={KEY}"), "and never the key itself"),
        (("--provider", "openai", "--key-env", "google=X"), "write PROVIDER=VARIABLE"),
        (("--base-url", "127.0.0.1:8000/v1"), "--base-url takes an address"),
        (("--base-url", "http://u:p@127.0.0.1/v1"), "without a password"),
        (("--base-url", "http://127.0.0.1:x/v1"), "--base-url takes an address"),
        (("--provider", "openai", "--budget-usd", "-3"), "--budget-usd -3"),
        (("--provider", "openai", "--budget-usd", "nan"), "--budget-usd nan"),
        (("--provider", "openai", "--model", "acme/x"), "none of the providers has it"),
        (("--provider", "openai", "--model", "openai/gpt-99"), "--model openai/gpt-99"),
        (("--provider", "openai", "--config", "pool.yaml"), "is the pool's name"),
        (("--provider", "openai", "--config", "none/routoo.yaml"), "make it first"),
        (("--provider", "openai", "--config", "."), "is a folder"),
        (("--provider", "openai", "--prefer", "all"), "'all' is not one of"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    failed = run("init", *arguments)
    assert (failed.code, failed.out, failed.err.count("\n")) == (2, "", 1)
    assert words in failed.err
    assert KEY not in failed.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("served", "row", "is_sure"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "meta-llama/llama-3.1-8b-instruct", True),
        ("llama3.1:8b", "meta-llama/llama-3.1-8b-instruct", True),
        ("llama3.1:8b-instruct-q4_K_M", "meta-llama/llama-3.1-8b-instruct", True),
        ("/models/Qwen2.5-72B-Instruct-AWQ", "qwen/qwen2.5-72b-instruct", True),
        ("Meta-Llama-3.1-8B-Instruct-Q8_0.gguf", "meta-llama/llama-3.1-8b-instruct", True),
        ("zzz", "meta-llama/llama-3.1-8b-instruct", False),
    ],
)
def test_a_served_model_is_predicted_as_the_one_of_its_name(
    known: KnownModels, served: str, row: str, *, is_sure: bool
) -> None:
    entry, doubt = local_model("local", ServedModel(served, None), known, set())
    assert entry["predictor_name"] == row
    assert (not doubt) == is_sure


def test_names_are_told_apart(known: KnownModels) -> None:
    taken: set[str] = set()
    names = [
        local_model("local", ServedModel(one, 9), known, taken)[0]["name"]
        for one in ("A b", "a-b", "x/A@b", "///")
    ]
    assert names == ["local/a-b", "local/a-b-2", "local/a-b-3", "local/model"]
