"""``routoo serve`` and ``routoo check-config``: the settings for the server, and failures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from routoo.errors import PoolError, PredictorError

if TYPE_CHECKING:
    from pathlib import Path

    from routoo.config.loading import SettingsSource
    from routoo.config.settings import Settings
    from support.processes.command_line import Run


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that the server was started with."""
    started: list[Settings] = []

    def serve(source: SettingsSource) -> int:
        started.append(source.read())
        return 7

    monkeypatch.setattr("routoo.server.service.serve", serve)
    return started


def test_serve_without_options_takes_the_defaults_and_returns_the_servers_code(
    run: Run, served: list[Settings]
) -> None:
    assert run("serve").code == 7
    (settings,) = served
    assert settings.listen == "127.0.0.1:50051"


def test_options_win_over_the_file(run: Run, served: list[Settings], tmp_path: Path) -> None:
    config = tmp_path / "routoo.yaml"
    config.write_text(
        "listen: 127.0.0.1:1\nmetrics: {listen: '127.0.0.1:2', enabled: false}\n"
        "policy: {max_mean_cost_usd: 0.5}\n"
    )
    ended = run(
        *("serve", "--config", str(config), "--listen", "127.0.0.1:3"),
        *("--metrics-listen", "127.0.0.1:4", "--max-mean-cost-usd", "0.25"),
    )
    assert ended.code == 7
    run("serve", "--config", str(config))
    overridden, from_file = served
    assert (overridden.listen, overridden.metrics.listen) == ("127.0.0.1:3", "127.0.0.1:4")
    assert overridden.policy.max_mean_cost_usd == 0.25
    assert overridden.metrics.enabled is False
    assert (from_file.listen, from_file.metrics.listen) == ("127.0.0.1:1", "127.0.0.1:2")
    assert from_file.policy.max_mean_cost_usd == 0.5


@pytest.mark.parametrize(
    ("text", "expected"),
    [("lisen: x\n", "lisen: unknown key"), ("a: [\n", "malformed YAML"), ("listen: 5\n", "listen")],
)
@pytest.mark.parametrize("command", [["serve", "--config"], ["check-config"]])
def test_a_bad_config_is_one_line_and_exit_2(
    run: Run, served: list[Settings], tmp_path: Path, command: list[str], text: str, expected: str
) -> None:
    config = tmp_path / "bad.yaml"
    config.write_text(text)
    ended = run(*command, str(config))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"error: {config}:")
    assert expected in ended.err
    assert ended.err.count("\n") == 1
    assert served == []


def test_a_missing_config_is_one_line_and_exit_2(run: Run, tmp_path: Path) -> None:
    ended = run("check-config", str(tmp_path / "none.yaml"))
    assert (ended.code, ended.out) == (2, "")
    assert "cannot be read: No such file or directory" in ended.err


def test_check_config_shows_what_it_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routoo.server.assembly.check", lambda _: ["pool: 3 models", "price: 12"])
    ended = run("check-config")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[:2] == ["pool: 3 models", "price: 12"]
    assert json.loads(run("check-config", "--json").out) == {
        "config": None,
        "ok": True,
        "findings": ["pool: 3 models", "price: 12"],
    }


@pytest.mark.parametrize(
    ("error", "code"), [(PoolError("no such model\nhere"), 2), (PredictorError("it broke"), 1)]
)
def test_check_config_fails_with_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    def check(_: Settings) -> list[str]:
        raise error

    monkeypatch.setattr("routoo.server.assembly.check", check)
    ended = run("check-config")
    assert (ended.code, ended.out) == (code, "")
    assert ended.err == f"error: {' '.join(str(error).split())}\n"
