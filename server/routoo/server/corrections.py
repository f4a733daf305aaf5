"""Opens what learns of reports, with its file and Redis: corrections, and learned scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routoo.engine.corrections.corrector import Corrector
from routoo.engine.corrections.file import CorrectionFile, TableFile
from routoo.engine.corrections.learner import Learner
from routoo.errors import ConfigError
from routoo.routing.corrections.scores.table import AbilityTable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from routoo.config.settings import Settings
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
    path = _path(settings, settings.corrections.path, "corrections", worker)
    shared = _shared(settings)
    corrector = Corrector(
        settings.corrections,
        counts.corrections,
        file=None if path is None else CorrectionFile(path),
        shared=None if shared is None else shared.SharedTable(settings.ledger.connecting()),
        time_s=lambda: clock_ns() * 1e-9,
    )
    corrector.keep_models(models)
    corrector.start()
    return corrector


def open_learner(
    settings: Settings, models: Collection[str], counts: OutcomeCounts, worker: int = 0
) -> Learner | None:
    """Opens the learned scores and starts to learn; the caller closes them.

    Args:
        settings: the sections ``learning``, ``budgets`` and ``ledger``.
        models: the models of the pool; what a file knows of others is dropped.
        counts: counts reports and faults.
        worker: the number of this process among the workers of a service; each has its own file.

    Returns:
        None where the settings want none.

    Raises:
        ConfigError: the file's folder cannot be written to; the extra ``redis`` is not installed.
    """
    if not settings.learning.enabled:
        return None
    path = _path(settings, settings.learning.path, "learned", worker)
    shared, file = _shared(settings), None
    if path is not None:
        file = TableFile(path, AbilityTable, AbilityTable.read, "learning.path")
    learner = Learner(
        settings.learning,
        counts.learning,
        file=file,
        shared=None
        if shared is None
        else shared.SharedValue(
            settings.ledger.connecting(), "learned", AbilityTable.read, AbilityTable.learned
        ),
    )
    learner.keep_models(models)
    learner.start()
    return learner


def _path(settings: Settings, path: Path | None, ending: str, worker: int) -> Path | None:
    journal = settings.ledger.journal
    if path is None and journal is not None and settings.budgets:
        path = journal.with_name(f"{journal.name}.{ending}")
    if path is None or worker == 0:
        return path
    return path.with_name(f"{path.name}.{worker}")


def _shared(settings: Settings) -> Any:
    """Returns the module of what replicas share; None: they share nothing."""
    ledger = settings.ledger
    if not settings.budgets or ledger.backend != "redis":
        return None
    try:
        # The extra ``redis`` is needed only where replicas share budgets.
        from routoo.engine.corrections import shared  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"ledger.backend: redis needs the Python package {error.name}; install routoo[redis]"
        ) from None
    return shared
