"""Whole prompts by branch and bound, where the local search cannot keep all limits."""

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, vstack

from routoo.selector.arrays import FloatArray, IndexArray
from routoo.selector.lp.problem import SUM_RTOL
from routoo.selector.lp.program import Program

# A limit on nodes, not on time, so that a batch has the same answer on a busy machine.
_NODE_LIMIT = 2_000
_GAP_RTOL = 1e-4

# The solver may exceed a scaled limit by this much; a second try lowers the limits by as much.
_TOLERANCE = 1e-6


def solve_whole(program: Program, choice: IndexArray, movable: IndexArray) -> IndexArray | None:
    """Choose anew for some prompts, without change to the others, so that every limit is kept.

    Args:
        program: the values and limits.
        choice: int [n], the present choice.
        movable: int [r], ascending, the prompts that may move.

    Returns:
        The best choice found, int [n]; None where none exists, or none was found.
    """
    fixed = np.setdiff1d(np.arange(len(choice)), movable, assume_unique=True)
    at, models = np.nonzero(np.isfinite(program.values[movable]))
    prompts = movable[at]
    cells = np.arange(len(at))
    limits = program.limits * (1.0 + SUM_RTOL * np.sign(program.limits))
    limits -= program.used(fixed, choice[fixed])
    one_each = csr_array((np.ones(len(at)), (at, cells)), shape=(len(movable), len(at)))
    rows = vstack((program.usage(prompts, models), one_each), format="csr")
    ones = np.ones(len(movable))
    for room in (0.0, _TOLERANCE):
        found = milp(
            -program.values[prompts, models],
            constraints=LinearConstraint(
                rows,
                np.concatenate((np.full(len(limits), -np.inf), ones)),
                np.concatenate((limits - room, ones)),
            ),
            integrality=np.ones(len(at), dtype=np.intp),
            bounds=Bounds(0.0, 1.0),
            options={"node_limit": _NODE_LIMIT, "mip_rel_gap": _GAP_RTOL},
        )
        if found.x is None:
            return None
        whole = choice.copy()
        taken = _largest_of_each(found.x, at)
        whole[prompts[taken]] = models[taken]
        used = program.used(movable, whole[movable])
        if (used <= limits).all():
            return whole
    return None


def _largest_of_each(figures: FloatArray, group: IndexArray) -> IndexArray:
    """Return the index of the largest figure in each group; ``group`` is ascending."""
    order = np.lexsort((-figures, group))
    return order[np.flatnonzero(np.diff(group, prepend=-1))]
