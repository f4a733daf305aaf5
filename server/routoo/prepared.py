"""What a batch is decided from, on its way through the decider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.eligible import Narrowing
    from routoo.estimates import Estimates
    from routoo.joint import JointConstraints, JointSolution
    from routoo.predictor.base import Prediction
    from routoo.prompt import PromptRequest
    from routoo.selector.arrays import BoolArray, IndexArray
    from routoo.selector.eligibility import Eligibility
    from routoo.selector.policies.base import Case
    from routoo.selector.reason import ReasonArray


@dataclass(frozen=True, slots=True)
class Predicted:
    """n requests with their prediction; times are ``monotonic_ns``.

    Attributes:
        accepted_ns: when each request was accepted.
        started_ns: when prediction began.
        predicted_ns: when it was done.
    """

    requests: Sequence[PromptRequest]
    prediction: Prediction
    accepted_ns: Sequence[int]
    started_ns: int
    predicted_ns: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is chosen from; ``couplings``: per row, the constraints that its price comes from."""

    estimates: Estimates
    eligibility: Eligibility
    narrowings: tuple[Narrowing, ...]
    case: Case
    couplings: list[tuple[str, ...]]
    tenants: list[str]
    ids: list[str]


@dataclass(frozen=True, slots=True)
class Joint:
    """All rows decided at once: what was to be kept, and the optimum."""

    constraints: JointConstraints
    solution: JointSolution


@dataclass(frozen=True, slots=True)
class Chosen:
    """The choice, int [n] (-1: no model), and why.

    Attributes:
        priced: bool [n], rows in which score minus price times cost decided.
        joint: all rows at once; None: each on its own.
    """

    choice: IndexArray
    reasons: ReasonArray
    priced: BoolArray
    joint: Joint | None = None
