"""Settings of the health of providers."""

from __future__ import annotations

from pydantic import Field

from routoo.config.section import Section


class HealthSettings(Section):
    """Models and providers that failed lately, which are left out until they answer again."""

    enabled: bool = True
    """Unset it to choose among all models, whatever reports tell."""
    failures: int = Field(default=3, ge=1, le=1000)
    """Failures in a row after which a model, or a whole provider, is left out."""
    failure_share: float = Field(default=0.5, gt=0, le=1, allow_inf_nan=False)
    """The share of failed requests above which it is left out, too."""
    min_requests: int = Field(default=20, ge=1, le=1_000_000)
    """Reports of about the last ``window_s`` below which that share tells nothing."""
    window_s: float = Field(default=30.0, gt=0, le=86_400, allow_inf_nan=False)
    """Time after which a report counts 1/e in that share."""
    open_s: float = Field(default=1.0, gt=0, le=3600, allow_inf_nan=False)
    """The first pause, which doubles each time that the provider fails again after one."""
    max_open_s: float = Field(default=30.0, gt=0, le=86_400, allow_inf_nan=False)
    """The longest pause, unless the provider itself asks for a longer one."""
    max_retry_after_s: float = Field(default=300.0, ge=0, le=86_400, allow_inf_nan=False)
    """The longest pause that a provider may ask for, by Retry-After."""
    probes: int = Field(default=1, ge=1, le=1000)
    """Requests that are on their way together to see whether it answers again."""
    probe_share: float = Field(default=0.005, gt=0, le=1, allow_inf_nan=False)
    """A pause ends before its time, though not before ``open_s``, when a probe would be no more
    than this share of the requests that were decided meanwhile."""
    probe_timeout_s: float = Field(default=60.0, gt=0, le=86_400, allow_inf_nan=False)
    """Time after which a probe of which nothing was reported makes room for another one."""
    slow_start_s: float = Field(default=3.0, ge=0, le=86_400, allow_inf_nan=False)
    """Time in which the share of the requests that may go there rises from a tenth to all."""
    credentials: bool = True
    """Whether replies that refuse a key (401, 402, 403, 407) count. Unset it where callers bring
    keys of their own: one caller's wrong key would leave a provider out for all."""
    tenants_report: bool = True
    """Whether reports count of callers that are confined to a tenant."""
