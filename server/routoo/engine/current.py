"""The engine that serves now, with the settings that it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from routoo.config.settings import Settings
    from routoo.engine.engine import Engine


@dataclass(slots=True)
class ActiveEngine:
    """Holds the engine that takes new requests. A reload replaces both attributes.

    Read it once per request, on the event loop, right before the engine is called. An engine that
    was called before a reload still answers. An engine that is kept over an ``await`` and called
    later may have been retired.

    Attributes:
        engine: takes new requests.
        settings: the settings of this engine.
    """

    engine: Engine
    settings: Settings
