"""All doors of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routoo.api.http.console.assets import page_doors
from routoo.api.http.console.decisions import DecisionDoors
from routoo.api.http.console.trials import TrialDoors

if TYPE_CHECKING:
    from routoo.api.calls import Doorkeeper
    from routoo.api.http.door import Door
    from routoo.api.service import RouterService
    from routoo.engine.current import ActiveEngine
    from routoo.telemetry.live.feed import LiveFeed


def console_doors(
    current: ActiveEngine, router: RouterService, feed: LiveFeed, gate: Doorkeeper
) -> list[Door]:
    """Returns the doors of the page, of its files, and of the decisions that it shows.

    Args:
        current: the engine and the settings in force.
        router: reads requests for decisions.
        feed: notes decisions while somebody looks.
        gate: tells whether a caller may still look.
    """
    return [
        *page_doors(),
        *DecisionDoors(current, feed, gate).doors(),
        *TrialDoors(current, router, feed).doors(),
    ]
