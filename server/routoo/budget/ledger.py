"""The interface of every ledger: reserve when a request is decided, settle when it has its cost."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from routoo.budget.terms import BudgetTerms


@dataclass(frozen=True, slots=True)
class Grants:
    """The answer to one ``reserve``.

    Attributes:
        refused_by: intp [n]; -1: granted; else the index into ``Ledger.terms`` of the first
            budget that lacks the money (for a row that was refused only because its batch was, the
            budget that refused the batch).
        degraded: decided within the leases of this replica, because Redis is away or has lost books
            of which other replicas have still to tell what they know.
    """

    refused_by: NDArray[np.intp]
    degraded: bool


class Settled(Enum):
    """The result of reporting a cost."""

    SETTLED = "settled"
    """The cost was booked in place of the estimate."""
    UNKNOWN = "unknown"
    """No such decision: never reserved, without a budget, or forgotten since. Nothing is booked."""
    TWICE = "twice"
    """A cost was reported before, and stays booked."""
    EXPIRED = "expired"
    """The reservation had expired. The cost was booked in place of what the expiry had booked, in
    the period of the decision; the next report is ``TWICE``."""

    @property
    def books(self) -> bool:
        """Returns whether the cost was booked."""
        return self in (Settled.SETTLED, Settled.EXPIRED)


@dataclass(frozen=True, slots=True)
class BudgetState:
    """The state of a budget at one instant. Amounts are in USD, over the current period.

    Attributes:
        terms: the budget.
        reserved_usd: granted to decisions whose cost is not known yet.
        settled_usd: known costs, and the estimates of decisions that expired unreported.
        overdraft_usd: spent beside the budget, by requests that got the cheapest model although
            nothing was left.
        granted: requests granted in this period, by all replicas.
        period_left_s: seconds until a fixed period ends; for a sliding one, until the oldest
            spending that counts stops counting (the whole period when nothing counts).
        degraded: Redis is away and only leases are spent (the amounts are then the last
            ones seen, plus what this replica spent since), or the journal cannot be written.
        reported_usd: the reported costs of requests granted.
        reported_reserved_usd: what was reserved for the same requests.
        expired: of the requests granted, those whose cost was not reported in time.
    """

    terms: BudgetTerms
    reserved_usd: float
    settled_usd: float
    overdraft_usd: float
    granted: int
    period_left_s: float
    degraded: bool
    reported_usd: float = 0.0
    reported_reserved_usd: float = 0.0
    expired: int = 0


class Ledger(Protocol):
    """The books of all budgets. Thread-safe. Money counts in the period of its decision.

    ``reserve`` never takes a budget over its limit: the sum of what is reserved and settled in a
    period. A reported cost above its reservation is booked in full, and then nothing more is
    granted until the budget is back under its limit.
    """

    @property
    def terms(self) -> tuple[BudgetTerms, ...]:
        """The budgets, in the order of the settings."""
        ...

    @property
    def waits(self) -> bool:
        """Whether booking may wait for another machine or for a disk."""
        ...

    def applies(self, tenant: str) -> tuple[int, ...]:
        """Returns the indices of a tenant's budgets, those of all tenants first; may be empty."""
        ...

    def reserve(
        self,
        ids: Sequence[str],
        tenants: Sequence[str],
        amounts_usd: NDArray[np.float64],
        *,
        all_or_nothing: bool = False,
    ) -> Grants:
        """Books the expected cost of decisions, in order, as long as there is money for it.

        A row is granted by all budgets that apply to its tenant, or by none. A row to which no
        budget applies is granted and not booked. Check and booking are one step.

        Args:
            ids: [n], new decision ids; a refused id may be tried again.
            tenants: [n], the tenant of each decision.
            amounts_usd: float64 [n], from 0 to 9,000,000.
            all_or_nothing: books no row when one is refused.

        Raises:
            InvalidRequestError: an amount that is negative, NaN or too large.
            ValueError: an id that is booked already, or arguments of different lengths.
        """
        ...

    def overdraw(
        self, ids: Sequence[str], tenants: Sequence[str], amounts_usd: NDArray[np.float64]
    ) -> Grants:
        """Books decisions as overdraft, which is no part of reserved and settled.

        For requests that get the cheapest model although nothing is left. A reported cost corrects
        the overdraft. Only budgets whose ``on_exhausted`` is ``cheapest`` have one. In a budget
        that refuses, the amount counts as settled at once, and a row is refused where that budget
        lacks the money.

        Args:
            ids: [n], new decision ids.
            tenants: [n], the tenant of each decision.
            amounts_usd: float64 [n], from 0 to 9,000,000.

        Raises:
            InvalidRequestError: an amount that is negative, NaN or too large.
            ValueError: an id that is booked already, or arguments of different lengths.
        """
        ...

    def settle(self, decision_id: str, cost_usd: float) -> Settled:
        """Books the true cost of a decision.

        Raises:
            InvalidRequestError: a cost that is negative, NaN or above 9,000,000 USD.
        """
        ...

    def states(self) -> tuple[BudgetState, ...]:
        """Returns the present state of each budget, in the order of ``terms``."""
        ...

    def close(self) -> None:
        """Writes what is not yet written, and closes files and connections."""
        ...
