"""The pool: the LLMs that prompts are routed among, with their prices, limits and latencies."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from routoo.config.yaml_files import describe_validation_error, read_yaml_mapping
from routoo.errors import ConfigError, InvalidRequestError, PoolError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from routoo.errors import RoutooError

DEFAULT_POOL = Path(__file__).parent / "default_pool.yaml"


class ModelSpec(BaseModel):
    """One model of the pool, as the pool file spells it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=256)
    """The name that callers see and send to."""
    predictor_name: str = ""
    """The predictor's name of the model, where it differs from ``name``; empty: ``name``."""
    usd_per_1m_input_tokens: float = Field(ge=0, allow_inf_nan=False)
    usd_per_1m_output_tokens: float = Field(ge=0, allow_inf_nan=False)
    price_status: Literal["stated", "assumed"]
    """``stated``: a provider or a published price list says so; ``assumed``: a guess."""
    context_window_tokens: int = Field(gt=0, le=2**31 - 1)
    capabilities: tuple[str, ...] = ()
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
        usd_per_input_token: float64 [m].
        usd_per_output_token: float64 [m].
        context_window_tokens: float64 [m].
        time_to_first_token_ms: float64 [m].
        time_per_output_token_ms: float64 [m].
        names: [m].
        index: position of each name.
        capabilities: per capability, whether each model has it, bool [m].
    """

    models: tuple[ModelSpec, ...]
    usd_per_input_token: NDArray[np.float64]
    usd_per_output_token: NDArray[np.float64]
    context_window_tokens: NDArray[np.float64]
    time_to_first_token_ms: NDArray[np.float64]
    time_per_output_token_ms: NDArray[np.float64]
    names: tuple[str, ...]
    index: dict[str, int]
    capabilities: dict[str, NDArray[np.bool_]]

    @classmethod
    def of(cls, models: tuple[ModelSpec, ...]) -> Pool:
        """Turns the specifications of models into columns."""

        def column(name: str, scale: float = 1.0) -> NDArray[np.float64]:
            values = np.array([getattr(model, name) for model in models], dtype=np.float64) * scale
            values.flags.writeable = False
            return values

        names = tuple(model.name for model in models)
        return cls(
            models=models,
            usd_per_input_token=column("usd_per_1m_input_tokens", 1e-6),
            usd_per_output_token=column("usd_per_1m_output_tokens", 1e-6),
            context_window_tokens=column("context_window_tokens"),
            time_to_first_token_ms=column("time_to_first_token_ms"),
            time_per_output_token_ms=column("time_per_output_token_ms"),
            names=names,
            index={name: position for position, name in enumerate(names)},
            capabilities={
                capability: np.array([capability in model.capabilities for model in models])
                for capability in sorted({one for model in models for one in model.capabilities})
            },
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
        what = [
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
        positions = {name: position for position, name in enumerate(predictor_models)}
        columns = []
        for wanted in self.predictor_names:
            if wanted not in positions:
                raise PoolError(
                    f"pool model {wanted!r} is not among the predictor's {len(positions)} models;"
                    " remove it from the pool, set its predictor_name, or train a predictor with it"
                )
            columns.append(positions[wanted])
        return np.array(columns, dtype=np.intp)


def load_pool(path: Path | None = None) -> Pool:
    """Reads a pool file; None reads the shipped one.

    Raises:
        PoolError: the file is unreadable or malformed, has an unknown key or a value out of
            range, or names a model twice.
    """
    path = path or DEFAULT_POOL
    try:
        values = read_yaml_mapping(path)
        models = _PoolFile.model_validate(values).models
    except ValidationError as error:
        raise PoolError(describe_validation_error(str(path), error)) from None
    except ConfigError as error:
        raise PoolError(str(error)) from None
    names = [model.name for model in models]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise PoolError(f"{path}: model {twice[0]!r} stands twice; names have to be unique")
    return Pool.of(models)
