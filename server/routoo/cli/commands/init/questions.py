"""The questions of ``routoo init`` on a terminal; they go to stderr, as stdout has results only."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import typer

from routoo.cli.commands.init.answers import (
    PREFERENCES,
    PROVIDERS,
    ProviderAnswer,
    checked_variable,
    providers_of,
    with_set_keys,
)
from routoo.cli.output.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Answer = TypeVar("Answer")


def asked_providers(environment: Mapping[str, str]) -> tuple[ProviderAnswer, ...]:
    """Asks which providers there are, and for the variables of their keys.

    Args:
        environment: providers whose key stands in it are proposed.
    """
    typer.echo(f"Providers: {', '.join(PROVIDERS)},", err=True)
    typer.echo("or the address of an OpenAI-compatible server (vLLM, Ollama, llama.cpp).", err=True)
    found = _asked(
        "Which ones, with commas", ",".join(with_set_keys(environment)) or None, _providers
    )
    return tuple(_with_key(one) for one in found)


def asked_preset() -> str:
    """Asks for the preference, and returns its preset."""
    return _asked("Prefer cheap, balanced or best", "balanced", _preset)


def asked_budget() -> float | None:
    """Asks for the most that may be spent in a month; None: there is no budget."""
    return _asked("Most USD per month (0: no budget)", "0", _budget)


def _with_key(provider: ProviderAnswer) -> ProviderAnswer:
    where = provider.base_url or provider.name
    usual = provider.key_env or "none"
    variable = _asked(f"Variable with the key of {where} (never the key)", usual, _variable)
    return ProviderAnswer(provider.name, variable, provider.base_url)


def _providers(text: str) -> tuple[ProviderAnswer, ...]:
    words = [one.strip() for one in text.split(",") if one.strip()]
    urls = [one for one in words if "://" in one]
    if not words:
        raise CommandError("name one at least")
    return providers_of([one for one in words if one not in urls], urls)


def _preset(text: str) -> str:
    if text not in PREFERENCES:
        raise CommandError(f"it may be {', '.join(PREFERENCES)}")
    return PREFERENCES[text]


def _budget(text: str) -> float | None:
    try:
        usd = float(text)
    except ValueError:
        usd = -1.0
    if not 0.0 <= usd < 1e9:
        raise CommandError("write a number such as 50")
    return usd or None


def _variable(text: str) -> str:
    return "" if text in ("", "none") else checked_variable(text)


def _asked(question: str, default: str | None, read: Callable[[str], Answer]) -> Answer:
    """Asks until the answer can be read."""
    while True:
        text = typer.prompt(question, default=default, err=True)
        try:
            return read(str(text).strip())
        except CommandError as error:
            typer.echo(str(error), err=True)
