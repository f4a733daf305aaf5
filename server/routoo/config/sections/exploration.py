"""Settings of exploring: a share of the decisions goes to another model than the best."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

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
    unknown_share: float | None = Field(default=None, gt=0, le=0.5, allow_inf_nan=False)
    """The same share for requests that a model could answer of which hardly anything is known, so
    that one that joins is soon found out about; at least ``share``. Needs ``learning.enabled``.
    Unset: it is ``share``."""
    unknown_above: float = Field(default=0.1, gt=0, le=1, allow_inf_nan=False)
    """A model is unknown where the predictor's standard deviation of its score is above this ..."""
    known_below: float = Field(default=0.03, gt=0, le=1, allow_inf_nan=False)
    """... until reports have taken it to this or less."""

    @model_validator(mode="after")
    def _unknown_more_often(self) -> Self:
        if self.unknown_share is not None and self.unknown_share < self.share:
            raise ValueError("unknown_share has to be at least share; raise it, or leave it out")
        return self

    @property
    def unknown_times(self) -> float:
        """How many times as often requests are explored that an unknown model could answer."""
        return 1.0 if self.unknown_share is None else self.unknown_share / self.share
