"""Settings of an experiment, and of the watch on a promise."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from routoo.config.section import Section


class WatchSettings(Section):
    """Watch on the promise of policy ``guarantee`` by graded answers."""

    share: float = Field(default=0.1, gt=0, le=0.5, allow_inf_nan=False)
    """Share of the prompts for which another model is chosen that the reference answers all the
    same, so that grades of both can be compared. The larger, the sooner a drift is noticed."""
    path: Path | None = None
    """File in which the evidence is kept over a restart. Unset: a restart forgets it, and with it
    that the reference answers."""


class ExperimentSettings(Section):
    """A split of the requests between what is in force and a candidate; docs/how-to/loop.md."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")
    """Its name, in every decision that is part of it."""
    candidate: str = Field(min_length=1)
    """A policy of ``policy.offered``, or a folder with a predictor's versions. A folder without a
    version is waited for: the experiment begins with the reload that finds one."""
    share: float = Field(default=0.1, gt=0, lt=1, allow_inf_nan=False)
    """Share of the requests, or of the tenants or sessions, that the candidate decides."""
    by: Literal["request", "session", "tenant"] = "request"
    """The unit that is always decided by the same one. Requests without a session, or without a
    tenant, are no part of an experiment by these."""
    alpha: float = Field(default=0.05, gt=0, lt=0.5, allow_inf_nan=False)
    """The chance that the intervals ever miss the true difference, however often one looks."""
    margin: float = Field(default=0.01, ge=0, lt=1, allow_inf_nan=False)
    """Difference in mean score that does not matter."""
    cost_margin: float = Field(default=0.05, ge=0, lt=10, allow_inf_nan=False)
    """Difference in mean cost that does not matter, as a part of that in force."""
    max_cost_usd: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Cost of one answer that the comparison counts at most. Unset: 20 times
    ``policy.max_mean_cost_usd``."""
    shadow_decisions: int = Field(default=0, ge=0, le=100_000_000)
    """At first, so many of the candidate's decisions are made beside those in force and only
    counted."""
    on_worse: Literal["revert", "keep"] = "revert"
    """revert: a candidate that is found worse decides nothing any more. keep: it goes on."""
    path: Path | None = None
    """File in which its figures are kept over a restart. Unset: a restart begins it anew."""
