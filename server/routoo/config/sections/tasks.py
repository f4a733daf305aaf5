"""Settings of the kinds of task that requests name."""

from __future__ import annotations

from typing import Literal

from routoo.config.section import Section


class TaskSettings(Section):
    """The kinds of task that requests name."""

    unknown: Literal["refuse", "recognise"] = "refuse"
    """A request that names a task which the predictor does not tell apart is refused, or its task
    is recognised as if it named none."""
