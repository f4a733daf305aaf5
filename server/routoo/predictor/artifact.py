"""The predictor artifact: one version folder with a graph, a tokenizer and a manifest.

Every file is checked against its sha256 in the manifest before it is used, so that an incomplete or
mixed-up folder ends the start with an error of one line.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zipfile import BadZipFile

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from routoo.config.yaml_files import describe_validation_error
from routoo.errors import ArtifactError

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

MANIFEST = "manifest.json"
MODEL = "model.onnx"
TOKENIZER = "tokenizer.json"
INPUT = "input_ids"
"""The graph's only input."""
STATIC = "static"
"""The backbone that runs no transformer."""
REQUIRED_OUTPUTS = frozenset({"scores", "output_tokens"})
UNCERTAINTY_OUTPUTS = frozenset({"score_std", "ood"})
"""Optional outputs about the certainty of the figures: an artifact has both or neither."""
DEFAULT_ROWS_STEP = 4
SCORE_SCALE = 1e-4
"""Unit of the calibration sample's stored scores."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TensorSpec(_Part):
    """An input or output of the graph; -1 in ``shape`` is any size."""

    name: str
    dtype: Literal["int64", "float32"]
    shape: tuple[int, ...]


class SampleSpec(_Part):
    """The file of the calibration sample."""

    file: str
    rows: int = Field(ge=1)
    split: str


class CalibrationSpec(_Part):
    """The calibration of the scores."""

    method: str
    in_graph: Literal[True]
    sample: SampleSpec


class PriorSpec(_Part):
    """Each model's mean score and output length: the answer when nothing can be predicted."""

    scores: tuple[float, ...]
    output_tokens: tuple[float, ...]


class FileSpec(_Part):
    """A file of the artifact."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Manifest(_Part):
    """``manifest.json``. Other keys are refused, as they belong to another format version."""

    format_version: Literal[1]
    predictor_version: str = Field(min_length=1)
    backbone: str
    models: tuple[str, ...] = Field(min_length=1)
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_tokens: int = Field(ge=8)
    pad_token_id: int = Field(ge=0)
    add_special_tokens: bool
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    rows_step: int = Field(default=DEFAULT_ROWS_STEP, ge=1)
    """Every inference gets a multiple of so many rows; with other numbers of rows, the figures of a
    row depend on that number. 1 for graphs that ensure this themselves."""
    calibration: CalibrationSpec
    training: dict[str, Any]
    output_tokens_source: dict[str, Any]
    prior: PriorSpec
    metrics: dict[str, Any]
    parity: dict[str, float]
    files: dict[str, FileSpec]

    @property
    def output_names(self) -> frozenset[str]:
        """Names of the graph's outputs."""
        return frozenset(tensor.name for tensor in self.outputs)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        m = len(self.models)
        if len(set(self.models)) != m:
            raise ValueError("a model stands twice")
        if {tensor.name for tensor in self.inputs} != {INPUT}:
            raise ValueError(f"inputs have to be exactly {INPUT}")
        if self.output_names not in (REQUIRED_OUTPUTS, REQUIRED_OUTPUTS | UNCERTAINTY_OUTPUTS):
            raise ValueError(
                "outputs have to be scores and output_tokens, with score_std and ood or without"
            )
        if any(tensor.shape[-1] != m for tensor in self.outputs if tensor.name != "ood"):
            raise ValueError(f"outputs have to have {m} columns, one per model")
        if any(len(tensor.shape) != 1 for tensor in self.outputs if tensor.name == "ood"):
            raise ValueError("ood has to have one figure per prompt")
        if len(self.prior.scores) != m or len(self.prior.output_tokens) != m:
            raise ValueError(f"prior has to have {m} entries, one per model")
        missing = {MODEL, TOKENIZER, self.calibration.sample.file} - set(self.files)
        if missing:
            raise ValueError(f"files lacks {min(missing)}")
        return self


