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
    """The number of a model's reports after which an old one counts 1/e."""
    interval_s: float = Field(default=1.0, gt=0, le=3600, allow_inf_nan=False)
    """Least time between two changes of the factors in force."""
    path: Path | None = None
    """File in which they are kept over a restart. Unset: beside ``ledger.journal``, its name and
    ``.corrections``; without a journal they are lost at a stop."""
    share_interval_s: float = Field(default=2.0, gt=0, le=3600, allow_inf_nan=False)
    """Time between two exchanges through Redis, with ``ledger.backend: redis`` and budgets."""
