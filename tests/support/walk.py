"""Records which files and functions of the service a request enters, on both of its threads."""

from __future__ import annotations

import sys
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import routoo
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from concurrent.futures import ThreadPoolExecutor
    from types import CodeType, FrameType

    from routoo.server.service import Service

PACKAGE = Path(routoo.__file__).parent
QUEUE, WORKER, INFERENCE = "engine/batcher.py", "engine/engine.py", "predictor/onnx.py"


@dataclass(slots=True)
class Walk:
    """What was entered while a request was under way.

    Attributes:
        files: of the service, relative to its package, generated stubs left out.
        to_queue: functions from the servicer into the queue, outermost first.
        in_queue: functions of the queue between them and the worker.
        to_inference: functions from the worker's first one to the inference.
    """

    files: set[str] = field(default_factory=set)
    to_queue: list[str] = field(default_factory=list)
    in_queue: list[str] = field(default_factory=list)
    to_inference: list[str] = field(default_factory=list)

    @property
    def way(self) -> list[str]:
        """Every function on the way from the servicer to the inference, in its order."""
        # Of a request that is decided on the loop, the inference is called from the queue itself.
        return list(dict.fromkeys([*self.to_queue, *self.in_queue, *self.to_inference]))

    def hook(self, frame: FrameType, event: str, _argument: Any) -> None:
        """For ``sys.setprofile``."""
        place = _place(frame.f_code) if event == "call" else None
        if place is None:
            return
        self.files.add(place)
        name = f"{place}:{frame.f_code.co_name}"
        if place == INFERENCE:
            self.to_inference = max(self.to_inference, _stack(frame), key=len)
        elif name == f"{QUEUE}:submit":
            self.to_queue = self.to_queue or _stack(frame)
        elif name in (f"{QUEUE}:_gather", f"{QUEUE}:_start_next") and not self.to_inference:
            # The loop calls them again and again; on the way they are once.
            self.in_queue = list(dict.fromkeys([*self.in_queue, name]))


@asynccontextmanager
async def walked(service: Service) -> AsyncIterator[Walk]:
    """Records on the event loop, on the predictor's thread and on those of the books."""
    walk = Walk()
    threads = service.engine._threads
    _profile(threads.predict, walk.hook)
    _profile(threads.books, walk.hook)
    sys.setprofile(walk.hook)
    try:
        yield walk
    finally:
        sys.setprofile(None)
        _profile(threads.predict, None)
        _profile(threads.books, None)


def _profile(pool: ThreadPoolExecutor, hook: Any) -> None:
    """Sets the hook on every thread of a pool; none is done before all have begun."""
    all_here = threading.Barrier(pool._max_workers)

    def set_here() -> None:
        all_here.wait(HANG_S)
        sys.setprofile(hook)

    for done in [pool.submit(set_here) for _ in range(pool._max_workers)]:
        done.result()


def _place(code: CodeType) -> str | None:
    """The file of a function of ours; comprehensions and the like are no functions."""
    path = Path(code.co_filename)
    if PACKAGE not in path.parents or code.co_name.startswith("<"):
        return None
    place = path.relative_to(PACKAGE).as_posix()
    # What the service does once in a while, such as looking at its memory, is no part of the way.
    return None if place.startswith(("v1/", "server/")) else place


def _stack(frame: FrameType | None) -> list[str]:
    found: list[str] = []
    while frame is not None:
        place = _place(frame.f_code)
        if place is not None:
            found.append(f"{place}:{frame.f_code.co_name}")
        frame = frame.f_back
    return found[::-1]
