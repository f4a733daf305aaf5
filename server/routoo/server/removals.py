"""Settings that a reload would take away: budgets, limits, prices, authentication.

A file that is emptied, or read while it is half written, looks like one in which the rest was never
wanted. So a setting that stood in the file and does not stand there any more is not taken back to
its default in silence. What the file says in so many words is no removal: ``budgets: []``,
``unsure: null``, or another value.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson
import structlog
from pydantic import BaseModel

from routoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

    from routoo.config.settings import Settings
    from routoo.routing.pool import Pool

_log = structlog.get_logger("routoo.reload")
# These bound nothing: without them the service does the same at another time, or tells less.
_FREE: Final = frozenset(
    {
        *("log", "metrics", "tracing", "shutdown_grace_s", "reload.interval_s"),
        *("policy.offered", "policy.shadow", "experiment", "policy.prices.resolve_interval_s"),
    }
)
_FREE_OF_MODELS: Final = frozenset(
    {
        *("aliases", "capabilities", "deprecation_date", "name", "predictor_name", "price_source"),
        *("arms", "default_effort", "kind", "body"),
    }
)
# A certificate that leaves this list loses its access, which has to be quick and takes nothing from
# those who pay. The whole list is another matter: without it, nobody would be asked.
_CERTIFICATES: Final = "security.certificates"
_MOST_NAMED: Final = 8
_COMING_AND_GOING: Final = ("model ", "provider ")


class SettingsInUse:
    """The settings that a service was told, against which newly read ones are held.

    Args:
        folder: a folder in which the workers of a service keep them, so that one that is started
            again holds what it reads against what the others serve with; None: there are no others.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._file = None if folder is None else folder / "in_use.json"
        self._held: dict[str, str] = {}  # by path: the mark of the value

    @classmethod
    def at_start(cls, settings: Settings, pool: Pool, folder: Path | None = None) -> Self:
        """Takes the settings of a start, unless other workers serve with more than they say.

        Raises:
            ConfigError: they do; names what is missing.
        """
        in_use = cls(folder)
        if in_use._file is not None and in_use._file.exists():
            in_use._held = orjson.loads(in_use._file.read_bytes())
            in_use.check(settings, pool)
        in_use.take(settings, pool)
        return in_use

    def take(self, settings: Settings, pool: Pool, *, confirmed: bool = False) -> None:
        """From now on these are the settings in use.

        Args:
            settings: as they were read.
            pool: as it was read.
            confirmed: what is not mentioned is forgotten. Otherwise a model that went is
                remembered, as it may come back piece by piece, its prices last.
        """
        there = {f"model {name}" for name in (*pool.names, *(one.name for one in pool.models))}
        there |= {f"provider {one.provider}" for one in pool.models}
        kept = {} if confirmed else self._held
        self._held = {
            path: mark
            for path, mark in kept.items()
            if (owner := path.partition(" of ")[2]).startswith(_COMING_AND_GOING)
            and owner not in there
        }
        self._held.update(
            (leaf.path, leaf.mark)
            for leaf in _leaves(settings, pool)
            if leaf.is_mentioned and leaf.says_something
        )
        if self._file is not None:
            self._write(self._file)

    def check(self, settings: Settings, pool: Pool) -> None:
        """Refuses settings that do not mention what is in use.

        Models and arms come and go with the pool file, and their prices and limits with them. A
        model that stays keeps its prices and limits, an arm its limits, a provider whose models
        stay its limits.

        Raises:
            ConfigError: names what is missing, and the way to do without it on purpose.
        """
        found = tuple(self._missing(settings, pool))
        if found:
            named = ", ".join(found[:_MOST_NAMED])
            more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
            raise ConfigError(
                f"this would remove {named}{more}; if that is meant, run `routoo reload PID"
                " --confirm-removal`, or say so in the file (`budgets: []` removes all budgets,"
                " null any other setting)"
            )

    def _write(self, file: Path) -> None:
        # Workers write at the same time, each its own file, which takes the place of the last.
        written = file.with_suffix(f".{os.getpid()}")
        try:
            written.write_bytes(orjson.dumps(self._held))
            written.rename(file)
        except OSError as error:
            # The settings are in force; only a worker that starts again would not know of them.
            _log.warning("the settings in use were not written", error=error.strerror)

    def _missing(self, settings: Settings, pool: Pool) -> Iterator[str]:
        now = {leaf.path: leaf for leaf in _leaves(settings, pool)}
        denied = [
            leaf.path.partition(" of ")[::2]
            for leaf in now.values()
            if leaf.is_mentioned and not leaf.says_something
        ]
        gone: set[str] = set()
        still_asks = any(_is_within(path, _CERTIFICATES) and one.value for path, one in now.items())
        for path, mark in self._held.items():
            if still_asks and _is_within(path, _CERTIFICATES):
                continue
            leaf = now.get(path)
            is_whole = path.startswith("budget ")
            if leaf is not None and (leaf.mark == mark or (leaf.is_mentioned and not is_whole)):
                continue
            what, _, owner = path.partition(" of ")
            if is_whole:
                gone.add(path)
                if ("budgets", "") in denied:
                    continue
            elif owner in gone or (owner.startswith(_COMING_AND_GOING) and owner not in now):
                continue
            if not any(_is_within(what, one) and owner == its for one, its in denied):
                yield path


