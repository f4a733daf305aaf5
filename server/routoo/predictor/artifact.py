"""The predictor artifact: one version folder with a graph, a tokenizer and a manifest.

Every file is checked against its sha256 in the manifest before it is used, so that an incomplete or
mixed-up folder ends the start with an error of one line.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zipfile import BadZipFile

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from routoo.config.yaml_files import describe_validation_error
from routoo.errors import ArtifactError, PoolError
from routoo.predictor.model_table import TABLE, ModelTable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray

MANIFEST = "manifest.json"
MODEL = "model.onnx"
TOKENIZER = "tokenizer.json"
INPUT = "input_ids"
"""The graph's input of token ids, or of rows of n-grams."""
TABLE_INPUTS = frozenset({INPUT, "weights", "told", "task_rows", "models"})
"""Inputs of a graph that is given the models' rows: the prompts' rows of n-grams and their weights
by region, what is added to the tasks' logits, and the rows of tasks and models."""
TABLE_OUTPUTS = ("scores", "output_tokens", "score_std", "ood", "tasks")
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
    """``manifest.json``. Other keys are refused, as they belong to another format version.

    In format 1 the graph's columns are ``models``. In format 2 the graph is given the models' rows,
    which are in ``models.npz``, and the manifest names none.
    """

    format_version: Literal[1, 2]
    predictor_version: str = Field(min_length=1)
    backbone: str
    models: tuple[str, ...] = ()
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
    prior: PriorSpec | None = None
    metrics: dict[str, Any]
    parity: dict[str, float]
    files: dict[str, FileSpec]

    @property
    def output_names(self) -> frozenset[str]:
        """Names of the graph's outputs."""
        return frozenset(tensor.name for tensor in self.outputs)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.format_version == 1:
            self._check_columns()
        else:
            self._check_table_inputs()
        missing = {MODEL, TOKENIZER, self.calibration.sample.file} - set(self.files)
        if missing:
            raise ValueError(f"files lacks {min(missing)}")
        return self

    def _check_columns(self) -> None:
        m = len(self.models)
        if not m:
            raise ValueError("models has to name at least one model")
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
        if self.prior is None:
            raise ValueError("prior is missing")
        if len(self.prior.scores) != m or len(self.prior.output_tokens) != m:
            raise ValueError(f"prior has to have {m} entries, one per model")

    def _check_table_inputs(self) -> None:
        if self.models or self.prior is not None:
            raise ValueError(f"models and prior are in {TABLE} in format 2")
        if {tensor.name for tensor in self.inputs} != TABLE_INPUTS:
            raise ValueError(f"inputs have to be exactly {', '.join(sorted(TABLE_INPUTS))}")
        if self.output_names != set(TABLE_OUTPUTS):
            raise ValueError(f"outputs have to be exactly {', '.join(TABLE_OUTPUTS)}")


