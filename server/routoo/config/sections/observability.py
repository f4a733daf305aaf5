"""Settings of traces and of the decision log."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from routoo.config.section import Section

TRACES_PATH: Final = "/v1/traces"
"""What OTLP adds to a collector's URL over HTTP; a URL that has it already is taken as it is."""
_PORTS: Final = {"grpc": 4317, "http/protobuf": 4318}


class TracingSettings(Section):
    """Traces by OpenTelemetry, sent by OTLP; needs the extra ``otel``."""

    enabled: bool = False
    """Whether traces are sent."""
    protocol: Literal["grpc", "http/protobuf"] = "grpc"
    """How spans are sent; many hosted collectors take http/protobuf alone."""
    endpoint: str | None = None
    """The collector: http://HOST:PORT or https://HOST:PORT; with http/protobuf it may have a path,
    and ``/v1/traces`` is added where it lacks. With https, the collector has to show a certificate
    that the system trusts, or ``ca``. Unset: this machine's port 4317, or 4318 with
    http/protobuf."""
    headers_file: Path | None = None
    """A file with headers for the collector, such as its key: a line ``name: value`` for each. They
    go before those of the variable ``OTEL_EXPORTER_OTLP_HEADERS``."""
    ca: Path | None = None
    """Certificates in PEM, one of which has to have signed the collector's. Unset: the system's."""
    sample_ratio: float = Field(default=0.01, ge=0, le=1, allow_inf_nan=False)
    """The share of calls that are traced. A caller that decided about its trace is followed."""

    @property
    def url(self) -> str:
        """The collector's address, set or usual."""
        if self.endpoint is not None:
            return self.endpoint
        return f"http://127.0.0.1:{_PORTS[self.protocol]}"

    @model_validator(mode="after")
    def _endpoint_is_a_collector(self) -> Self:
        parts = urlsplit(self.url)
        over_grpc = self.protocol == "grpc"
        try:
            port = parts.port
        except ValueError:
            port = -1
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or port == -1
            or "@" in parts.netloc
            or parts.query
            or parts.fragment
            or (over_grpc and (port is None or parts.path))
        ):
            wanted = "http://HOST:PORT or https://HOST:PORT of an OTLP collector"
            if parts.path and over_grpc:
                wanted += "; for a URL with a path, set protocol: http/protobuf"
            elif not over_grpc:
                wanted = "http://HOST or https://HOST of an OTLP collector, perhaps with a path"
            if "@" in parts.netloc:
                wanted += "; keys go into headers_file"
            raise ValueError(f"endpoint has to be {wanted}")
        return self

    @model_validator(mode="after")
    def _certificates_need_tls(self) -> Self:
        if self.ca is not None and not self.url.startswith("https://"):
            raise ValueError("ca is set and endpoint is not https; write https://HOST:PORT")
        return self


class DecisionLogSettings(Section):
    """The log of decisions and of the figures that they were made from, as JSON lines."""

    path: Path | None = None
    """The file. Unset: there is no log."""
    sample_ratio: float = Field(default=1.0, gt=0, le=1, allow_inf_nan=False)
    """The share of decisions that are logged; which ones follows from their ids."""
    prompts: Literal["none", "text", "features"] | bool = "none"
    """What is kept of prompts. text: all. features: a keyed hash, and what the predictor computes
    from the prompt, so that predictors can be trained without texts. ``true`` is an old form of
    text, ``false`` of none."""
    prompt_key_file: Path | None = None
    """A file with the key of these hashes, of at least 16 bytes. Unset: each start has another key,
    and equal prompts are told as equal within one run only."""
    max_file_bytes: int = Field(default=256 * 1024 * 1024, ge=4096)
    """A file that has grown to this is renamed to FILE.1, FILE.1 to FILE.2, and so on."""
    max_files: int = Field(default=8, ge=1, le=1000)
    """Most files that are kept, the growing one among them."""
    max_waiting: int = Field(default=10_000, ge=1, le=10_000_000)
    """Most decisions that wait to be written; more are dropped and counted."""

    @property
    def kept(self) -> Literal["none", "text", "features"]:
        """What is kept of prompts, whichever way the settings say it."""
        if isinstance(self.prompts, bool):
            return "text" if self.prompts else "none"
        return self.prompts

    @model_validator(mode="after")
    def _prompts_go_somewhere(self) -> Self:
        if self.kept != "none" and self.path is None:
            raise ValueError("prompts is set and path is not; name the file with decision_log.path")
        if self.prompt_key_file is not None and self.kept != "features":
            raise ValueError("prompt_key_file is for prompts: features; set this, or leave it out")
        return self