@dataclass(frozen=True, slots=True)
class _Leaf:
    """One value of the settings.

    Attributes:
        path: its name, such as ``limits.max_prompt_chars``, ``window of budget day``, or
            ``usd_per_image of model small``.
        value: a value of JSON.
        is_mentioned: whether the file, the environment or a flag says it.
    """

    path: str
    value: Any
    is_mentioned: bool

    @property
    def mark(self) -> str:
        """A hash of the value, which may be a password."""
        return hashlib.sha256(orjson.dumps(self.value)).hexdigest()[:16]

    @property
    def says_something(self) -> bool:
        """Whether the value is neither null nor empty."""
        return self.value not in (None, [], {})


def _leaves(settings: Settings, pool: Pool) -> Iterator[_Leaf]:
    # The budgets first, as the first names are those that an error shows.
    if not settings.budgets:
        yield _Leaf("budgets", [], "budgets" in settings.model_fields_set)
    for budget in settings.budgets:
        # Its books are kept by name and tenant: for another tenant, it is another budget.
        yield _Leaf(f"budget {budget.name}", budget.tenant, is_mentioned=True)
        for leaf in _within(budget, "", is_mentioned=True):
            if leaf.path not in {"name", "tenant"}:
                yield _Leaf(f"{leaf.path} of budget {budget.name}", leaf.value, leaf.is_mentioned)
    for leaf in _within(settings, "", is_mentioned=True):
        if not any(_is_within(leaf.path, free) for free in (*_FREE, "budgets")):
            yield leaf
    for name in sorted({model.provider for model in pool.models}):
        yield from _of_provider(pool.provider_limits.get(name), f"provider {name}")
    for model in pool.models:
        yield from _of_model(model, f"model {model.name}")
        for arm in model.arms:
            yield from _of_model(arm, f"model {model.name}@{arm.name}")


def _of_model(spec: BaseModel, owner: str) -> Iterator[_Leaf]:
    yield _Leaf(owner, None, is_mentioned=False)
    for leaf in _within(spec, "", is_mentioned=True):
        if not any(_is_within(leaf.path, free) for free in _FREE_OF_MODELS):
            yield _Leaf(f"{leaf.path} of {owner}", leaf.value, leaf.is_mentioned)


def _of_provider(spec: BaseModel | None, owner: str) -> Iterator[_Leaf]:
    yield _Leaf(owner, None, is_mentioned=False)
    for leaf in () if spec is None else _within(spec, "", is_mentioned=True):
        yield _Leaf(f"{leaf.path} of {owner}", leaf.value, leaf.is_mentioned)


def _within(value: Any, path: str, *, is_mentioned: bool) -> Iterator[_Leaf]:
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            said = is_mentioned and name in value.model_fields_set
            inner = f"{path}.{name}" if path else name
            yield from _within(getattr(value, name), inner, is_mentioned=said)
    elif isinstance(value, Mapping) and value:
        for key, one in value.items():
            yield from _within(one, f"{path}.{key}", is_mentioned=is_mentioned)
    elif isinstance(value, tuple) and value:
        for index, one in enumerate(value):
            yield from _within(one, f"{path}[{index}]", is_mentioned=is_mentioned)
    elif value is None or isinstance(value, str | int | float):
        yield _Leaf(path, value, is_mentioned)
    else:
        yield _Leaf(path, [] if isinstance(value, tuple | Mapping) else str(value), is_mentioned)


def _is_within(path: str, section: str) -> bool:
    """Returns whether a setting is, or stands in, a section or list."""
    return path == section or path.startswith((f"{section}.", f"{section}["))