@dataclass(frozen=True, slots=True)
class CalibrationSample:
    """Predictions on prompts that the predictor was not trained on.

    Attributes:
        scores: float64 [r, m], in [0, 1].
        output_tokens: float64 [r, m], at least 0.
        input_tokens: float64 [r], at least 0.
        evidence: float64 [m], graded prompts behind a model's scores; None: the artifact does not
            tell it.
        averages: float64 [m], published averages behind them; None: the artifact does not tell it.
    """

    scores: NDArray[np.float64]
    output_tokens: NDArray[np.float64]
    input_tokens: NDArray[np.float64]
    evidence: NDArray[np.float64] | None = None
    averages: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class Prior:
    """Average figures of M models, for when nothing can be predicted.

    Attributes:
        scores: float32 [M], in [0, 1].
        output_tokens: float32 [M], at least 0.
    """

    scores: NDArray[np.float32]
    output_tokens: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Artifact:
    """A version folder whose files were checked.

    Attributes:
        folder: the folder.
        manifest: the content of its ``manifest.json``.
        table: what is known of each model; None in format 1, where the graph knows it.
    """

    folder: Path
    manifest: Manifest
    table: ModelTable | None = None

    @property
    def model_path(self) -> Path:
        """The ONNX graph."""
        return self.folder / MODEL

    @property
    def tokenizer_path(self) -> Path:
        """The tokenizer, in Hugging Face's ``tokenizers`` format, or the vocabulary of n-grams."""
        return self.folder / TOKENIZER

    @property
    def models(self) -> tuple[str, ...]:
        """The M models that can be predicted."""
        return self.manifest.models if self.table is None else self.table.names

    @property
    def version(self) -> str:
        """The version of the graph and of all models' rows."""
        return self.version_for(self.models)

    def version_for(self, models: Sequence[str]) -> str:
        """Returns the version of the graph and of m models' rows, which tells predictions apart.

        Two artifacts that predict the same of these models have the same version, whatever else
        their tables hold; so what was calibrated for a pool outlives a new row.

        Raises:
            PoolError: the artifact does not know a model; names it.
        """
        version = self.manifest.predictor_version
        if self.table is None:
            return version
        read = self.manifest.files[TOKENIZER].sha256
        rows = self.table.digest(self.columns_of(models))
        return f"{version}.{hashlib.sha256(f'{read}{rows}'.encode()).hexdigest()[:6]}"

    def knows(self, model: str) -> bool:
        """Returns whether a model can be predicted."""
        if self.table is None:
            return model in self.models
        return self.table.row_of(model) is not None

    def columns_of(self, models: Sequence[str]) -> NDArray[np.intp]:
        """Returns the positions of m models among the artifact's, [m].

        Raises:
            PoolError: the artifact does not know a model; names it.
        """
        if self.table is None:
            index = {name: column for column, name in enumerate(self.models)}
            found = [index.get(name) for name in models]
        else:
            found = [self.table.row_of(name) for name in models]
        if None in found:
            raise PoolError(
                f"pool model {models[found.index(None)]!r} is not among the predictor's"
                f" {len(self.models)} models; remove it from the pool, set its predictor_name, or"
                " onboard it"
            )
        return np.array(found, np.intp)

    def prior(self) -> Prior:
        """Returns each model's average figures: over the training data, or over the sample.

        Raises:
            ArtifactError: the calibration sample is not the one that the manifest describes.
        """
        stored = self.manifest.prior
        if stored is not None:
            return Prior(
                np.asarray(stored.scores, np.float32), np.asarray(stored.output_tokens, np.float32)
            )
        sample = self.calibration_sample()
        return Prior(
            sample.scores.mean(axis=0).astype(np.float32),
            sample.output_tokens.mean(axis=0).astype(np.float32),
        )

    def calibration_sample(self) -> CalibrationSample:
        """Reads the calibration sample.

        Raises:
            ArtifactError: the file is not the one that the manifest describes.
        """
        spec = self.manifest.calibration.sample
        path = self.folder / spec.file
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                input_tokens = arrays["input_tokens"].astype(np.float64)
                if self.table is None:
                    scores = arrays["scores"].astype(np.float64) * SCORE_SCALE
                    output_tokens = arrays["output_tokens"].astype(np.float64)
                else:
                    scores, output_tokens = self.table.answers(arrays["prompts"])
        except (OSError, EOFError, ValueError, TypeError, KeyError, BadZipFile) as error:
            raise ArtifactError(f"{path}: not a sample: {error}") from None
        shape = (spec.rows, len(self.models))
        if (scores.shape, output_tokens.shape, input_tokens.shape) != (shape, shape, shape[:1]):
            raise ArtifactError(f"{path}: scores {scores.shape}, the manifest says {shape}")
        for name, figures, most in (
            ("scores", scores, 1.0),
            ("output_tokens", output_tokens, np.finfo(np.float64).max),
            ("input_tokens", input_tokens, np.finfo(np.float64).max),
        ):
            if not ((figures >= 0.0) & (figures <= most)).all():
                raise ArtifactError(
                    f"{path}: {name} holds figures out of range; export the predictor again"
                )
        if self.table is None:
            return CalibrationSample(scores, output_tokens, input_tokens)
        evidence, averages = (
            values.sum(axis=1, dtype=np.float64)
            for values in (self.table.evidence, self.table.benchmarks)
        )
        return CalibrationSample(scores, output_tokens, input_tokens, evidence, averages)


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
            f"{path}: cannot be read ({error.strerror}); name the version folder of a predictor"
            " (predictor.artifact, or --artifact of a command)"
        ) from None
    except ValidationError as error:
        raise ArtifactError(describe_validation_error(str(path), error)) from None
    for name, spec in manifest.files.items():
        _check_file(folder / name, spec)
    table = None
    if manifest.format_version != 1:
        table = ModelTable.load(folder / TABLE, manifest.files[MODEL].sha256)
    return Artifact(folder=folder, manifest=manifest, table=table)


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
    # A checkout keeps it at its root, an installed wheel inside the package.
    modules = Path(__file__).resolve().parents
    roots = (modules[3], modules[1])
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
