"""Reloads a running service: builds the next engine beside the one that serves, then swaps them.

The new settings are read and checked as at a start. Meanwhile, and when a check fails, the old
engine serves. Requests in flight finish on the engine that accepted them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from routoo.config.checks import refuse_exposure
from routoo.errors import ConfigError, PredictorError
from routoo.routing.policies import learned_with_predictor
from routoo.routing.pool import load_pool
from routoo.server.assembly import load_components, versions_of
from routoo.server.budgets import close_replaced, renew_accounting
from routoo.server.trials import version_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from routoo.api.security.gate import AccessRenewal, Gate
    from routoo.config.sections.security import SecuritySettings
    from routoo.config.settings import Settings
    from routoo.engine.accounting import Accounting
    from routoo.engine.current import ActiveEngine
    from routoo.engine.engine import Engine
    from routoo.server.assembly import Components, EngineFactory
    from routoo.server.predictor_watch import PredictorWatch
    from routoo.server.removals import SettingsInUse

_log = structlog.get_logger("routoo.reload")

RELOADED = frozenset(
    {
        *("pool", "policy", "budgets", "outcomes", "batching", "limits", "shutdown_grace_s"),
        *("predictor", "processor", "proxy", "tasks", "security", "health", "provider_limits"),
        *("experiment", "learning"),
    }
)
"""Sections that a reload applies. All others need a restart: their ports, files and threads are
opened once."""
# Within these sections a reload applies only these settings, or all but these.
_PREDICTOR_TAKEN = frozenset({"artifact"})
_LIMITS_KEPT = frozenset({"max_message_bytes", "max_in_flight_bytes"})
_PROCESSOR_KEPT = frozenset({"enabled"})
_PROXY_KEPT = frozenset({"enabled"})
_LEARNING_KEPT = frozenset({"enabled", "path"})
_SECURITY_TAKEN = frozenset({"tokens", "certificates", "per_client"})


@dataclass(frozen=True, slots=True)
class _Next:
    """The parts of the next engine.

    Attributes:
        settings: the settings to serve with.
        parts: its components; None: nothing has changed.
        money: its accounting; None: nothing has changed.
        access: who may call; None: nothing has changed.
        needs_restart: names of changed settings that need a restart.
    """

    settings: Settings
    parts: Components | None
    money: Accounting | None
    access: AccessRenewal | None
    needs_restart: tuple[str, ...]


class Reloader:
    """Reloads the service, one reload at a time. Lives on the loop that serves; works in threads.

    Args:
        current: the engine that serves; its attributes are replaced.
        parts: the components of that engine.
        factory: makes engines from the parts that stay.
        watch: is told of exchanged predictors.
        gate: lets calls in.
        in_use: what the settings in use say, of which nothing goes in silence.
    """

    def __init__(
        self,
        current: ActiveEngine,
        parts: Components,
        factory: EngineFactory,
        watch: PredictorWatch,
        gate: Gate,
        in_use: SettingsInUse,
    ) -> None:
        self._gate = gate
        self._in_use = in_use
        self._current = current
        self._parts = parts
        self._factory = factory
        self._watch = watch
        self._one_at_a_time = asyncio.Lock()
        self._tasks: set[asyncio.Task[str]] = set()
        self._waiting: asyncio.Task[str] | None = None
        self._confirmed = False
        self._retiring: dict[asyncio.Task[None], Engine] = {}
        self._closed = False

    def start(
        self, read_settings: Callable[[], Settings], *, confirmed: bool = False
    ) -> asyncio.Task[str]:
        """Reads the settings again and serves with them.

        While one reload waits for its turn, further calls get the same task.

        Args:
            read_settings: reads them; called in a thread.
            confirmed: what the settings no longer mention may go, and their files may look half
                written.

        Returns:
            A task whose result is the outcome, which is also logged and counted: switched,
            switched_in_part (some of the changes need a restart), needs_restart (all of them do),
            unchanged, or refused (the old engine stays).
        """
        self._confirmed |= confirmed
        if self._waiting is not None:
            return self._waiting
        task = asyncio.get_running_loop().create_task(self._reload(read_settings))
        self._waiting = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def follow(self) -> None:
        """From now on, loads another artifact when a Triton server comes back with its version."""

        def moved() -> None:
            # This runs on the probing thread, which is idle until the next probe.
            predictors = self._factory.predictors
            detail = ""
            try:
                if not predictors.exchange(self._current.settings.predictor, again=False):
                    return
                outcome = "switched"
            except (ConfigError, PredictorError) as error:
                outcome, detail = "refused", str(error)
            self._watch.exchanged(outcome, predictors.chain.version, detail)

        self._watch.on_mismatch = moved

    async def settle(self, grace_s: float) -> bool:
        """Takes no more reloads, and lets replaced engines finish for ``grace_s``.

        Returns:
            Whether all of their requests were answered in time.
        """
        self._closed = True
        if self._tasks:
            await asyncio.wait(self._tasks)
        in_time = await asyncio.gather(
            *(engine.retire(grace_s) for engine in self._retiring.values())
        )
        retiring = tuple(self._retiring)
        if not all(in_time):
            # An engine whose predictor hangs never becomes idle.
            for task in retiring:
                task.cancel()
        if retiring:
            await asyncio.wait(retiring)
        return all(in_time)

    async def close(self) -> None:
        """Closes the predictors; call ``settle`` before."""
        await asyncio.to_thread(self._factory.predictors.close)

    async def _reload(self, read_settings: Callable[[], Settings]) -> str:
        async with self._one_at_a_time:
            self._waiting = None
            confirmed, self._confirmed = self._confirmed, False
            if self._closed:
                return "refused"
            try:
                found = await asyncio.to_thread(self._make, read_settings, confirmed)
            except (ConfigError, PredictorError) as error:
                return self._tell("refused", detail=str(error))
            except Exception:  # noqa: BLE001 - a fault of ours must not end the service
                _log.exception("reload failed")
                return self._tell("refused", detail="internal error, see the line before")
            if found.parts is not None and found.money is not None:
                self._swap(found.settings, found.parts, found.money)
                if found.access is not None:
                    self._gate.take(found.access)
                if self._closed:  # the service has begun to stop meanwhile
                    await self._current.engine.retire(0.0)
                outcome = "switched_in_part" if found.needs_restart else "switched"
            else:
                outcome = "needs_restart" if found.needs_restart else "unchanged"
            return self._tell(outcome, needs_restart=found.needs_restart)

    def _make(self, read_settings: Callable[[], Settings], confirmed: bool) -> _Next:  # noqa: FBT001 - given by position to a thread
        """Reads the settings and prepares the next engine's parts; in a thread, as it takes time.

        Raises:
            ConfigError: settings or files are wrong; the old engine stays.
            PredictorError: the predictor failed; the old engine stays.
        """
        before, predictors = self._current.settings, self._factory.predictors
        wanted = read_settings()
        settings, needs_restart = taken(before, wanted)
        # Addresses stay those of the start, so they have to fit what is taken.
        refuse_exposure(settings)
        access = None
        if settings.security != before.security:
            access = self._gate.prepare(settings.security)
        pool = load_pool(settings.pool, finished=not confirmed)
        if not confirmed:
            self._in_use.check(wanted, pool)
        outcome = "refused"
        try:
            line = predictors.prepare(
                settings.predictor, lambda found: pool.known_to(found.knows).predicted_names
            )
            artifact = self._parts.artifact if line is None else line.artifact
            if line is None and artifact is not predictors.chain.line.artifact:
                artifact = predictors.chain.line.artifact  # a Triton server has moved on
            parts = load_components(settings, artifact, pool)
            if line is not None:
                predictors.take(line)
            outcome = "unchanged" if line is None else "switched"
        finally:
            self._watch.counted(outcome)
        same_models = (
            artifact is self._parts.artifact
            and parts.price == self._parts.price
            and parts.pool.models == self._parts.pool.models
            and parts.pool.provider_limits == self._parts.pool.provider_limits
        )
        same_rival = version_of(parts.rival) == version_of(self._parts.rival)
        if (
            same_models
            and same_rival
            and parts.policies.digest == self._parts.policies.digest
            and settings.model_dump() == before.model_dump()
        ):
            self._in_use.take(wanted, pool, confirmed=confirmed)
            return _Next(settings, None, None, None, needs_restart)
        predictors.learned_with_it = learned_with_predictor(settings.policy)
        money = renew_accounting(
            self._current.engine.accounting,
            before,
            settings,
            parts,
            self._factory.telemetry.metrics.outcomes,
            same_models=same_models,
        )
        self._in_use.take(wanted, pool, confirmed=confirmed)
        return _Next(settings, parts, money, access, needs_restart)

    def _swap(self, settings: Settings, parts: Components, money: Accounting) -> None:
        """Swaps the engines in one turn of the loop, so that no caller sees a mixture."""
        gone = [name for name in self._parts.pool.names if name not in parts.pool.index]
        if gone:
            _log.warning("models left the pool", models=", ".join(gone))
        old = self._current.engine
        self._current.engine = self._factory.engine(parts, money, settings)
        self._current.settings = settings
        self._parts = parts
        self._factory.telemetry.metrics.versions(versions_of(self._current.engine))
        retiring = asyncio.get_running_loop().create_task(self._retire(old, money))
        self._retiring[retiring] = old
        retiring.add_done_callback(self._retiring.pop)

    async def _retire(self, old: Engine, money: Accounting) -> None:
        await old.retire()
        await asyncio.to_thread(close_replaced, old.accounting, money)

    def _tell(self, outcome: str, *, needs_restart: tuple[str, ...] = (), detail: str = "") -> str:
        self._factory.telemetry.metrics.reloads.labels(outcome).inc()
        log = _log.error if outcome == "refused" else _log.info
        versions = self._current.engine.versions
        fields = {"detail": detail} if detail else {}
        if needs_restart:
            fields["needs_restart"] = ", ".join(needs_restart)
        log(
            "reload",
            outcome=outcome,
            predictor=versions.predictor,
            policy=versions.policy,
            **fields,
        )
        return outcome


def taken(before: Settings, wanted: Settings) -> tuple[Settings, tuple[str, ...]]:
    """Applies those settings that a reload can change.

    Args:
        before: the settings in use.
        wanted: the settings as they are read now.

    Returns:
        The settings to serve with, and the names of the changed ones that need a restart.
    """
    changes: dict[str, Any] = {
        name: getattr(wanted, name)
        for name in RELOADED - {"predictor", "limits", "processor", "proxy", "security", "learning"}
    }
    changes["predictor"] = before.predictor.model_copy(
        update={name: getattr(wanted.predictor, name) for name in _PREDICTOR_TAKEN}
    )
    changes["limits"] = wanted.limits.model_copy(
        update={name: getattr(before.limits, name) for name in _LIMITS_KEPT}
    )
    changes["processor"] = wanted.processor.model_copy(
        update={name: getattr(before.processor, name) for name in _PROCESSOR_KEPT}
    )
    changes["proxy"] = wanted.proxy.model_copy(
        update={name: getattr(before.proxy, name) for name in _PROXY_KEPT}
    )
    changes["learning"] = wanted.learning.model_copy(
        update={name: getattr(before.learning, name) for name in _LEARNING_KEPT}
    )
    changes["security"] = _access_taken(before.security, wanted.security)
    settings = before.model_copy(update=changes)
    return settings, tuple(_differing(settings.model_dump(), wanted.model_dump()))


def _access_taken(before: SecuritySettings, wanted: SecuritySettings) -> SecuritySettings:
    """Returns who may call; TLS and the addresses stay as they are."""
    names = _SECURITY_TAKEN
    if before.tls is None or before.tls.client_ca is None:
        names -= {"certificates"}  # nobody could show one
    return before.model_copy(update={name: getattr(wanted, name) for name in names})


def _differing(have: dict[str, Any], want: dict[str, Any], within: str = "") -> list[str]:
    found = []
    for name in sorted(have):
        if have[name] == want[name]:
            continue
        if isinstance(have[name], dict) and isinstance(want[name], dict):
            found += _differing(have[name], want[name], f"{within}{name}.")
        else:
            found.append(within + name)
    return found
