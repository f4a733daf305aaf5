"""The pool: the LLMs that prompts are routed among, with their prices, limits and latencies."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from routoo.config.yaml_files import (
    describe_validation_error,
    parse_yaml_mapping,
    read_yaml_mapping,
)
from routoo.errors import ConfigError, InvalidRequestError, PoolError
from routoo.predictor.tokenizers.columns import TokenColumns
from routoo.predictor.tokenizers.families import FAMILIES, family_of
from routoo.routing.arms.columns import ArmColumns, arms_of, column_name
from routoo.routing.arms.limit_rows import LimitRows
from routoo.routing.arms.model import ModelSpec
from routoo.routing.arms.usage_limits import ProviderSpec
from routoo.routing.corrections.speed import Declared
from routoo.routing.media import MediaTokens
from routoo.tariffs.table import PriceTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

    from routoo.errors import RoutooError
    from routoo.routing.arms.spec import ArmSpec

DEFAULT_POOL = Path(__file__).parent / "default_pool.yaml"
UNKNOWN_MODEL_REMEDY = (
    "remove it from the pool, set its predictor_name, onboard it, or train a predictor with it"
)
"""The way out for a model that the predictor does not know."""


class PoolFile(BaseModel):
    """A pool file as it is spelt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[ModelSpec, ...] = Field(min_length=1, max_length=1024)
    """The models, at least one."""
    providers: dict[str, ProviderSpec] = Field(default={}, max_length=1024)
    """Limits by the name of a provider, over all its models."""


