"""Settings of the corrections of predicted lengths and latencies."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from routoo.config.section import Section


class CorrectionSettings(Section):
    """Corrections of predicted output tokens and latencies, learned from reported outcomes."""

    enabled: bool = True
    """Unset it to take the predictor's lengths and the pool's latencies as they are."""
    learn: bool = True
    """Unset it to keep the factors as they are."""
    memory_reports: int = Field(default=200, ge=60, le=1_000_000)
    """The number of a model's reports after which an old one counts 1/e; half after 0.7 times as
    many."""
    prior_reports: float = Field(default=2.0, ge=0, le=1_000_000, allow_inf_nan=False)
    """The number of a model's reports that the latencies which the pool declares count as."""
    latency_half_life_s: float = Field(default=3600.0, gt=0, le=31_536_000, allow_inf_nan=False)
    """Without reports, a model's latency goes back to what is usual at this hour of the day by half
    in this time."""
    interval_s: float = Field(default=1.0, gt=0, le=3600, allow_inf_nan=False)
    """Least time between two changes of the factors in force."""
    path: Path | None = None
    """File in which they are kept over a restart. Unset: beside ``ledger.journal``, its name and
    ``.corrections``; without a journal they are lost at a stop."""
    share_interval_s: float = Field(default=2.0, gt=0, le=3600, allow_inf_nan=False)
    """Time between two exchanges through Redis, with ``ledger.backend: redis`` and budgets."""
