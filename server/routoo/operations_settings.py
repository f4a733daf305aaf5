"""The settings of how a service is operated."""

from __future__ import annotations

from pydantic import Field

from routoo.section import Section


class ReloadSettings(Section):
    """Taking changed files while serving; SIGHUP does it in any case."""

    watch: bool = False
    """Whether the files are looked at, and taken when they have changed."""
    interval_s: float = Field(default=1.0, ge=0.01, le=3600, allow_inf_nan=False)
    """How often. A change is taken when it has stood still for as long."""