@dataclass(frozen=True, slots=True)
class Pool:
    """The models as columns: position j is the same model in every array.

    A model with arms has a column for each of them, side by side; see ``routoo.routing.arms``.

    Attributes:
        models: the k models, in the file's order.
        specs: [m], the model of each column.
        prices: the models' tariffs.
        context_window_tokens: float64 [m].
        shortest_window_tokens: the least of them.
        max_output_tokens: float64 [m], the longest answers; infinite where not known.
            An arm's own longest answer counts.
        longest_answers: float64 [m], the most tokens of one answer: what is allowed, or the window.
        tokenizers: the models' tokenizers, as far as their families are known.
        media_tokens: rates of images, recordings and films; None: no model has its own.
        time_to_first_token_ms: float64 [m].
        time_per_output_token_ms: float64 [m].
        names: [m], ``model``, or ``model@arm``.
        index: position of each name.
        capabilities: per capability, whether each model has it, bool [m].
        answers: by a name that a reply may have, in lower case, the columns that it may stand for.
        declared: [m], the times to the first token and for each, as the pool declares them.
        provider_limits: the providers' limits, by their names.
        arms: the arms of the columns; None: no model has arms.
        limits: the limits of providers and models; None: there are none.
    """

    models: tuple[ModelSpec, ...]
    specs: tuple[ModelSpec, ...]
    prices: PriceTable
    context_window_tokens: NDArray[np.float64]
    shortest_window_tokens: float
    max_output_tokens: NDArray[np.float64]
    longest_answers: NDArray[np.float64]
    tokenizers: TokenColumns
    media_tokens: MediaTokens | None
    time_to_first_token_ms: NDArray[np.float64]
    time_per_output_token_ms: NDArray[np.float64]
    names: tuple[str, ...]
    index: dict[str, int]
    capabilities: dict[str, NDArray[np.bool_]]
    answers: dict[str, tuple[int, ...]]
    declared: tuple[Declared, ...]
    provider_limits: Mapping[str, ProviderSpec]
    arms: ArmColumns | None = None
    limits: LimitRows | None = None

    @classmethod
    def of(
        cls, models: tuple[ModelSpec, ...], providers: Mapping[str, ProviderSpec] | None = None
    ) -> Pool:
        """Turns the specifications of models, and the limits of providers, into columns.

        Raises:
            PoolError: two columns have one name, or a provider with limits has no model.
        """
        providers = providers or {}
        pairs = arms_of(models)
        specs = tuple(model for model, _ in pairs)

        def column(name: str) -> NDArray[np.float64]:
            values = np.array([_figure(model, arm, name) for model, arm in pairs], np.float64)
            values.flags.writeable = False
            return values

        names = tuple(column_name(model, arm) for model, arm in pairs)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise PoolError(f"model {twice[0]!r} stands twice; names have to be unique")
        arms = ArmColumns.of(models)
        longest = np.array([model.max_output_tokens or np.inf for model in specs], np.float64)
        if arms is not None and arms.longest_answers is not None:
            longest = np.minimum(longest, arms.longest_answers)
        windows = column("context_window_tokens")
        try:
            limits = LimitRows.of(models, providers)
        except ValueError as error:
            raise PoolError(str(error)) from None
        first_ms, each_ms = column("time_to_first_token_ms"), column("time_per_output_token_ms")
        return cls(
            models=models,
            specs=specs,
            prices=PriceTable.of(
                [(name, model.tariff) for name, model in zip(names, specs, strict=True)],
                None if arms is None else arms.price_factors,
            ),
            context_window_tokens=windows,
            shortest_window_tokens=float(windows.min()),
            max_output_tokens=longest,
            longest_answers=np.minimum(longest, windows),
            tokenizers=TokenColumns.of([_family(model) for model in specs]),
            media_tokens=MediaTokens.of(
                [
                    (one.tokens_per_image, one.tokens_per_audio_s, one.tokens_per_video_s)
                    for one in specs
                ]
            ),
            time_to_first_token_ms=first_ms,
            time_per_output_token_ms=each_ms,
            names=names,
            index={name: position for position, name in enumerate(names)},
            capabilities={
                capability: np.array([capability in model.capabilities for model in specs])
                for capability in sorted({one for model in models for one in model.capabilities})
            },
            answers=_answers(pairs),
            declared=tuple(map(Declared, first_ms.tolist(), each_ms.tolist())),
            arms=arms,
            provider_limits=providers,
            limits=limits,
        )

    def known_to(self, knows: Callable[[str], bool]) -> Pool:
        """Returns the pool with the rows that a predictor has of its arms.

        Args:
            knows: whether the predictor has a row of a name.
        """
        if self.arms is None:
            return self
        return replace(self, arms=self.arms.known_to(self.models, knows))

    def columns_named(
        self, name: str, field: str, error: type[RoutooError] = InvalidRequestError
    ) -> tuple[int, ...]:
        """Returns the columns of a name: an arm's one, or those of all arms of a model.

        The arguments and errors are those of ``column``.
        """
        if self.arms is not None and name in self.arms.columns_of:
            return self.arms.columns_of[name]
        return (self.column(name, field, error),)

    def holds(self, names: Iterable[str]) -> NDArray[np.bool_]:
        """Returns whether each column is among the names of arms and models, bool [m].

        The pool has to know the names.
        """
        held = np.zeros(len(self.names), np.bool_)
        if self.arms is None:
            held[[self.index[name] for name in names]] = True
        for name in () if self.arms is None else names:
            held[list(self.columns_named(name, "names"))] = True
        return held

    def has(self, name: str) -> bool:
        """Returns whether a name is that of an arm or a model of the pool."""
        return name in self.index or (self.arms is not None and name in self.arms.columns_of)

    def model_of(self, column: int) -> str:
        """Returns the name of a column's model."""
        return self.names[column] if self.arms is None else self.arms.models[column]

    def able(self, capabilities: Iterable[str]) -> NDArray[np.bool_]:
        """Returns whether each model has all the capabilities, bool [m]. The pool knows each."""
        able = np.ones(len(self.names), np.bool_)
        for capability in capabilities:
            able &= self.capabilities[capability]
        return able

    def column(self, name: str, field: str, error: type[RoutooError] = InvalidRequestError) -> int:
        """Returns the column of an arm, or of a model that has one column.

        Args:
            name: its name.
            field: the field that holds the name; the message begins with it.
            error: the class of the error for an unknown name.

        Raises:
            RoutooError: an ``error``, for an unknown name, or one of several arms; lists those that
                there are.
        """
        found = self.index.get(name)
        if found is None and self.arms is not None and len(self.arms.columns_of.get(name, ())) == 1:
            return self.arms.columns_of[name][0]
        if found is None:
            told = self._not_one(name)
            if issubclass(error, InvalidRequestError):
                raise error(told, field=field)
            raise error(f"{field}: {told}")
        return found

    def _not_one(self, name: str) -> str:
        """Returns why a name stands for no column, and what there is."""
        model, at, arm = name.rpartition("@")
        of_model = {} if self.arms is None else self.arms.columns_of
        if name in of_model:
            arms = ", ".join(self.names[column] for column in of_model[name])
            return f"model {name!r} has several arms; name one of {arms}"
        if at and model in of_model:
            if self.arms is not None and self.arms.specs[of_model[model][0]] is None:
                return f"model {model!r} has no arms; name it without {at + arm!r}"
            arms = ", ".join(self.names[column] for column in of_model[model])
            return f"model {model!r} has no arm {arm!r}; there are {arms}"
        return f"unknown model {name!r}; the pool has {', '.join(self.names)}"

    def answering(self, name: str, decided: int | None = None) -> int | None:
        """Returns the column of the model that a reply names; None: it names none of the pool.

        A model answers to its name, to its aliases, and to each of them without the maker before
        the first slash; upper and lower case are the same. All arms of a model answer to these.

        Args:
            name: the model's name in the reply.
            decided: the column of the decided model, which goes first where several have the name.
        """
        found = self.answers.get(name.casefold(), ())
        if decided is not None and decided in found:
            return decided
        of_one_model = len({self.model_of(column) for column in found}) == 1
        return found[0] if of_one_model else None

    def check_capabilities(self, names: Iterable[str], field: str) -> None:
        """Refuses capabilities that no model has.

        Raises:
            InvalidRequestError: names the field and the capability.
        """
        for name in names:
            if name not in self.capabilities:
                known = ", ".join(sorted(self.capabilities))
                raise InvalidRequestError(
                    f"unknown capability {name!r}; the pool has {known}", field=field
                )

    @property
    def digest(self) -> str:
        """12 hex digits that identify the models' names, prices and context windows."""
        table = self.prices
        flat = not table.bounds.size and not table.starts and table.usd_per_request is None
        what: list[object] = [] if flat else [table.version]
        what += [
            (
                model.name,
                model.predictor_name,
                model.usd_per_1m_input_tokens,
                model.usd_per_1m_output_tokens,
                model.context_window_tokens,
            )
            for model in self.models
        ]
        if self.arms is not None:
            what.append([model.model_dump_json(include={"arms"}) for model in self.models])
        return hashlib.sha256(repr(what).encode()).hexdigest()[:12]

    @property
    def providers(self) -> tuple[str, ...]:
        """The providers of the m columns; a model without one is the only one of its provider."""
        return tuple(spec.provider or spec.name for spec in self.specs)

    @property
    def predictor_names(self) -> tuple[str, ...]:
        """The predictor's names of the m columns; several columns may have one."""
        if self.arms is not None:
            return self.arms.offsets.predictor_names
        return tuple(model.predictor_name or model.name for model in self.models)

    @property
    def predicted_names(self) -> tuple[str, ...]:
        """The names that the predictor is asked for, each once."""
        return tuple(dict.fromkeys(self.predictor_names))

    def columns_in(self, predictor_models: tuple[str, ...]) -> NDArray[np.intp]:
        """Returns the positions of the pool's columns among the predictor's outputs, [m].

        Raises:
            PoolError: the predictor does not know a model; names it.
        """
        positions = {name: position for position, name in enumerate(predictor_models)}
        unknown = [name for name in self.predictor_names if name not in positions]
        if unknown:
            raise PoolError(
                f"pool model {unknown[0]!r} is not among the predictor's {len(predictor_models)}"
                f" models; {UNKNOWN_MODEL_REMEDY}"
            )
        columns = [positions[name] for name in self.predictor_names]
        return np.array(columns, dtype=np.intp)


