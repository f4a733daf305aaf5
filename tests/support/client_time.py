"""Time that passes only when somebody sleeps."""

from __future__ import annotations

from random import Random


class Time:
    """A clock and the sleeps that move it.

    Attributes:
        rng: draws the pauses.
        now_s: what the clock says.
        slept_s: each sleep's length.
    """

    def __init__(self, seed: int = 7) -> None:
        self.rng = Random(seed)  # noqa: S311 - pauses are no secret
        self.now_s = 1000.0
        self.slept_s: list[float] = []

    def clock(self) -> float:
        """Seconds."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Returns at once, so much later."""
        self.slept_s.append(seconds)
        self.now_s += seconds

    async def sleep_async(self, seconds: float) -> None:
        """The same, awaited."""
        self.sleep(seconds)
