"""A clock for tests of the client: its time passes only during sleeps."""

from __future__ import annotations

from random import Random


class Time:
    """A clock and the sleeps that move it.

    Attributes:
        rng: draws the pauses.
        now_s: the clock's time, in seconds.
        slept_s: the length of each sleep, in seconds.
    """

    def __init__(self, seed: int = 7) -> None:
        self.rng = Random(seed)  # noqa: S311 - pauses are no secret
        self.now_s = 1000.0
        self.slept_s: list[float] = []

    def clock(self) -> float:
        """Returns the time in seconds."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Moves the clock, and returns at once."""
        self.slept_s.append(seconds)
        self.now_s += seconds

    async def sleep_async(self, seconds: float) -> None:
        """Moves the clock, and returns at once; for asyncio."""
        self.sleep(seconds)
