"""The answers that ``routoo init`` needs: providers, their keys' variables, and a preference."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from routoo.cli.output.errors import CommandError
from routoo.config.sections.proxy import EVERY_MODEL, KNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OPENROUTER: Final = "openrouter"
"""The name here of the provider of every model."""
PROVIDERS: Final = (*(name for name in KNOWN if name != EVERY_MODEL), OPENROUTER)
"""The providers that need no address."""
PREFERENCES: Final = {
    **dict.fromkeys(("cheap", "economy"), "economy"),
    "balanced": "balanced",
    **dict.fromkeys(("best", "quality"), "quality"),
}
"""The preset of each preference."""
PERIODS: Final = {"hour": "1h", "day": "1d", "week": "7d", "month": "30d"}
"""A budget's period in the settings, by its word."""
LOCAL: Final = "local"
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
# Keys are words, too: most have a beginning of their own, and none is short.
_KEY: Final = re.compile(r"(sk|pk|gsk|xai|hf|key)[-_].*|AIza.*|.{65,}", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """A provider that is to be asked.

    Attributes:
        name: one of ``PROVIDERS``, or the name of an address: ``local``, ``local-2``, ...
        key_env: the variable that holds its key; empty: it takes none.
        base_url: its address; empty: that of a known provider.
    """

    name: str
    key_env: str = ""
    base_url: str = ""


@dataclass(frozen=True, slots=True)
class Answers:
    """All that is asked.

    Attributes:
        providers: at least one.
        preset: the policy in force.
        models: the names of the models to take; empty: all that the providers have here.
        budget_usd: the most that may be spent in a period; None: there is no budget.
        period: the period, as the settings spell it.
    """

    providers: tuple[ProviderAnswer, ...]
    preset: str
    models: tuple[str, ...] = ()
    budget_usd: float | None = None
    period: str = "30d"


def usual_key(provider: str) -> str:
    """Returns the variable in which the key of a known provider usually stands."""
    return KNOWN[EVERY_MODEL if provider == OPENROUTER else provider].api_key_env or ""


def providers_of(names: Sequence[str], urls: Sequence[str]) -> tuple[ProviderAnswer, ...]:
    """Returns the providers of a command line, each once, with their usual variables.

    Raises:
        CommandError: a provider is not known, or an address is none.
    """
    found = []
    for name in dict.fromkeys(names):
        if name not in PROVIDERS:
            raise CommandError(
                f"--provider {name}: not known; it may be {', '.join(PROVIDERS)}, or name an"
                " OpenAI-compatible server with --base-url"
            )
        found.append(ProviderAnswer(name, usual_key(name)))
    for number, url in enumerate(dict.fromkeys(urls), start=1):
        name = LOCAL if number == 1 else f"{LOCAL}-{number}"
        found.append(ProviderAnswer(name, "", _checked(url)))
    return tuple(found)


def with_keys(
    providers: Sequence[ProviderAnswer], variables: Sequence[str]
) -> tuple[ProviderAnswer, ...]:
    """Returns the providers with the variables that ``--key-env`` names.

    Args:
        providers: the providers.
        variables: ``PROVIDER=VARIABLE``, or the variable alone where there is one provider.

    Raises:
        CommandError: a text has another form, or names no provider; a key is never repeated.
    """
    keys: dict[str, str] = {}
    for text in variables:
        name, equals, variable = text.rpartition("=")
        if not equals and len(providers) == 1:
            name = providers[0].name
        if not any(one.name == name for one in providers):
            names = ", ".join(one.name for one in providers)
            raise CommandError(f"--key-env: write PROVIDER=VARIABLE; providers are {names}")
        keys[name] = checked_variable(variable)
    return tuple(replace(one, key_env=keys.get(one.name, one.key_env)) for one in providers)


def checked_variable(text: str) -> str:
    """Returns the name of a variable.

    Raises:
        CommandError: it is none, or looks like a key.
    """
    if not _VARIABLE.fullmatch(text) or _KEY.fullmatch(text):
        raise CommandError(
            "--key-env takes the name of an environment variable, such as OPENAI_API_KEY, and"
            " never the key itself"
        )
    return text


def with_set_keys(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the known providers whose usual variable is set."""
    return tuple(name for name in PROVIDERS if environment.get(usual_key(name)))


def _checked(url: str) -> str:
    url = url.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises if it is none
    except ValueError:
        parts = urlsplit("")
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or parts.username is not None
        or parts.query
    ):
        raise CommandError(
            "--base-url takes an address such as http://127.0.0.1:8000/v1, up to and including the"
            " version, without a password"
        )
    return url
