"""Makes the processor, if the pool fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from routoo.errors import ConfigError
from routoo.routing.arms.parameters import why_not

if TYPE_CHECKING:
    from routoo.api.calls import Calls
    from routoo.api.extproc.service import Processor
    from routoo.api.llm.metrics import ExchangeCounts
    from routoo.api.peers import Peers
    from routoo.config.sections.processor import ProcessorSettings
    from routoo.engine.current import ActiveEngine
    from routoo.routing.arms.columns import ArmColumns
    from routoo.routing.arms.spec import Api
    from routoo.routing.pool import Pool
    from routoo.telemetry.tracing import Tracing


OPENAI_APIS: tuple[Api, ...] = ("chat", "responses", "completions")


def open_processor(
    current: ActiveEngine,
    calls: Calls,
    tally: ExchangeCounts,
    tracing: Tracing | None,
    peers: Peers | None,
) -> Processor:
    """Makes the processor of settings that ``check_processor`` has accepted.

    The arguments are those of ``Processor``.
    """
    from routoo.api.extproc.service import Processor  # noqa: PLC0415 - only where the settings enable it

    return Processor(current, calls, tally, tracing, peers)


def check_processor(settings: ProcessorSettings, pool: Pool) -> None:
    """Refuses names that the pool lacks, and pools whose names cannot stand in a header.

    Raises:
        ConfigError: a name does not fit.
    """
    for setting in ("messages_models", "openai_models"):
        for name in getattr(settings, setting):
            pool.columns_named(name, f"processor.{setting}", ConfigError)
    if settings.fallback_model:
        pool.columns_named(settings.fallback_model, "processor.fallback_model", ConfigError)
    if pool.arms is not None:
        _check_arms(settings, pool, pool.arms)
    for name in dict.fromkeys((*pool.names, *(model.name for model in pool.models))):
        if not (name.isascii() and name.isprintable()) or name != name.strip():
            raise ConfigError(
                f"pool model {name!r} cannot stand in an HTTP header; with processor.enabled, names"
                " are printable ASCII"
            )
        if name in settings.route_names:
            raise ConfigError(
                f"pool model {name!r} is also in processor.route_names; rename one of the two"
            )


def _check_arms(settings: ProcessorSettings, pool: Pool, arms: ArmColumns) -> None:
    """Refuses an arm that no request can ask for, by the APIs that its model takes.

    Raises:
        ConfigError: names the arm, and what the API does not know.
    """
    every = np.ones(len(pool.names), np.bool_)
    openai = pool.holds(settings.openai_models) if settings.openai_models else every
    messages = pool.holds(settings.messages_models) if settings.messages_models else every
    for column, arm in enumerate(arms.specs):
        apis: list[Api] = [*(OPENAI_APIS if openai[column] else ())]
        apis += ["messages"] if messages[column] else []
        if arm is not None and apis and not any(arms.asked_by[api][column] for api in apis):
            raise ConfigError(
                f"pool arm {pool.names[column]!r} can never be asked for: {why_not(arm, apis[0])};"
                " give the fields in the arm's body, or remove it"
            )
