"""All settings of the service, as one frozen model with a section per concern."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_settings import (
    BaseSettings,
    SettingsConfigDict,
)

from routoo.config.section import Section
from routoo.config.sections.budget import BudgetSettings, LedgerSettings, distinct_names
from routoo.config.sections.corrections import CorrectionSettings
from routoo.config.sections.health import HealthSettings
from routoo.config.sections.http import HttpSettings
from routoo.config.sections.learning import LearningSettings
from routoo.config.sections.observability import DecisionLogSettings, TracingSettings
from routoo.config.sections.operations import (
    OverloadSettings,
    ProviderLimitSettings,
    ReloadSettings,
)
from routoo.config.sections.policy import PolicySettings
from routoo.config.sections.predictor import PredictorSettings
from routoo.config.sections.processor import ProcessorSettings
from routoo.config.sections.proxy import ProxySettings
from routoo.config.sections.security import CallAddress, Listener, SecuritySettings, TcpAddress
from routoo.config.sections.sessions import SessionSettings
from routoo.config.sections.tasks import TaskSettings
from routoo.config.sections.trials import ExperimentSettings

ENV_PREFIX = "ROUTOO_"


class MetricsSettings(Section):
    """The metrics page for Prometheus."""

    enabled: bool = True
    """Whether metrics are served."""
    listen: TcpAddress = "127.0.0.1:9095"
    """HOST:PORT of the page for Prometheus."""


class BatchingSettings(Section):
    """Batches of requests, which are gathered while the predictor is busy."""

    max_batch: int = Field(default=64, ge=1, le=4096)
    """Most prompts in one inference."""
    max_queue: int = Field(default=4096, ge=1, le=1_000_000)
    """Most requests that wait; one more is refused with RESOURCE_EXHAUSTED."""
    max_joint: int = Field(default=16, ge=1, le=10_000)
    """Most RouteBatch calls in progress; one more is refused. Each holds its prompts in memory."""


class LimitSettings(Section):
    """Limits on the size of requests."""

    max_prompt_chars: int = Field(default=1_000_000, ge=1, le=100_000_000)
    """Longest text of a request, in characters."""
    max_batch_prompts: int = Field(default=100_000, ge=1, le=1_000_000)
    """Most prompts of a ``RouteBatch``."""
    max_message_bytes: int = Field(default=8 * 1024 * 1024, ge=1024, le=2**31 - 1)
    """Greatest length of a message to the service, decompressed where it is compressed."""
    max_in_flight_bytes: int = Field(default=160 * 1024 * 1024, ge=1024 * 1024, le=2**40)
    """Most memory of all calls in progress in one process, by estimate; a call beyond is refused
    with RESOURCE_EXHAUSTED."""
    max_stream_in_flight: int = Field(default=256, ge=1)
    """Most requests of one stream in progress; the next is read when one of them is done."""


class OutcomeSettings(Section):
    """Decisions kept in memory, without their prompts, so that outcomes may be reported."""

    max_open_decisions: int = Field(default=20_000, ge=1, le=100_000_000)
    """Most decisions kept, some 3 kB each; one more removes the oldest."""
    max_age_s: float = Field(default=3600.0, gt=0, le=30 * 86_400, allow_inf_nan=False)
    """Longest time that a decision is kept."""


class LogSettings(Section):
    """The service's log, JSON lines on stderr. Prompts are never logged."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is logged, on stderr."""


class Settings(BaseSettings):
    """All settings of the service."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
    )

    listen: CallAddress = "127.0.0.1:50051"
    """Address for calls: HOST:PORT or unix:/path."""
    listeners: tuple[Listener, ...] = ()
    """Further addresses for calls."""
    workers: int = Field(default=1, ge=1, le=256)
    """Processes that serve on the same port."""
    pool: Path | None = None
    """The pool file. Unset: the shipped pool."""
    shutdown_grace_s: float = Field(default=10.0, ge=0, le=3600, allow_inf_nan=False)
    """Longest time after SIGTERM for requests in progress to finish."""
    http: HttpSettings = HttpSettings()
    metrics: MetricsSettings = MetricsSettings()
    predictor: PredictorSettings = PredictorSettings()
    policy: PolicySettings = PolicySettings()
    experiment: ExperimentSettings | None = None
    """A split of the requests between what is in force and a candidate. Unset: there is none."""
    tasks: TaskSettings = TaskSettings()
    budgets: Annotated[tuple[BudgetSettings, ...], AfterValidator(distinct_names)] = ()
    """Limits on spending. Empty: no ledger is kept."""
    ledger: LedgerSettings = LedgerSettings()
    outcomes: OutcomeSettings = OutcomeSettings()
    corrections: CorrectionSettings = CorrectionSettings()
    learning: LearningSettings = LearningSettings()
    health: HealthSettings = HealthSettings()
    sessions: SessionSettings = SessionSettings()
    batching: BatchingSettings = BatchingSettings()
    limits: LimitSettings = LimitSettings()
    provider_limits: ProviderLimitSettings = ProviderLimitSettings()
    processor: ProcessorSettings = ProcessorSettings()
    proxy: ProxySettings = ProxySettings()
    log: LogSettings = LogSettings()
    security: SecuritySettings = SecuritySettings()
    overload: OverloadSettings = OverloadSettings()
    reload: ReloadSettings = ReloadSettings()
    tracing: TracingSettings = TracingSettings()
    decision_log: DecisionLogSettings = DecisionLogSettings()
