"""The server process: it builds a service from settings, takes calls, reloads, and drains.

``serve`` runs one until SIGTERM; ``Service`` starts one within a running event loop. Both are
loaded when first asked for: the supervisor of several workers needs neither numpy nor scipy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from routoo.server.service import Service, serve

__all__ = ["Service", "serve"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from routoo.server import service  # noqa: PLC0415 - loaded when first asked for

        return getattr(service, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
