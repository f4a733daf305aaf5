"""Treatment of rows that do not fit: they are refused at once, or skipped and counted by reason."""

from collections import Counter
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo_export.errors import OutcomeError

REMEDY: Final = "fix it, or drop such rows: routoo-export data convert --skip-bad"


class BadRows:
    """The rule by which all readers treat bad rows, and their counts.

    Args:
        skip: False: the first bad row is an OutcomeError that names file, row and reason. True: bad
            rows are left out and counted.

    Attributes:
        skip: The rule.
        skipped: Skipped rows by reason.
        duplicates: Rows that repeat another one in every value; they are dropped under either rule.
        notes: Changes that a reader makes on purpose and that its user should know, by kind.
    """

    def __init__(self, *, skip: bool = False) -> None:
        self.skip = skip
        self.skipped: Counter[str] = Counter()
        self.duplicates = 0
        self.notes: Counter[str] = Counter()

    def add(self, where: str, reason: str, detail: str = "") -> None:
        """Refuse or count one bad row; ``detail`` is part of the message but not of the reason.

        Raises:
            OutcomeError: bad rows are not skipped.
        """
        if not self.skip:
            raise OutcomeError(f"{where}: {reason}{detail}; {REMEDY}")
        self.skipped[reason] += 1

    def add_all(
        self,
        bad: NDArray[np.bool_],
        where: Callable[[int], str],
        reason: str,
        detail: Callable[[int], str] = lambda _: "",
    ) -> None:
        """Refuse or count the rows of the mask ``bad``; a refusal names the first one.

        Raises:
            OutcomeError: there is a bad row, and bad rows are not skipped.
        """
        if not bad.any():
            return
        if not self.skip:
            first = int(np.argmax(bad))
            self.add(where(first), reason, detail(first))
        self.skipped[reason] += int(bad.sum())
