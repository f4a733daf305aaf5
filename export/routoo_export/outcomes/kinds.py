"""The kinds of task that a prompt can be of."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo_export.outcomes.taxonomy import shipped_taxonomy

TASK_KINDS: Final = shipped_taxonomy().kinds
NO_KIND: Final = -1
"""The code of a prompt whose kind is not known."""


def kind_code(kind: str | None) -> int:
    """The place of ``kind`` in TASK_KINDS; NO_KIND for None."""
    return NO_KIND if kind is None else TASK_KINDS.index(kind)


def map_kinds(labels: Sequence[str | None], kind_of: Mapping[str, str | None]) -> NDArray[np.int64]:
    """Find the kind of each label: that of the first pattern that the label matches.

    Args:
        labels: Distinct labels of a source, [k]; None = a row without label.
        kind_of: Kind by glob pattern (``fnmatch``, with upper and lower case), in order of
            precedence; None = prompts of that label are of several kinds.

    Returns:
        Places in TASK_KINDS, int64 [k]; NO_KIND where no pattern matches.
    """
    return np.array([_first_match(label, kind_of) for label in labels], dtype=np.int64)


def _first_match(label: str | None, kind_of: Mapping[str, str | None]) -> int:
    if label is None:
        return NO_KIND
    found = (kind for pattern, kind in kind_of.items() if fnmatchcase(label, pattern))
    return kind_code(next(found, None))
