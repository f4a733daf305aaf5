"""Settings: one YAML file, environment overrides, frozen and typed; unknown keys are refused.

``load_settings`` is the only reader. A setting is looked up in this order: ``overrides``
(command-line flags), environment (``ROUTOO_POLICY__MAX_MEAN_COST_USD=0.002``), the YAML file, the
default below.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import yaml
from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from routoo.budget_settings import BudgetSettings, LedgerSettings, distinct_names
from routoo.errors import ConfigError
from routoo.observability_settings import DecisionLogSettings, TracingSettings
from routoo.operations_settings import OverloadSettings, ReloadSettings
from routoo.policy_settings import PolicySettings
from routoo.predictor_settings import PredictorSettings
from routoo.processor_settings import ProcessorSettings
from routoo.section import Section
from routoo.security_settings import (
    CallAddress,
    Listener,
    SecuritySettings,
    TcpAddress,
    refuse_exposure,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

ENV_PREFIX = "ROUTOO_"
# Variables with the prefix that are not settings of the service.
FOREIGN_ENV = frozenset(
    {
        *("ROUTOO_DATA", "ROUTOO_ADDRESS"),
        *("ROUTOO_TOKEN_FILE", "ROUTOO_CA", "ROUTOO_CERT", "ROUTOO_KEY"),
    }
)
# Settings that name files: in the YAML file, they are relative to its folder.
FILE_SETTINGS = (
    "decision_log.path",
    "ledger.journal",
    "policy.cascade",
    "policy.guarantee.labels",
    "pool",
    "predictor.artifact",
    "security.tls.certificate",
    "security.tls.client_ca",
    "security.tls.key",
    "security.tokens",
)


class MetricsSettings(Section):
    """Where Prometheus scrapes."""

    enabled: bool = True
    listen: TcpAddress = "127.0.0.1:9095"


class BatchingSettings(Section):
    """How requests are gathered while the predictor is busy."""

    max_batch: int = Field(default=64, ge=1, le=4096)
    """Most prompts in one inference."""
    max_queue: int = Field(default=4096, ge=1, le=1_000_000)
    """Most requests that wait; one more is refused with RESOURCE_EXHAUSTED."""
    max_joint: int = Field(default=16, ge=1, le=10_000)
    """Most RouteBatch calls in progress; one more is refused. Each holds its prompts in memory."""


class LimitSettings(Section):
    """What a request may be."""

    max_prompt_chars: int = Field(default=1_000_000, ge=1, le=100_000_000)
    max_batch_prompts: int = Field(default=100_000, ge=1, le=1_000_000)
    max_message_bytes: int = Field(default=128 * 1024 * 1024, ge=1024, le=2**31 - 1)
    max_stream_in_flight: int = Field(default=256, ge=1)
    """Requests of one stream that are decided at once; the next is read when one is done."""


class OutcomeSettings(Section):
    """What may still be reported: decisions are kept in memory, without their prompts."""

    max_open_decisions: int = Field(default=20_000, ge=1, le=100_000_000)
    """Most decisions kept, some 3 kB each; one more pushes the oldest out."""
    max_age_s: float = Field(default=3600.0, gt=0, le=30 * 86_400, allow_inf_nan=False)
    """How long a decision is kept."""


class LogSettings(Section):
    """What is logged, as JSON lines on stderr. Prompts never are."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(BaseSettings):
    """All settings of the service."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
    )

    listen: CallAddress = "127.0.0.1:50051"
    """Where calls are taken: HOST:PORT or unix:/path."""
    listeners: tuple[Listener, ...] = ()
    """Further addresses."""
    workers: int = Field(default=1, ge=1, le=256)
    """Processes that serve on the one port."""
    pool: Path | None = None
    """The pool file. Unset: the shipped pool."""
    shutdown_grace_s: float = Field(default=10.0, ge=0, le=3600, allow_inf_nan=False)
    """After SIGTERM, how long requests in flight may take to finish."""
    metrics: MetricsSettings = MetricsSettings()
    predictor: PredictorSettings = PredictorSettings()
    policy: PolicySettings = PolicySettings()
    budgets: Annotated[tuple[BudgetSettings, ...], AfterValidator(distinct_names)] = ()
    """What may be spent. None: no ledger is kept."""
    ledger: LedgerSettings = LedgerSettings()
    outcomes: OutcomeSettings = OutcomeSettings()
    batching: BatchingSettings = BatchingSettings()
    limits: LimitSettings = LimitSettings()
    processor: ProcessorSettings = ProcessorSettings()
    log: LogSettings = LogSettings()
    security: SecuritySettings = SecuritySettings()
    overload: OverloadSettings = OverloadSettings()
    reload: ReloadSettings = ReloadSettings()
    tracing: TracingSettings = TracingSettings()
    decision_log: DecisionLogSettings = DecisionLogSettings()


def load_settings(path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Reads the settings.

    Args:
        path: the YAML file; None: defaults and environment only. Relative paths in it are
            relative to its folder.
        overrides: values that win over file and environment, nested like the settings.

    Raises:
        ConfigError: unreadable or malformed file, unknown key, a value out of range, or an address
            that is open to other machines without protection; one line.
    """
    values = _read_yaml(path) if path is not None else {}
    _refuse_unknown_environment(os.environ)

    class FileSettings(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (init_settings, env_settings, InitSettingsSource(settings_cls, values))

    try:
        settings = FileSettings(**(overrides or {}))
    except ValidationError as error:
        raise ConfigError(describe_validation_error(str(path or "settings"), error)) from None
    except SettingsError as error:
        raise ConfigError(
            f"environment: {error}; a whole section is a JSON object, a single setting is"
            f" {ENV_PREFIX}SECTION__SETTING"
        ) from None
    refuse_exposure(settings)
    return settings


def _read_yaml(path: Path) -> dict[str, Any]:
    values = read_yaml_mapping(path)
    folder = path.resolve().parent
    for setting in FILE_SETTINGS:
        *sections, key = setting.split(".")
        section: Any = values
        for name in sections:
            section = section.get(name) if isinstance(section, dict) else None
        # Whatever is not a file's name is left for the settings to refuse.
        if isinstance(section, dict) and isinstance(section.get(key), str):
            section[key] = folder / section[key]
    return values


def read_yaml_mapping(path: Path) -> dict[str, Any]:
    """Reads a YAML file that holds one mapping; an empty file is an empty mapping.

    Raises:
        ConfigError: unreadable, not YAML, a key twice, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
    try:
        values = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that there is not
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise ConfigError(f"{path}:{where} malformed YAML: {problem}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: has to be a mapping of settings, is a {type(values).__name__}")
    return values


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML lets the last of two equal keys win silently; here the second is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(
                    problem=f"key {key!r} is not text", problem_mark=key_node.start_mark
                )
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key!r} stands twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _refuse_unknown_environment(environment: Mapping[str, str]) -> None:
    # pydantic-settings ignores variables it does not know: a misspelt one would do nothing.
    for name in environment:
        upper = name.upper()
        if not upper.startswith(ENV_PREFIX) or upper in FOREIGN_ENV:
            continue
        parts = upper.removeprefix(ENV_PREFIX).lower().split("__")
        fields: Any = Settings.model_fields
        for part in parts:
            if part not in fields:
                raise ConfigError(
                    f"environment variable {name}: no such setting; known here: "
                    + ", ".join(sorted(fields))
                )
            fields = _settings_within(fields[part].annotation)


def _settings_within(annotation: Any) -> Any:
    """The settings of a section, which may also be left out (``Section | None``)."""
    for one in (annotation, *get_args(annotation)):
        if hasattr(one, "model_fields"):
            return one.model_fields
    return {}


def describe_validation_error(source: str, error: ValidationError) -> str:
    """One line for the first thing that pydantic refused: where, what, and what was given."""
    first = error.errors()[0]
    location = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "unknown key; remove it or correct its spelling"
    given = first.get("input")
    shown = f" (given: {given!r})" if isinstance(given, str | int | float) else ""
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{source}: {location}: {message}{shown}{more}"
