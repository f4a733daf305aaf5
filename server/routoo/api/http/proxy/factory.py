"""Makes the doors of LLM clients, and checks their settings against the pool.

The other modules are imported only inside the functions, as their libraries take memory and time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from routoo.errors import ConfigError

if TYPE_CHECKING:
    from routoo.api.calls import Calls
    from routoo.api.http.proxy.doors import LlmDoors
    from routoo.api.llm.metrics import ExchangeCounts
    from routoo.config.settings import Settings
    from routoo.engine.current import ActiveEngine
    from routoo.routing.pool import Pool
    from routoo.telemetry.tracing import Tracing

_log = structlog.get_logger("routoo.proxy")


def open_doors(
    current: ActiveEngine, calls: Calls, tally: ExchangeCounts, tracing: Tracing | None
) -> LlmDoors:
    """Makes the doors, and logs which models they reach.

    The arguments are those of ``LlmDoors``; ``check_doors`` has accepted the settings.
    """
    from routoo.api.http.proxy.doors import LlmDoors  # noqa: PLC0415 - see above

    doors = LlmDoors(current, calls, tally, tracing)
    reached = doors.reached
    missed = len(current.engine.pool.models) - len(reached)
    _log.info("upstreams", models=", ".join(reached) or "none", without_upstream=missed)
    return doors


def check_doors(settings: Settings, pool: Pool) -> None:
    """Refuses settings of the doors that do not fit the pool.

    Raises:
        ConfigError: an upstream or a model's name does not fit; or a caller's token would go on to
            a provider.
    """
    from routoo.api.http.proxy.upstreams import Upstreams  # noqa: PLC0415 - see above

    Upstreams(settings.proxy, pool)
    processor = settings.processor
    for setting in ("messages_models", "openai_models"):
        for name in getattr(processor, setting):
            pool.columns_named(name, f"processor.{setting}", ConfigError)
    if processor.fallback_model:
        pool.columns_named(processor.fallback_model, "processor.fallback_model", ConfigError)
    forwarding = [
        name for name, one in settings.proxy.upstreams.items() if one.forward_authorization
    ]
    if forwarding and settings.security.tokens is not None:
        raise ConfigError(
            f"proxy.upstreams.{forwarding[0]}.forward_authorization: the callers' authorization is"
            " a token of this service (security.tokens), which must not reach a provider; name the"
            " provider's key under api_key_env or api_key_file"
        )


def upstream_findings(settings: Settings, pool: Pool) -> list[str]:
    """Returns lines about the models that the doors reach, and what they cannot serve."""
    if not (settings.http.enabled and settings.proxy.enabled):
        return []
    from routoo.api.http.proxy.upstreams import Upstreams  # noqa: PLC0415 - see above

    return [*Upstreams(settings.proxy, pool).findings(), *_cascade_findings(settings)]


def _cascade_findings(settings: Settings) -> list[str]:
    """Returns a line where no request is decided at the doors, unless it names its policy."""
    if settings.policy.name != "cascade":
        return []
    found = (
        "proxy: the OpenAI- and Anthropic-compatible doors ask one model, and refuse requests that"
        " name no policy, as policy.name: cascade asks two; set policy.name: lp, or proxy.enabled:"
        " false"
    )
    return [found]
