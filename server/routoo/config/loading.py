"""UsageReading of the settings: one YAML file, environment overrides; unknown keys are refused.

``load_settings`` is the only reader. A setting is looked up in this order: ``overrides``
(command-line flags), environment (``ROUTOO_POLICY__MAX_MEAN_COST_USD=0.002``), the YAML file, the
default of the section.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsError,
)

from routoo.config.checks import refuse_exposure
from routoo.config.settings import ENV_PREFIX, Settings
from routoo.config.yaml_files import describe_validation_error, read_yaml_mapping
from routoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Variables with the prefix that are not settings of the service.
FOREIGN_ENV = frozenset(
    {
        *("ROUTOO_DATA", "ROUTOO_ADDRESS"),
        *("ROUTOO_TOKEN_FILE", "ROUTOO_CA", "ROUTOO_CERT", "ROUTOO_KEY"),
    }
)
# Variables that Kubernetes sets in a pod for each service of its namespace, unless the pod has
# enableServiceLinks: false. Those of a service called routoo look like settings; their values show
# that they are none.
_SERVICE_LINK = re.compile(
    r"""\w+_SERVICE_HOST=[0-9a-f.:]+ | \w+_SERVICE_PORT(_\w+)?=[0-9]+
    | \w+_PORT(_[0-9]+_(TCP|UDP|SCTP))?=(tcp|udp|sctp)://.+
    | \w+_PORT_[0-9]+_(TCP|UDP|SCTP)_(PROTO|PORT|ADDR)=[0-9a-z.:]+""",
    re.VERBOSE | re.ASCII | re.IGNORECASE,
)
# Settings that name files: in the YAML file, they are relative to its folder.
FILE_SETTINGS = (
    "corrections.path",
    "decision_log.path",
    "decision_log.prompt_key_file",
    "learning.path",
    "ledger.journal",
    "policy.cascade",
    "policy.guarantee.labels",
    "pool",
    "predictor.artifact",
    "proxy.upstreams.*.api_key_file",  # of every entry
    "proxy.upstreams.*.ca",
    "security.tls.certificate",
    "security.tls.client_ca",
    "security.tls.key",
    "security.tokens",
    "tracing.ca",
    "tracing.headers_file",
)


def load_settings(
    path: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    finished: bool = False,
) -> Settings:
    """Reads the settings.

    Args:
        path: the YAML file; None: defaults and environment only. Relative paths in it are
            relative to its folder.
        overrides: values that win over file and environment, nested like the settings.
        finished: refuses a file that may be half written.

    Raises:
        ConfigError: unreadable or malformed file, unknown key, a value out of range, or an address
            that is open to other machines without protection; one line.
    """
    values = _read_yaml(path, finished=finished) if path is not None else {}
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


def _read_yaml(path: Path, *, finished: bool) -> dict[str, Any]:
    values = read_yaml_mapping(path, finished=finished)
    folder = path.resolve().parent
    for setting in FILE_SETTINGS:
        *sections, key = setting.split(".")
        found: list[Any] = [values]
        for name in sections:
            within = [one for one in found if isinstance(one, dict)]
            found = [
                inner
                for one in within
                for inner in (one.values() if name == "*" else [one.get(name)])
            ]
        for section in found:
            # A value that is no text cannot be a file name; the settings refuse it later.
            if isinstance(section, dict) and isinstance(section.get(key), str):
                section[key] = folder / section[key]
    return values


def _refuse_unknown_environment(environment: Mapping[str, str]) -> None:
    # pydantic-settings ignores variables that it does not know, so a misspelt one has no effect.
    for name, value in environment.items():
        upper = name.upper()
        if not upper.startswith(ENV_PREFIX) or upper in FOREIGN_ENV:
            continue
        if _SERVICE_LINK.fullmatch(f"{upper}={value}"):
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
    """Returns the settings of a section, which may also be optional (``Section | None``)."""
    for one in (annotation, *get_args(annotation)):
        if hasattr(one, "model_fields"):
            return one.model_fields
    return {}


@dataclass(frozen=True, slots=True)
class SettingsSource:
    """A settings file and the values that override it, to be read again at each reload.

    Attributes:
        path: the YAML file; None: defaults and environment only.
        overrides: values that win over file and environment, nested like the settings.
    """

    path: Path | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def read(self) -> Settings:
        """Reads the settings with ``load_settings``.

        Raises:
            ConfigError: the settings are wrong; one line.
        """
        return load_settings(self.path, self.overrides)

    def read_finished(self) -> Settings:
        """Reads the settings, unless their file looks half written.

        Raises:
            ConfigError: the settings are wrong, or may be half written; one line.
        """
        return load_settings(self.path, self.overrides, finished=True)
