"""A wall clock that a file sets off, in every Python process with this folder on its PYTHONPATH.

The file that ``CHAOS_CLOCK`` names holds the seconds. Monotonic clocks stay as they are, as they do
when a machine's wall clock is set. gRPC keeps the real clock: it compares the time with deadlines
that its core, which is not Python, has put on the wall clock of the moment.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from types import SimpleNamespace

_LOOK_S = 0.05
_real, _real_ns = time.time, time.time_ns
_GRPC = "grpc._cython.cygrpc"
_offset_ns = 0


def _time_ns() -> int:
    return _real_ns() + _offset_ns


def _time() -> float:
    return _time_ns() / 1e9


def _follow(path: str) -> None:
    global _offset_ns  # noqa: PLW0603 - the clock of the whole process
    while True:
        try:
            with open(path, encoding="ascii") as file:  # noqa: PTH123 - pathlib is slow to import
                _offset_ns = round(float(file.read()) * 1e9)
        except (OSError, ValueError):
            pass  # not set yet, or half written
        if _GRPC in sys.modules:
            vars(sys.modules[_GRPC])["time"] = SimpleNamespace(time=_real)
        time.sleep(_LOOK_S)


if path := os.environ.get("CHAOS_CLOCK"):
    time.time_ns, time.time = _time_ns, _time
    threading.Thread(target=_follow, args=(path,), daemon=True).start()
