"""A wall clock that a file sets off, in every Python process with this folder on its PYTHONPATH.

The file that ``CHAOS_CLOCK`` names holds the seconds. Monotonic clocks stay as they are, as they do
when a machine's wall clock is set.
"""

from __future__ import annotations

import os
import threading
import time

_LOOK_S = 0.05
_real_ns = time.time_ns
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
        time.sleep(_LOOK_S)


if path := os.environ.get("CHAOS_CLOCK"):
    time.time_ns, time.time = _time_ns, _time
    threading.Thread(target=_follow, args=(path,), daemon=True).start()
