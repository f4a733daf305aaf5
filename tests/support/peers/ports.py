"""Ports for servers that have to be told theirs before they start."""

from __future__ import annotations

import os
import random
import socket

# The system gives ports from 32,768 on to connections, and to servers that name none; those from
# 20,000 on are those of ``redis_server``.
_FIRST, _NUMBER = 10_000, 10_000
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_given: set[int] = set()


def free_port() -> int:
    """Returns a TCP port that is free, and stays so until the test's server has it.

    Neither the system nor another call, in this worker or another one, gives it to anybody else.
    """
    own = set(range(_FIRST + _WORKER, _FIRST + _NUMBER, _WORKERS)) - _given
    for port in random.Random().sample(sorted(own), 100):  # noqa: S311
        try:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        _given.add(port)
        return port
    raise AssertionError("no free port")
