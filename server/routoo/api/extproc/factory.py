"""Makes the processor, if Envoy's definitions are installed and the pool fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routoo.errors import ConfigError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from routoo.api.calls import Calls
    from routoo.api.extproc.service import Processor
    from routoo.api.peers import Peers
    from routoo.config.processor import ProcessorSettings
    from routoo.engine.current import ActiveEngine
    from routoo.routing.pool import Pool
    from routoo.telemetry.tracing import Tracing


def open_processor(
    current: ActiveEngine,
    calls: Calls,
    registry: CollectorRegistry,
    tracing: Tracing | None,
    peers: Peers | None,
) -> Processor:
    """Makes the processor of settings that ``check_processor`` has accepted.

    The arguments are those of ``Processor``.
    """
    from routoo.api.extproc.service import Processor  # noqa: PLC0415 - needs the extra

    return Processor(current, calls, registry, tracing, peers)


def check_processor(settings: ProcessorSettings, pool: Pool) -> None:
    """Refuses names that the pool lacks, and pools whose names cannot stand in a header.

    Raises:
        ConfigError: a name does not fit, or the extra ``envoy`` is not installed.
    """
    try:
        import routoo.api.extproc.service  # noqa: F401, PLC0415 - needs the extra
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"processor.enabled needs the extra envoy ({error.name} is missing): pip install"
            " 'routoo[envoy]', or set processor.enabled to false"
        ) from None
    for setting in ("messages_models", "openai_models"):
        for name in getattr(settings, setting):
            pool.column(name, f"processor.{setting}", ConfigError)
    if settings.fallback_model:
        pool.column(settings.fallback_model, "processor.fallback_model", ConfigError)
    for name in pool.names:
        if not (name.isascii() and name.isprintable()) or name != name.strip():
            raise ConfigError(
                f"pool model {name!r} cannot stand in an HTTP header; with processor.enabled, names"
                " are printable ASCII"
            )
        if name in settings.route_names:
            raise ConfigError(
                f"pool model {name!r} is also in processor.route_names; rename one of the two"
            )
