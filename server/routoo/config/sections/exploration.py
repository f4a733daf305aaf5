"""Settings of exploring: a share of the decisions goes to another model than the best."""

from __future__ import annotations

from pydantic import Field

from routoo.config.section import Section


class ExploreSettings(Section):
    """Exploring, so that the log tells how models do that the policy would not have asked."""

    share: float = Field(gt=0, le=0.5, allow_inf_nan=False)
    """Most of the decisions that go to another model than the best, as a share of those that could.
    It is less while the budget has little left."""
    budget: str
    """The name of a budget with ``pays_for: exploration``, which pays for what explored decisions
    are expected to cost beyond the best ones."""
    floor: float = Field(default=0.8, ge=0, le=1, allow_inf_nan=False)
    """Least predicted score of an explored model, as a share of the best one's."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Changes which decisions are explored. They follow from it and the decisions' ids."""
