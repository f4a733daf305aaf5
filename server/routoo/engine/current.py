"""What serves now: the engine and the settings that it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from routoo.config.settings import Settings
    from routoo.engine.engine import Engine


@dataclass(slots=True)
class ActiveEngine:
    """Read once per request, on the event loop, right before the engine is called.

    A reload replaces both. An engine that was read and called before answers nevertheless; one
    that was kept over an ``await`` and is called later may have been retired.
    """

    engine: Engine
    settings: Settings