def _figure(model: ModelSpec, arm: ArmSpec | None, name: str) -> Any:
    """Returns a figure of a column: the arm's own, or else its model's."""
    own = getattr(arm, name, None)
    return getattr(model, name) if own is None else own


def _answers(pairs: list[tuple[ModelSpec, ArmSpec | None]]) -> dict[str, tuple[int, ...]]:
    """Returns the columns of the models that answer to each name, the whole names first."""
    whole: dict[str, tuple[int, ...]] = {}
    short: dict[str, tuple[int, ...]] = {}
    for column, (model, arm) in enumerate(pairs):
        if arm is not None:
            whole[column_name(model, arm).casefold()] = (column,)
        for name in {one.casefold() for one in (model.name, *model.aliases)}:
            whole[name] = (*whole.get(name, ()), column)
        for name in {one.casefold().partition("/")[2] for one in (model.name, *model.aliases)}:
            short[name] = (*short.get(name, ()), column)
    short.pop("", None)
    return {**short, **whole}


def _family(model: ModelSpec) -> int | None:
    if model.tokenizer is not None:
        return FAMILIES.index(model.tokenizer)
    return family_of(model.name)


def load_pool(path: Path | None = None, *, finished: bool = False) -> Pool:
    """Reads a pool file.

    Args:
        path: the file; None: the shipped one.
        finished: refuses a file that may be half written.

    Raises:
        PoolError: the file is unreadable or malformed, has an unknown key or a value out of
            range, or names a model twice; a tier lacks a price; or it may be half written.
    """
    path = path or DEFAULT_POOL
    try:
        values = read_yaml_mapping(path, finished=finished)
    except ConfigError as error:
        raise PoolError(str(error)) from None
    return _pool_of(values, str(path))


def parse_pool(text: str, source: str) -> Pool:
    """Reads the text of a pool file.

    Args:
        text: the YAML.
        source: the name of its file, for the messages.

    Raises:
        PoolError: malformed, an unknown key or a value out of range, or a model twice.
    """
    try:
        values = parse_yaml_mapping(text, source)
    except ConfigError as error:
        raise PoolError(str(error)) from None
    return _pool_of(values, source)


def _pool_of(values: dict[str, Any], source: str) -> Pool:
    try:
        found = PoolFile.model_validate(values)
    except ValidationError as error:
        raise PoolError(describe_validation_error(source, error)) from None
    models = found.models
    names = [model.name for model in models]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise PoolError(f"{source}: model {twice[0]!r} stands twice; names have to be unique")
    told = {name.casefold(): name for name in names}  # a reply's name counts in any case
    for model in models:
        for alias in model.aliases:
            other = told.setdefault(alias.casefold(), model.name)
            if other != model.name:
                raise PoolError(
                    f"{source}: alias {alias!r} of model {model.name!r} stands for {other!r}, too;"
                    " leave it to one of them"
                )
    try:
        return Pool.of(models, found.providers)
    except PoolError as error:
        raise PoolError(f"{source}: {error}") from None
