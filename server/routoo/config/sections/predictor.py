"""Settings of the predictor: its artifact, its backend, and the fallbacks of that."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator, model_validator

from routoo.config.section import Section

if TYPE_CHECKING:
    from typing import Self

Fallback = Literal["onnx", "prior"]


class TritonSettings(Section):
    """The Triton server, where ``predictor.backend`` is ``triton``."""

    url: str = "127.0.0.1:8001"
    """HOST:PORT of its gRPC service."""
    model: str = Field(default="predictor", min_length=1)
    """The model's name on the server."""
    version: int | None = Field(default=None, ge=1)
    """The model's version on the server. Unset: the number of the artifact's folder, and where that
    has none the newest version that is ready."""
    timeout_ms: float = Field(default=200.0, gt=0, le=600_000, allow_inf_nan=False)
    """Longest wait for one inference; then a fallback answers. Callers' deadlines shorten it."""
    tolerance: float = Field(default=0.02, gt=0, le=1, allow_inf_nan=False)
    """Most that its figures may differ from those in process: scores in absolute terms, a length l
    relative to 1 + l."""
    control: Literal["none", "explicit"] = "none"
    """``explicit``: a reload makes the server load versions (its --model-control-mode explicit)."""
    failures: int = Field(default=3, ge=1, le=1000)
    """After so many failures in a row, or one timeout, it is not asked until a probe succeeds."""
    first_probe_ms: float = Field(default=250.0, gt=0, le=3_600_000, allow_inf_nan=False)
    """Time until the first probe; jittered, and doubled by each probe that fails."""
    longest_probe_ms: float = Field(default=5000.0, gt=0, le=3_600_000, allow_inf_nan=False)
    """Longest time between probes."""

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        host, separator, port = value.rpartition(":")
        if not separator or not host or "/" in host or not port.isdigit():
            raise ValueError("has to be HOST:PORT of Triton's gRPC, e.g. 127.0.0.1:8001")
        return value


class PredictorSettings(Section):
    """The artifact that predicts, and the backend that runs it."""

    backend: Literal["onnx", "triton"] = "onnx"
    """``onnx``: in process. ``triton``: on a server, with fallbacks that answer when it fails."""
    artifact: Path | None = None
    """Version folder of the artifact, or the folder that holds its versions; then the newest is
    used. Unset: the newest version shipped with the service."""
    provider: Literal["auto", "cpu", "cuda"] = "auto"
    """onnxruntime's execution provider. ``auto``: CUDA where it is installed and works."""
    intra_op_threads: int = Field(default=1, ge=1, le=256)
    """Threads of one inference. More than one pays only for encoders."""
    fallbacks: tuple[Fallback, ...] | None = None
    """Asked in turn when the backend fails: ``onnx``, in process; ``prior``, each model's averages.
    Unset: both behind ``triton``, none behind ``onnx``."""
    max_shift: float = Field(default=0.2, gt=0, le=1, allow_inf_nan=False)
    """A reload is refused when the new version's scores differ by more than this on average."""
    triton: TritonSettings = TritonSettings()

    @property
    def fallbacks_in_force(self) -> tuple[Fallback, ...]:
        """Returns the fallbacks as set, or the backend's default ones."""
        if self.fallbacks is not None:
            return self.fallbacks
        return ("onnx", "prior") if self.backend == "triton" else ()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.backend == "triton" and self.fallbacks == ():
            raise ValueError("backend triton needs fallbacks, [onnx, prior] or one of them")
        if self.backend == "onnx" and "onnx" in (self.fallbacks or ()):
            raise ValueError("fallbacks of backend onnx can only be [prior] or []")
        return self
