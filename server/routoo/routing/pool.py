"""The pool: the LLMs that prompts are routed among, with their prices, limits and latencies."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from routoo.config.yaml_files import (
    describe_validation_error,
    parse_yaml_mapping,
    read_yaml_mapping,
)
from routoo.errors import ConfigError, InvalidRequestError, PoolError
from routoo.predictor.tokenizers.columns import TokenColumns
from routoo.predictor.tokenizers.families import FAMILIES, family_of
from routoo.routing.media import MediaTokens
from routoo.routing.sold_prices import SoldPrices
from routoo.tariffs.table import PriceTable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from routoo.errors import RoutooError

DEFAULT_POOL = Path(__file__).parent / "default_pool.yaml"
UNKNOWN_MODEL_REMEDY = (
    "remove it from the pool, set its predictor_name, onboard it, or train a predictor with it"
)
"""The way out for a model that the predictor does not know."""
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


MediaRate = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=256)]


def _iso_day(value: object) -> object:
    # Pydantic alone would take a number, or a time of day, too.
    if value is None or (isinstance(value, date) and not isinstance(value, datetime)):
        return value
    if isinstance(value, str) and _DAY.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise ValueError(f"there is no day {value}") from None
    raise ValueError("has to be a day, written as 2027-04-30")


def _provider_of(values: dict[str, Any]) -> str:
    provider, slash, _ = values.get("name", "").partition("/")
    return provider if slash else ""


class ModelNames(BaseModel):
    """The names of a model, as the pool file spells them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ModelName
    """The name that callers see and send to."""
    predictor_name: str = ""
    """The predictor's name of the model, where it differs from ``name``; empty: ``name``."""
    aliases: tuple[ModelName, ...] = Field(default=(), max_length=64)
    """Other names under which providers answer for it, such as ``gpt-5-2025-08-07``."""
    provider: str = Field(default_factory=_provider_of, max_length=256)
    """The model's maker or seller; unset: the part of ``name`` before its first slash, if any."""


class ModelSpec(SoldPrices, ModelNames):
    """One model of the pool, as the pool file spells it.

    The largest output and the last day are carried, shown and checked. They change no estimate and
    no decision.
    """

    price_status: Literal["stated", "assumed"]
    """``stated``: a provider or a published price list says so; ``assumed``: a guess."""
    price_source: str = Field(default="", max_length=1024)
    """Free text: the package with its version and entry, or the page, that the prices are from."""
    trust_reported_cost: bool = False
    """Whether the cost that a reply itself tells is booked, in place of its tokens' prices."""
    context_window_tokens: int = Field(gt=0, le=2**31 - 1)
    max_output_tokens: int | None = Field(default=None, gt=0, le=2**31 - 1)
    """The longest answer that the provider allows; None: not known. No answer is predicted, or
    reserved, to be longer."""
    tokenizer: Literal[FAMILIES] | None = None  # type: ignore[valid-type] # the names are a constant
    """The family of its tokenizer, for the number of input tokens; None: found by the name."""
    tokens_per_image: MediaRate | None = None
    """Input tokens of an image of any size; None: by its size, else what the service's settings
    say. The same holds for recordings and films."""
    tokens_per_audio_s: MediaRate | None = None
    """Input tokens of a second of a recording."""
    tokens_per_video_s: MediaRate | None = None
    """Input tokens of a second of a film, its sound included."""
    capabilities: tuple[str, ...] = ()
    deprecation_date: Annotated[date | None, BeforeValidator(_iso_day)] = None
    """The last day on which the provider answers; None: not announced."""
    time_to_first_token_ms: float = Field(ge=0, allow_inf_nan=False)
    time_per_output_token_ms: float = Field(ge=0, allow_inf_nan=False)


class _PoolFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[ModelSpec, ...] = Field(min_length=1, max_length=1024)


