"""The models that the ties of sessions leave: a tool loop's, a provider's, a model's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from routoo.routing.sessions.facts import Tie
from routoo.routing.sessions.rows import tied

if TYPE_CHECKING:
    from collections.abc import Iterator

    from routoo.routing.pool import Pool
    from routoo.routing.sessions.rows import SessionRows
    from routoo.selector.arrays import BoolArray

TOOL_LOOP: Final = "tool_loop"
"""The constraint that a request which answers a tool call goes to the model that made the call."""
SESSION_STATE: Final = "session_state"
"""The constraint that what only one provider or model can read goes to no other."""


def ties_of(rows: SessionRows, pool: Pool) -> Iterator[tuple[str, BoolArray]]:
    """Yields each constraint that ties set, with the models that it leaves, bool [n, m].

    Args:
        rows: the n sessions.
        pool: the m models.
    """
    if not rows.ties.any():
        return
    models = np.array([pool.model_of(column) for column in range(len(pool.names))])
    own = models == models[rows.current][:, None]  # all arms of the model
    loops = tied(rows, Tie.TOOL_LOOP)
    if loops.any():
        yield TOOL_LOOP, own | ~loops[:, None]
    to_model, to_provider = tied(rows, Tie.MODEL), tied(rows, Tie.PROVIDER)
    if to_model.any() or to_provider.any():
        # A model without a provider's name is the only one of its provider.
        names = np.array([one.provider or one.name for one in pool.specs])
        same = names == names[rows.current][:, None]
        left = (own | ~to_model[:, None]) & (same | ~to_provider[:, None])
        yield SESSION_STATE, left
