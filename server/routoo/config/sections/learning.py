"""Settings of the scores that are learned from reported answers."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from routoo.config.section import Section


class LearningSettings(Section):
    """Scores that follow the reported ones between two trainings of the predictor."""

    enabled: bool = False
    """Set it to let reported scores change the predicted ones. Needs a restart."""
    freeze: bool = False
    """Set it to keep what was learned as it is; a reload takes it."""
    half_life_reports: float = Field(default=200.0, ge=10, le=1_000_000, allow_inf_nan=False)
    """The number of a model's reports after which an old one counts half."""
    generation: int = Field(default=0, ge=0, le=2**31)
    """Change it to forget all that was learned; a reload takes it."""
    tenants: bool = True
    """Whether each tenant has corrections of its own on top of those of all."""
    tenants_teach: bool = False
    """Whether reports of callers that are confined to a tenant change other tenants' scores, too;
    those of one tenant then count a fifth of all at most."""
    interval_s: float = Field(default=1.0, gt=0, le=3600, allow_inf_nan=False)
    """Least time between two versions of what was learned."""
    path: Path | None = None
    """File in which it is kept over a restart. Unset: beside ``ledger.journal``, its name and
    ``.learned``; without a journal it is lost at a stop."""
    share_interval_s: float = Field(default=2.0, gt=0, le=3600, allow_inf_nan=False)
    """Time between two exchanges through Redis, with ``ledger.backend: redis`` and budgets."""