@dataclass(frozen=True, slots=True)
class Pool:
    """The models as columns: position j is the same model in every array.

    Attributes:
        models: the m models, in the file's order.
        prices: the models' tariffs.
        context_window_tokens: float64 [m].
        shortest_window_tokens: the least of them.
        max_output_tokens: float64 [m], the longest answers; infinite where not known.
        longest_answers: float64 [m], the most tokens of one answer: what is allowed, or the window.
        tokenizers: the models' tokenizers, as far as their families are known.
        media_tokens: rates of images, recordings and films; None: no model has its own.
        time_to_first_token_ms: float64 [m].
        time_per_output_token_ms: float64 [m].
        names: [m].
        index: position of each name.
        capabilities: per capability, whether each model has it, bool [m].
        answers: by a name that a reply may have, in lower case, the models that it may stand for.
    """

    models: tuple[ModelSpec, ...]
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

    @classmethod
    def of(cls, models: tuple[ModelSpec, ...]) -> Pool:
        """Turns the specifications of models into columns."""

        def column(name: str) -> NDArray[np.float64]:
            values = np.array([getattr(model, name) for model in models], dtype=np.float64)
            values.flags.writeable = False
            return values

        names = tuple(model.name for model in models)
        longest = np.array([model.max_output_tokens or np.inf for model in models], np.float64)
        windows = column("context_window_tokens")
        return cls(
            models=models,
            prices=PriceTable.of([(model.name, model.tariff) for model in models]),
            context_window_tokens=windows,
            shortest_window_tokens=float(windows.min()),
            max_output_tokens=longest,
            longest_answers=np.minimum(longest, windows),
            tokenizers=TokenColumns.of([_family(model) for model in models]),
            media_tokens=MediaTokens.of(
                [
                    (one.tokens_per_image, one.tokens_per_audio_s, one.tokens_per_video_s)
                    for one in models
                ]
            ),
            time_to_first_token_ms=column("time_to_first_token_ms"),
            time_per_output_token_ms=column("time_per_output_token_ms"),
            names=names,
            index={name: position for position, name in enumerate(names)},
            capabilities={
                capability: np.array([capability in model.capabilities for model in models])
                for capability in sorted({one for model in models for one in model.capabilities})
            },
            answers=_answers(models),
        )

    def holds(self, names: Iterable[str]) -> NDArray[np.bool_]:
        """Returns whether each model is among the names, bool [m]. The pool has to know them."""
        held = np.zeros(len(self.names), np.bool_)
        held[[self.index[name] for name in names]] = True
        return held

    def able(self, capabilities: Iterable[str]) -> NDArray[np.bool_]:
        """Returns whether each model has all the capabilities, bool [m]. The pool knows each."""
        able = np.ones(len(self.names), np.bool_)
        for capability in capabilities:
            able &= self.capabilities[capability]
        return able

    def column(self, name: str, field: str, error: type[RoutooError] = InvalidRequestError) -> int:
        """Returns the column of a model.

        Args:
            name: the model's name.
            field: the field that holds the name; the message begins with it.
            error: the class of the error for an unknown name.

        Raises:
            RoutooError: an ``error``, for an unknown name; lists the pool's models.
        """
        found = self.index.get(name)
        if found is None:
            told = f"unknown model {name!r}; the pool has {', '.join(self.names)}"
            if issubclass(error, InvalidRequestError):
                raise error(told, field=field)
            raise error(f"{field}: {told}")
        return found

    def answering(self, name: str, decided: int | None = None) -> int | None:
        """Returns the column of the model that a reply names; None: it names none of the pool.

        A model answers to its name, to its aliases, and to each of them without the maker before
        the first slash; upper and lower case are the same.

        Args:
            name: the model's name in the reply.
            decided: the column of the decided model, which goes first where several have the name.
        """
        found = self.answers.get(name.casefold(), ())
        if decided is not None and decided in found:
            return decided
        return found[0] if len(found) == 1 else None

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
        return hashlib.sha256(repr(what).encode()).hexdigest()[:12]

    @property
    def predictor_names(self) -> tuple[str, ...]:
        """The predictor's names of the m models."""
        return tuple(model.predictor_name or model.name for model in self.models)

    def columns_in(self, predictor_models: tuple[str, ...]) -> NDArray[np.intp]:
        """Returns the positions of the pool's models among the predictor's outputs, [m].

        Raises:
            PoolError: the predictor does not know a model; names it.
        """
        unknown = self.unknown_to(predictor_models)
        if unknown:
            raise PoolError(
                f"pool model {unknown[0].predictor_name or unknown[0].name!r} is not among the"
                f" predictor's {len(predictor_models)} models; {UNKNOWN_MODEL_REMEDY}"
            )
        positions = {name: position for position, name in enumerate(predictor_models)}
        columns = [positions[name] for name in self.predictor_names]
        return np.array(columns, dtype=np.intp)

    def unknown_to(self, predictor_models: Iterable[str]) -> tuple[ModelSpec, ...]:
        """Returns the models that the predictor does not know, in the pool's order."""
        known = frozenset(predictor_models)
        return tuple(one for one in self.models if (one.predictor_name or one.name) not in known)


def _answers(models: tuple[ModelSpec, ...]) -> dict[str, tuple[int, ...]]:
    """Returns the columns of the models that answer to each name, the whole names first."""
    whole: dict[str, tuple[int, ...]] = {}
    short: dict[str, tuple[int, ...]] = {}
    for column, model in enumerate(models):
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
        models = _PoolFile.model_validate(values).models
    except ValidationError as error:
        raise PoolError(describe_validation_error(source, error)) from None
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
    return Pool.of(models)
