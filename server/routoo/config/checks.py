"""Checks that concern several sections of the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routoo.config.address import Address
from routoo.config.sections.security import ListenerSettings
from routoo.errors import ConfigError

if TYPE_CHECKING:
    from routoo.config.settings import Settings


def check_workers(settings: Settings) -> None:
    """Refuses settings that cannot hold with several workers.

    Raises:
        ConfigError: a socket file, or budgets or sessions in memory, with more than one worker;
            names the settings.
    """
    if settings.workers == 1:
        return
    for address in (settings.listen, *(listener.address for listener in settings.listeners)):
        if Address.parse(address).path:
            raise ConfigError(
                f"workers: a socket file cannot be shared, as {address} would have to be; name"
                " HOST:PORT instead, or set workers: 1"
            )
    if settings.budgets and settings.ledger.backend == "memory":
        raise ConfigError(
            f"workers: {settings.workers} workers would each spend the whole of every budget, as"
            " ledger.backend: memory is one process's; set ledger.backend: redis, or workers: 1"
        )
    if settings.sessions.enabled and settings.ledger.backend == "memory":
        raise ConfigError(
            f"workers: the turns of a session reach any of {settings.workers} workers, and"
            " ledger.backend: memory is one process's; set ledger.backend: redis, workers: 1, or"
            " leave sessions.enabled unset"
        )


def check_cascade(settings: Settings) -> None:
    """Refuses the policy ``cascade`` behind Envoy, which sends every request to one model only.

    The policy names the first of two models to ask and counts on ``Escalate`` for the rest, which
    nobody calls there.

    Raises:
        ConfigError: the policy would never escalate; names the settings.
    """
    if settings.processor.enabled and settings.policy.name == "cascade":
        raise ConfigError(
            "policy.name: cascade would never escalate behind Envoy, which asks one model a"
            " request; set policy.name: lp, or processor.enabled: false and call Escalate"
        )


def refuse_exposure(settings: Settings) -> None:
    """Refuses addresses that other machines reach without TLS and authentication.

    Raises:
        ConfigError: an address is open and no setting says that it may be; one line.
    """
    security = settings.security
    for listener in (ListenerSettings(address=settings.listen), *settings.listeners):
        lacking = _lacking(settings, listener.address, tls=listener.tls)
        if lacking:
            raise ConfigError(
                f"{listener.address} can be reached from other machines and has no {lacking}; set"
                " it, listen on 127.0.0.1 or a unix: socket, or say"
                " security.allow_insecure_exposure: true"
            )
    http = settings.http
    lacking = _lacking(settings, http.listen, tls=http.tls) if http.enabled else ""
    if lacking:
        raise ConfigError(
            f"http.listen: {http.listen} can be reached from other machines and has no {lacking};"
            ' set it, listen on 127.0.0.1, turn the HTTP front off with http.listen: "", or say'
            " security.allow_insecure_exposure: true"
        )
    metrics = settings.metrics
    if (
        metrics.enabled
        and not security.allow_open_metrics
        and Address.parse(metrics.listen).leaves_the_machine
    ):
        raise ConfigError(
            f"metrics on {metrics.listen} can be read from other machines; listen on 127.0.0.1, or"
            " say security.allow_open_metrics: true"
        )


def _lacking(settings: Settings, address: str, *, tls: bool) -> str:
    """Returns the protection that an address lacks and needs; empty: none."""
    security = settings.security
    if security.allow_insecure_exposure or not Address.parse(address).leaves_the_machine:
        return ""
    lacking = []
    if security.tls is None or not tls:
        lacking.append("TLS (security.tls)")
    if not security.asks_who_calls:
        lacking.append("authentication (security.tokens or security.certificates)")
    return " and no ".join(lacking)
