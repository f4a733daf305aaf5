"""Providers of a pool's models: whose entry counts, whose key there is, and who is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from routoo.api.http.proxy.upstreams import Upstreams
from routoo.config.sections.processor import ProcessorSettings
from routoo.config.sections.proxy import KNOWN, ProxySettings
from routoo.errors import ConfigError
from routoo.routing.pool import ModelSpec, Pool, load_pool
from support.tiny_pool import LARGE, MEDIUM, SMALL

if TYPE_CHECKING:
    from pathlib import Path

HERE = "http://127.0.0.1:1/v1"
PROCESSOR = ProcessorSettings()


@pytest.fixture
def pool() -> Pool:
    """Three models of two makers."""
    names = ("openai/one", "openai/two", "maker/three")
    bases = (SMALL, MEDIUM, LARGE)
    return Pool.of(
        tuple(
            ModelSpec.model_validate({**base, "name": name})
            for base, name in zip(bases, names, strict=True)
        )
    )


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for maker in ("OPENAI", "ANTHROPIC", "GEMINI", "DEEPSEEK", "MISTRAL", "OPENROUTER"):
        monkeypatch.delenv(f"{maker}_API_KEY", raising=False)


def upstreams(pool: Pool, known: bool = False, **entries: Any) -> Upstreams:  # noqa: FBT001, FBT002
    settings = ProxySettings.model_validate({"known_providers": known, "upstreams": entries})
    return Upstreams(settings, pool)


def test_a_known_provider_needs_its_key_alone(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = upstreams(pool, known=True)
    assert nobody.reached == ()
    assert nobody.findings()[0].startswith("doors: no model can be reached")
    assert "set a key (OPENAI_API_KEY, OPENROUTER_API_KEY), or name" in nobody.findings()[0]
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    found = upstreams(pool, known=True)
    assert found.reached == ("openai/one", "openai/two")
    target = found.target("openai/one", "chat")
    assert target is not None
    assert (target.upstream_model, target.provider.key.value) == ("one", "key")
    assert found.target("openai/one", "messages") is None
    assert found.offered("chat", PROCESSOR) == ("openai/one", "openai/two")
    assert found.offered("messages", PROCESSOR) is None
    (finding,) = found.findings()
    assert finding.startswith("doors: 2 of 3 models can be reached")
    assert "; not maker/three;" in finding
    assert "OPENROUTER_API_KEY" in finding
    monkeypatch.setenv("OPENROUTER_API_KEY", "other")
    every = upstreams(pool, known=True)
    assert every.offered("chat", PROCESSOR) == ()
    assert every.findings() == [
        "doors: 3 of 3 models can be reached by OpenAI- and Anthropic-compatible requests"
    ]
    through = every.target("maker/three", "messages")
    assert through is not None
    assert through.upstream_model == "maker/three"


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("https://gateway.example/v1", False),
        ("https://api.openai.com/v1/", True),
        ("https://api.openai.com", True),
        ("", True),
    ],
)
def test_a_key_that_is_meant_for_another_address_does_not_go_to_the_provider(
    pool: Pool,
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    asked: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    found = upstreams(pool, known=True)
    assert bool(found.reached) is asked
    said = "OPENAI_BASE_URL is set, so openai is asked only if proxy.upstreams lists it"
    assert any(said in line for line in found.findings()) is not asked
    assert upstreams(pool, known=True, openai={}).reached == ("openai/one", "openai/two")


def test_known_providers_know_the_shipped_models_by_their_own_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    pool = load_pool(None)
    reached = upstreams(pool, known=True).reached
    # Open weights of OpenAI, which its API does not serve.
    assert "openai/gpt-oss-120b" not in reached
    assert set(reached) == {"openai/gpt-5.2-2025-12-11", "openai/gpt-5.5-2026-04-23"}
    monkeypatch.setenv("OPENROUTER_API_KEY", "other")
    for found in (upstreams(pool, known=True), upstreams(pool, known=True, **{"*": {}})):
        assert len(found.reached) == len(pool.models)
        for model, name in (
            ("openai/gpt-oss-120b", "openai/gpt-oss-120b"),
            ("anthropic/claude-opus-4-8", "anthropic/claude-opus-4.8"),
            ("qwen/qwen3.7-max-2026-05-20", "qwen/qwen3.7-max"),
        ):
            target = found.target(model, "chat")
            assert target is not None
            assert target.upstream_model == name


def test_the_shipped_models_answer_by_the_names_of_known_providers() -> None:
    pool = load_pool(None)
    for known in KNOWN.values():
        for model, name in known.upstream_models.items():
            column = pool.answering(name)
            assert column is not None
            assert pool.model_of(column) == model


def test_the_nearest_entry_counts(pool: Pool) -> None:
    found = upstreams(
        pool,
        **{
            "*": {"base_url": HERE, "apis": ["openai", "anthropic"]},
            "openai": {"base_url": HERE},
            "openai/two": {"base_url": HERE, "upstream_models": {"openai/two": "second"}},
        },
    )
    for model, api, entry, name in (
        ("openai/one", "chat", "openai", "one"),
        ("openai/one", "messages", "*", "openai/one"),
        ("openai/two", "chat", "openai/two", "second"),
        ("maker/three", "chat", "*", "maker/three"),
    ):
        target = found.target(model, api)  # type: ignore[arg-type]
        assert target is not None
        assert (target.provider.name, target.upstream_model) == (entry, name)


def test_a_provider_gets_only_requests_of_its_apis(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = upstreams(
        pool,
        **{
            "openai": {"base_url": HERE, "apis": ["chat", "responses"]},
            "*": {"base_url": HERE, "apis": ["openai"]},
        },
    )
    targets: dict[Any, str] = {}
    for api in ("chat", "responses", "completions"):
        target = found.target("openai/one", api)  # type: ignore[arg-type]
        assert target is not None
        targets[api] = target.provider.name
    assert targets == {"chat": "openai", "responses": "openai", "completions": "*"}
    assert found.target("openai/one", "messages") is None
    assert found.offered("messages", PROCESSOR) is None
    monkeypatch.setenv("GEMINI_API_KEY", "key")
    google = upstreams(load_pool(None), known=True)
    assert google.target("google/gemini-3.5-flash", "chat") is not None
    assert google.target("google/gemini-3.5-flash", "responses") is None
    assert google.offered("responses", PROCESSOR) is None


def test_a_model_without_its_key_is_left_out_until_there_is_one(pool: Pool, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("")
    found = upstreams(pool, **{"*": {"base_url": HERE, "api_key_file": file}})
    assert found.offered("chat", PROCESSOR) is None


@pytest.mark.parametrize("text", ["two words", "käse", "a\nb"])
def test_what_is_no_key_is_refused_and_never_shown(pool: Pool, tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    with pytest.raises(ConfigError) as told:
        upstreams(pool, **{"*": {"base_url": HERE, "api_key_file": file}})
    assert text not in str(told.value)


@pytest.mark.parametrize(
    "entries",
    [
        {"opneai": {"base_url": HERE}},
        {"maker": {}},
        {"openai": {"base_url": HERE, "upstream_models": {"openai/nine": "x"}}},
        {"openai": {"base_url": HERE, "api_key_file": "/nowhere/key"}},
        {"openai": {"base_url": HERE, "ca": "/nowhere/ca.pem"}},
    ],
)
def test_entries_that_do_not_fit_are_refused(pool: Pool, entries: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as told:
        upstreams(pool, **entries)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "entry",
    [
        {"base_url": "ftp://host/v1"},
        {"base_url": "https://user:secret@host/v1"},
        {"base_url": "https://host/v1?key=1"},
        {"base_url": "host:80"},
        {"base_url": HERE, "apis": []},
        {"base_url": HERE, "headers": {"x": "a\r\nb: c"}},
        {"base_url": HERE, "verify": False, "ca": "ca.pem"},
        {"base_url": HERE, "key": "sk-1"},
    ],
)
def test_settings_of_an_entry_are_checked(entry: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ProxySettings.model_validate({"upstreams": {"openai": entry}})