@dataclass(frozen=True, slots=True)
class CalibrationSample:
    """Predictions on prompts that the predictor was not trained on.

    Attributes:
        scores: float64 [r, m], in [0, 1].
        output_tokens: float64 [r, m], at least 0.
        input_tokens: float64 [r], at least 0.
    """

    scores: NDArray[np.float64]
    output_tokens: NDArray[np.float64]
    input_tokens: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Artifact:
    """A version folder whose files were checked.

    Attributes:
        folder: the folder.
        manifest: the content of its ``manifest.json``.
    """

    folder: Path
    manifest: Manifest

    @property
    def model_path(self) -> Path:
        """The ONNX graph."""
        return self.folder / MODEL

    @property
    def tokenizer_path(self) -> Path:
        """The tokenizer, in Hugging Face's ``tokenizers`` format."""
        return self.folder / TOKENIZER

    def calibration_sample(self) -> CalibrationSample:
        """Reads the calibration sample.

        Raises:
            ArtifactError: the file is not the one that the manifest describes.
        """
        spec = self.manifest.calibration.sample
        shape = (spec.rows, len(self.manifest.models))
        try:
            with (
                (self.folder / spec.file).open("rb") as file,
                np.load(file, allow_pickle=False) as arrays,
            ):
                scores = arrays["scores"].astype(np.float64) * SCORE_SCALE
                output_tokens = arrays["output_tokens"].astype(np.float64)
                input_tokens = arrays["input_tokens"].astype(np.float64)
        except (OSError, EOFError, ValueError, TypeError, KeyError, BadZipFile) as error:
            raise ArtifactError(f"{self.folder / spec.file}: not a sample: {error}") from None
        if (scores.shape, output_tokens.shape, input_tokens.shape) != (shape, shape, shape[:1]):
            raise ArtifactError(
                f"{self.folder / spec.file}: scores {scores.shape}, the manifest says {shape}"
            )
        for name, figures, most in (
            ("scores", scores, 1.0),
            ("output_tokens", output_tokens, np.finfo(np.float64).max),
            ("input_tokens", input_tokens, np.finfo(np.float64).max),
        ):
            if not ((figures >= 0.0) & (figures <= most)).all():
                raise ArtifactError(
                    f"{self.folder / spec.file}: {name} holds figures out of range; export the"
                    " predictor again"
                )
        return CalibrationSample(scores, output_tokens, input_tokens)


def load_artifact(folder: Path) -> Artifact:
    """Reads and checks a version folder.

    Raises:
        ArtifactError: a file is missing, differs from the manifest, or the manifest is wrong.
    """
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ArtifactError(
            f"{path}: cannot be read ({error.strerror}); predictor.artifact has to name the version"
            " folder of a predictor"
        ) from None
    except ValidationError as error:
        raise ArtifactError(describe_validation_error(str(path), error)) from None
    for name, spec in manifest.files.items():
        _check_file(folder / name, spec)
    return Artifact(folder=folder, manifest=manifest)


def _check_file(path: Path, spec: FileSpec) -> None:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"{path}: cannot be read ({error.strerror}); copy the whole version folder again"
        ) from None
    found = hashlib.sha256(content).hexdigest()
    if len(content) != spec.bytes or found != spec.sha256:
        raise ArtifactError(
            f"{path}: is not the file of the manifest (sha256 {found[:12]}..., expected"
            f" {spec.sha256[:12]}...); copy the whole version folder again"
        )


def find_artifact(path: Path | None) -> Path:
    """Returns the version folder that a setting names.

    Args:
        path: a version folder, or a folder of versions, of which the newest is returned; None: the
            predictor that comes with the service.

    Raises:
        ArtifactError: no predictor comes with the service.
    """
    if path is None:
        return shipped_artifact()
    if (path / MANIFEST).is_file():
        return path
    return _newest_version(path) or path


def shipped_artifact() -> Path:
    """Returns the newest version folder of the predictor that comes with the service.

    Raises:
        ArtifactError: no predictor is installed.
    """
    # A checkout keeps it at its root, an installed wheel under the environment's share folder.
    roots = (Path(__file__).resolve().parents[3], Path(sys.prefix) / "share" / "routoo")
    for root in roots:
        newest = _newest_version(root / "model_repository" / "predictor")
        if newest is not None:
            return newest
    raise ArtifactError("no predictor is installed; set predictor.artifact to a version folder")


def _newest_version(folder: Path) -> Path | None:
    versions = [
        version
        for version in folder.glob("*")
        if version.name.isdigit() and (version / MANIFEST).is_file()
    ]
    return max(versions, key=lambda version: int(version.name), default=None)
