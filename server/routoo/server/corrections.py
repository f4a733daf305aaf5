"""Opens the corrections of predicted lengths and latencies, with their file and Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routoo.engine.corrections.corrector import Corrector
from routoo.engine.corrections.file import CorrectionFile
from routoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from routoo.config.settings import Settings
    from routoo.engine.corrections.shared import SharedTable
    from routoo.telemetry.outcome_counts import OutcomeCounts


def open_corrector(
    settings: Settings,
    models: Collection[str],
    counts: OutcomeCounts,
    worker: int = 0,
    *,
    clock_ns: Callable[[], int],
) -> Corrector | None:
    """Opens the corrections and starts to learn; the caller closes them.

    Args:
        settings: the sections ``corrections``, ``budgets`` and ``ledger``.
        models: the models of the pool; what a file knows of others is dropped.
        counts: counts answers and faults.
        worker: the number of this process among the workers of a service; each has its own file.
        clock_ns: nanoseconds since 1970, to tell the hour.

    Returns:
        None where the settings want none.

    Raises:
        ConfigError: the file's folder cannot be written to; the extra ``redis`` is not installed.
    """
    if not settings.corrections.enabled:
        return None
    path = _path(settings, worker)
    corrector = Corrector(
        settings.corrections,
        counts.corrections,
        file=None if path is None else CorrectionFile(path),
        shared=_shared(settings),
        time_s=lambda: clock_ns() * 1e-9,
    )
    corrector.keep_models(models)
    corrector.start()
    return corrector


def _path(settings: Settings, worker: int) -> Path | None:
    path, journal = settings.corrections.path, settings.ledger.journal
    if path is None and journal is not None and settings.budgets:
        path = journal.with_name(f"{journal.name}.corrections")
    if path is None or worker == 0:
        return path
    return path.with_name(f"{path.name}.{worker}")


def _shared(settings: Settings) -> SharedTable | None:
    ledger = settings.ledger
    if not settings.budgets or ledger.backend != "redis":
        return None
    try:
        # The extra ``redis`` is needed only where replicas share budgets.
        from routoo.engine.corrections.shared import SharedTable  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"ledger.backend: redis needs the Python package {error.name}; install routoo[redis]"
        ) from None
    return SharedTable(ledger.connecting())
