"""What happens to rows that do not fit: refused at once, or counted by reason and skipped."""

from collections import Counter
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo_export.errors import OutcomeError

REMEDY: Final = "fix it, or drop such rows: routoo-export data convert --skip-bad"


class BadRows:
    """One rule for every reader.

    skip False: the first bad row is an OutcomeError that names file, row and reason. skip True: bad
    rows are left out and counted in ``skipped``, by reason. ``duplicates`` counts rows that repeat
    another one in every value; those are dropped under either rule. ``notes`` counts what a reader
    changed on purpose and its user should know.
    """

    def __init__(self, *, skip: bool = False) -> None:
        self.skip = skip
        self.skipped: Counter[str] = Counter()
        self.duplicates = 0
        self.notes: Counter[str] = Counter()

    def add(self, where: str, reason: str, detail: str = "") -> None:
        """One bad row; ``detail`` is said of that row and not counted apart.

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
        """The rows of a mask; refused, the first one is named.

        Raises:
            OutcomeError: there is one, and bad rows are not skipped.
        """
        if not bad.any():
            return
        if not self.skip:
            first = int(np.argmax(bad))
            self.add(where(first), reason, detail(first))
        self.skipped[reason] += int(bad.sum())
