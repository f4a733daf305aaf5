"""From nothing to the first answer: ``routoo init``, ``routoo serve``, an OpenAI client."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import openai
import yaml

from support.peers.llm_upstream import TEXT, upstream
from support.peers.proxied import proxied
from support.processes.process import ENVIRONMENT, ROUTOO, exit_code, line_of, process

if TYPE_CHECKING:
    from pathlib import Path

SERVED = ["llama3.1:8b-instruct-q4_K_M", "Qwen2.5-72B-Instruct", "mine", "nomic-embed-text"]
KEY = "sk-1234567890abcdef"
FREE_PORTS = ("--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0")


async def made(*arguments: str) -> tuple[int, str, str]:
    async with process(*ROUTOO, "init", *arguments) as running:
        out, err = await running.communicate()
        return await exit_code(running), out.decode(), err.decode()


def read_all(terminal: int) -> None:
    with suppress(OSError):  # nobody has its other end open any more
        while os.read(terminal, 4096):
            pass


def names_of(pool: Path) -> list[str]:
    return [one["name"] for one in yaml.safe_load(pool.read_text())["models"]]


def files_in(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


async def test_two_commands_lead_to_the_first_answer(tmp_path: Path) -> None:
    config = str(tmp_path / "routoo.yaml")
    async with upstream() as provider:
        provider.models = SERVED
        url = f"http://127.0.0.1:{provider.port}/v1"
        code, out, err = await made("--base-url", url, "--yes", "--config", config)
        assert (code, err) == (0, "")
        assert f"next: routoo serve --config {config}\n" in out
        assert "\n\n\n" not in out
        assert "local/mine is predicted as meta-llama/llama-3.1-8b-instruct" in out
        serve = ("serve", "--config", config, *FREE_PORTS, "--metrics-listen", "127.0.0.1:0")
        async with process(*ROUTOO, *serve) as service:
            ready = await line_of(service, "ready ", 120.0)
            (door,) = re.findall(r"http=(\S+)", ready)
            async with openai.AsyncOpenAI(base_url=f"http://{door}/v1", api_key="none") as client:
                reply = await client.chat.completions.create(
                    model="auto", messages=[{"role": "user", "content": "Why is the sky blue?"}]
                )
            assert reply.choices[0].message.content == TEXT
        assert provider.answered[0] in SERVED[:3]
    assert sorted(names_of(tmp_path / "pool.yaml")) == [
        "local/llama3.1:8b-instruct-q4_k_m",
        "local/mine",
        "local/qwen2.5-72b-instruct",
    ]
    assert files_in(tmp_path) == ["pool.yaml", "routoo.yaml"]


async def test_models_sizes_and_budgets_are_taken_as_asked(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    async with upstream() as provider:
        provider.models, provider.told = SERVED, {"max_model_len": 4321}
        url = f"http://127.0.0.1:{provider.port}/v1"
        asked: tuple[str, ...] = ("--base-url", url, "--provider", "openai", "--key-env")
        asked += ("openai=ROUTOO_TEST_NO_SUCH_KEY", "--model", SERVED[1])
        asked += ("--model", "openai/gpt-5-mini-2025-08-07", "--budget-usd", "7", "--per", "day")
        code, out, err = await made(*asked, "--config", str(config), "--json")
    assert (code, err) == (0, "")
    told: dict[str, Any] = json.loads(out)
    assert told["models"] == ["openai/gpt-5-mini-2025-08-07", "local/qwen2.5-72b-instruct"]
    assert any("ROUTOO_TEST_NO_SUCH_KEY is not set" in one for one in told["remarks"])
    assert told["trial"]["model"] in told["models"]
    settings = yaml.safe_load(config.read_text())
    assert settings["budgets"] == [
        {"name": "all", "usd": 7.0, "per": "1d", "on_exhausted": "refuse"}
    ]
    assert settings["policy"] == {"name": "quality", "offered": ["economy", "balanced"]}
    assert settings["proxy"]["upstreams"]["openai"] == {"api_key_env": "ROUTOO_TEST_NO_SUCH_KEY"}
    (local,) = (one for one in yaml.safe_load((tmp_path / "pool.yaml").read_text())["models"][1:])
    assert (local["context_window_tokens"], local["predictor_name"]) == (
        4321,
        "qwen/qwen2.5-72b-instruct",
    )


async def test_nothing_is_replaced_unless_asked_and_nothing_by_what_fails(tmp_path: Path) -> None:
    config = ("--config", str(tmp_path / "routoo.yaml"))
    (tmp_path / "routoo.yaml").write_text("mine")
    code, _, err = await made("--provider", "mistralai", *config)
    assert (code, err.count("\n")) == (2, 1)
    assert "--force" in err
    code, _, err = await made("--base-url", "http://127.0.0.1:9/v1", "--force", *config)
    assert (code, err.count("\n")) == (3, 1)
    assert (tmp_path / "routoo.yaml").read_text() == "mine"
    assert files_in(tmp_path) == ["routoo.yaml"]
    code, _, err = await made("--provider", "mistralai", "--force", *config)
    assert (code, err) == (0, "")
    assert names_of(tmp_path / "pool.yaml") == ["mistralai/mistral-large-2512"]


async def test_a_routoo_is_no_server_of_models(tmp_path: Path) -> None:
    async with proxied(tmp_path) as front:
        url = f"{front.url}/v1"
        config = tmp_path / "new" / "routoo.yaml"
        config.parent.mkdir()
        code, out, err = await made("--base-url", url, "--yes", "--config", str(config))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"{url} is a Routoo" in err
    assert files_in(config.parent) == []


async def test_a_pool_that_other_settings_use_is_not_replaced(tmp_path: Path) -> None:
    first, second = tmp_path / "routoo.yaml", tmp_path / "b.yaml"
    code, _, err = await made("--provider", "mistralai", "--config", str(first))
    assert (code, err) == (0, "")
    kept = (tmp_path / "pool.yaml").read_bytes()
    again = ("--provider", "deepseek", "--force", "--config")
    code, _, err = await made(*again, str(second))
    assert (code, err.count("\n")) == (2, 1)
    assert f"is also the pool of {first}" in err
    assert (tmp_path / "pool.yaml").read_bytes() == kept
    assert files_in(tmp_path) == ["pool.yaml", "routoo.yaml"]
    # Its own settings may replace it, and a file that says nothing of a pool is in nobody's way.
    (tmp_path / "notes.yaml").write_text("- [")
    code, _, err = await made(*again, str(first))
    assert (code, err) == (0, "")
    assert (tmp_path / "pool.yaml").read_bytes() != kept


def test_on_a_terminal_it_asks_again_until_it_can_read_the_answer(tmp_path: Path) -> None:
    answers = ["nobody", "mistralai", KEY, "", "dear", "best", "-4", "50"]
    main, terminal = os.openpty()
    try:
        # A terminal that nobody reads is full after some kilobytes, and its writers wait.
        reading = threading.Thread(target=read_all, args=(main,), daemon=True)
        reading.start()
        os.write(main, "".join(f"{one}\n" for one in answers).encode())
        ended = subprocess.run(
            [sys.executable, *ROUTOO, "init", "--config", str(tmp_path / "routoo.yaml"), "--json"],
            stdin=terminal,
            stderr=terminal,
            stdout=subprocess.PIPE,
            env=ENVIRONMENT,
            check=True,
        )
    finally:
        os.close(terminal)
        reading.join()
        os.close(main)
    told = json.loads(ended.stdout)
    assert (told["policy"], told["budget_usd"], told["budget_per"]) == ("quality", 50.0, "30d")
    assert told["models"] == ["mistralai/mistral-large-2512"]
    settings = (tmp_path / "routoo.yaml").read_text()
    assert "api_key_env: MISTRAL_API_KEY" in settings
    assert KEY not in settings
