"""The interface of every policy, and the input that policies choose from."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from routoo.errors import RoutooError
from routoo.selector.arrays import BoolArray, FloatArray, IndexArray, ReasonArray


@dataclass(frozen=True, slots=True)
class Case:
    """The input of a policy: n prompts and m models.

    Attributes:
        scores: float64 [n, m], in [0, 1], rounded to 1e-4.
        costs_usd: float64 [n, m].
        mask: bool [n, m], eligible cells; figures of other cells are not used.
        prices: float64 [n], score per USD in force for each row; at least 0 and finite.
        max_quality_gaps: float64 [n], the row's own tolerance, in score; NaN: it has none.
        tickets: int64 [n], one number per request of the service, counting up.
        charges: float64 [n, m], score that limits of providers take off each cell at their prices,
            for policies at a price; None: they take nothing.
    """

    scores: FloatArray
    costs_usd: FloatArray
    mask: BoolArray
    prices: FloatArray
    max_quality_gaps: FloatArray
    tickets: npt.NDArray[np.int64]
    charges: FloatArray | None = None


class Models(Protocol):
    """The pool of models, as far as the construction of a policy needs it."""

    @property
    def names(self) -> tuple[str, ...]:
        """The models in the order of their columns."""
        ...

    def column(self, name: str, field: str, error: type[RoutooError]) -> int:
        """Returns the column of a model; an unknown one raises ``error`` with the ``field``."""
        ...


class Policy(ABC):
    """Chooses one eligible model per row. A row's choice depends on its row alone.

    Attributes:
        at_price: whether score minus the price in force times cost decides.
        weighs_turns: whether costs are those of a session's turns ahead, too, so that a model may
            stay for its cache; else they are those of the one request.
        reads_quality_gap: whether the tolerance of a request is read.
        asks_two: whether it may choose a model with another to ask beside it, see ``seconds``.
        learned: whether its settings hold for the predictor that they were learned with only.
    """

    __slots__ = ()

    at_price: ClassVar[bool] = False
    weighs_turns: ClassVar[bool] = False
    reads_quality_gap: ClassVar[bool] = False
    asks_two: ClassVar[bool] = False
    learned: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The name in settings and requests, which is the name of the policy's file."""
        return type(self).__module__.rpartition(".")[2]

    @abstractmethod
    def choose(self, case: Case) -> IndexArray:
        """Returns the chosen models' columns, int [n]; -1 in rows where no model is eligible."""

    @abstractmethod
    def explain(self, case: Case, choice: IndexArray) -> ReasonArray:
        """Returns the reason of each row of a ``choice`` of ``choose``, int8 [n] of ``Reason``."""

    def seconds(self, case: Case) -> IndexArray:
        """Returns the columns to ask beside the chosen ones, int [n].

        They count where the reason is CASCADE; -1: none. Only a policy that asks two has any.
        """
        return np.full(len(case.scores), -1, np.intp)

    @classmethod
    def build(cls, settings: Any, pool: Models) -> Self:  # noqa: ARG003 - some need them
        """Builds the policy.

        Args:
            settings: its section, or the content of the file that its setting names.
            pool: the models.

        Raises:
            ConfigError: a setting names a model that the pool lacks; one line.
        """
        return cls()

    @classmethod
    def restored(cls, values: Mapping[str, Any]) -> Self:
        """Makes the policy again from the values that ``logged`` returned."""
        return cls(**values)

    def logged(self) -> dict[str, Any]:
        """Returns the policy's fields as plain values and arrays, for the decision log."""
        return asdict(self)  # type: ignore[call-overload,no-any-return] # each is a dataclass
