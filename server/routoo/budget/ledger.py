"""What every ledger offers: reserve before a request is decided, settle when its cost is known."""

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
            budget that lacks the money (for a row that would fit but fell with its batch, the
            budget that stopped the batch).
        degraded: decided on the local share, because Redis is away.
    """

    refused_by: NDArray[np.intp]
    degraded: bool


class Settled(Enum):
    """What a reported cost met."""

    SETTLED = "settled"
    """Booked in place of the estimate."""
    UNKNOWN = "unknown"
    """No such decision: never reserved, no budget applied to it, or forgotten since. Not booked."""
    TWICE = "twice"
    """A cost was reported before; that one stands."""
    EXPIRED = "expired"
    """Reported after its reservation had expired. The cost is booked in place of what the expiry
    had booked, in the period of the decision; the next report is ``TWICE``."""

    @property
    def books(self) -> bool:
        """Whether the cost was booked."""
        return self in (Settled.SETTLED, Settled.EXPIRED)


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget at one instant. Amounts in USD, over the current period.

    Attributes:
        terms: what it promises.
        reserved_usd: granted, cost not yet known.
        settled_usd: cost known, or taken for the estimate when it was never reported.
        overdraft_usd: spent beside the budget, by requests that went on with the cheapest model.
        granted: requests granted in this period, by all replicas.
        period_left_s: until a fixed period ends; for a sliding one, until the oldest spending that
            counts stops counting (the whole period when nothing counts).
        degraded: Redis is away and only the local share is spent (the amounts are then the last
            ones seen, plus what this replica spent since), or the journal cannot be written.
    """

    terms: BudgetTerms
    reserved_usd: float
    settled_usd: float
    overdraft_usd: float
    granted: int
    period_left_s: float
    degraded: bool


class Ledger(Protocol):
    """The books of all budgets. Thread-safe; money counts in the period of its decision.

    At every instant, for every budget, what is reserved and settled in a period is within the
    limit as far as ``reserve`` is concerned; a reported cost above its reservation is booked as it
    is, and then nothing more is granted until the budget is back under its limit.
    """

    @property
    def terms(self) -> tuple[BudgetTerms, ...]:
        """The budgets, in the order of the settings."""
        ...

    def applies(self, tenant: str) -> tuple[int, ...]:
        """Indices of the budgets of a tenant, those of all tenants first; may be empty."""
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
            ids: [n] decision ids, new ones; a refused id may be tried again.
            tenants: [n].
            amounts_usd: float64 [n], from 0 to 9,000,000.
            all_or_nothing: when one row is refused, book none.

        Raises:
            InvalidRequestError: an amount that is negative, NaN or too large.
            ValueError: an id that is booked already, or arguments of different lengths.
        """
        ...

    def overdraw(
        self, ids: Sequence[str], tenants: Sequence[str], amounts_usd: NDArray[np.float64]
    ) -> None:
        """Books decisions beside their budgets: never part of reserved and settled.

        For requests that go on with the cheapest model although nothing is left. Arguments and
        errors as ``reserve``. A reported cost corrects the overdraft.
        """
        ...

    def settle(self, decision_id: str, cost_usd: float) -> Settled:
        """Books the true cost of a decision.

        Raises:
            InvalidRequestError: a cost that is negative, NaN or above 9,000,000 USD.
        """
        ...

    def states(self) -> tuple[BudgetState, ...]:
        """Each budget as it stands, in the order of ``terms``."""
        ...

    def close(self) -> None:
        """Writes out what is not yet written, and lets go of files and connections."""
        ...
