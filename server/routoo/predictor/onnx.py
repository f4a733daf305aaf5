"""The predictor in process, by onnxruntime."""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnxruntime as ort

from routoo.errors import ArtifactError, ConfigError, PredictorError
from routoo.predictor.artifact import STATIC
from routoo.predictor.base import Prediction
from routoo.predictor.prompts import PromptEncoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from routoo.predictor.artifact import Artifact

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
WARM_UP_ROWS = (1, 8)
OUTPUTS = ("scores", "output_tokens", "score_std", "ood")


class OnnxPredictor:
    """Runs an artifact's graph with onnxruntime: CUDA where it is present, else CPU."""

    def __init__(
        self,
        artifact: Artifact,
        *,
        provider: Literal["auto", "cpu", "cuda"] = "auto",
        intra_op_threads: int = 1,
    ) -> None:
        """Loads the graph.

        Raises:
            ArtifactError: onnxruntime cannot load it, or it is not the graph of the manifest.
            ConfigError: CUDA is asked for and not there.
        """
        manifest = artifact.manifest
        self._model_path = artifact.model_path
        self._session = _open_session(artifact, provider, intra_op_threads)
        _check_signature(artifact, self._session)
        self._encoder = PromptEncoder(
            artifact.tokenizer_path,
            max_tokens=manifest.max_tokens,
            pad_token_id=manifest.pad_token_id,
            add_special_tokens=manifest.add_special_tokens,
            fine_buckets=manifest.backbone != STATIC,
        )
        self._outputs = tuple(name for name in OUTPUTS if name in manifest.output_names)
        # The library multiplies a lone row, and the last rows of a matrix, in another order than
        # the others: a prompt's last bits, and with them a rounded score now and then, would
        # depend on the batch that it came in.
        self._rows_step = manifest.rows_step
        self.models = manifest.models
        self.version = manifest.predictor_version
        self.backend = "onnx-cuda" if CUDA in self._session.get_providers() else "onnx-cpu"
        self.max_tokens = manifest.max_tokens

    def predict(self, prompts: Sequence[str]) -> Prediction:
        """Predicts n >= 1 prompts, see ``Predictor.predict``."""
        started = perf_counter_ns()
        encoded = self._encoder.encode(prompts)
        tokenized = perf_counter_ns()
        n = len(prompts)
        figures = {name: np.empty(self._shape(name, n), np.float32) for name in self._outputs}
        for bucket in self._encoder.buckets(encoded.ids):
            for name, found in zip(self._outputs, self._infer(bucket.input_ids), strict=True):
                figures[name][bucket.rows] = found
        return Prediction(
            scores=figures["scores"],
            output_tokens=figures["output_tokens"],
            input_tokens=encoded.input_tokens,
            truncated=encoded.truncated,
            tokenize_ns=tokenized - started,
            predict_ns=perf_counter_ns() - tokenized,
            score_std=figures.get("score_std"),
            ood=figures.get("ood"),
        )

    def warm_up(self) -> None:
        """Tokenises, and runs every bucket length once with one row and with several.

        Raises:
            ArtifactError: the graph does not run, or not to the shapes of the manifest.
        """
        try:
            self.predict(["warm up"])
            for length in self._encoder.bucket_lengths:
                for rows in WARM_UP_ROWS:
                    self._infer(np.ones((rows, int(length)), np.int64))
        except PredictorError as error:
            raise ArtifactError(f"{self._model_path}: does not run: {error}") from None

    def _shape(self, output: str, rows: int) -> tuple[int, ...]:
        return (rows,) if output == "ood" else (rows, len(self.models))

    def _infer(self, input_ids: NDArray[np.int64]) -> list[Any]:
        """The outputs for padded ids [n, length], n rows each, in the order of ``_outputs``."""
        n, length = input_ids.shape
        rows = n + -n % self._rows_step
        if rows != n:
            input_ids = np.resize(input_ids, (rows, length))
        try:
            found = self._session.run(self._outputs, {"input_ids": input_ids})
        except Exception as error:
            raise PredictorError(f"inference failed: {error}") from error
        for name, values in zip(self._outputs, found, strict=True):
            if values.shape != self._shape(name, rows):
                raise PredictorError(
                    f"the predictor answered {name} {values.shape}, expected"
                    f" {self._shape(name, rows)}"
                )
        return [values[:n] for values in found]


def _open_session(
    artifact: Artifact, provider: Literal["auto", "cpu", "cuda"], threads: int
) -> ort.InferenceSession:
    has_cuda = CUDA in ort.get_available_providers()
    if provider == "cuda" and not has_cuda:
        raise ConfigError(
            "predictor.provider is cuda, but onnxruntime has no CUDA provider here; install the"
            " gpu extra or set it to auto"
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Idle threads that spin would take the cores that serve.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = [CUDA, CPU] if has_cuda and provider != "cpu" else [CPU]
    try:
        return ort.InferenceSession(str(artifact.model_path), options, providers=providers)
    except Exception as error:  # noqa: BLE001 - the library's errors share no base
        reason = str(error).splitlines()[0]
        raise ArtifactError(f"{artifact.model_path}: cannot be loaded: {reason}") from None


def _check_signature(artifact: Artifact, session: ort.InferenceSession) -> None:
    manifest = artifact.manifest
    for kind, specs, found in (
        ("inputs", manifest.inputs, session.get_inputs()),
        ("outputs", manifest.outputs, session.get_outputs()),
    ):
        names = {tensor.name for tensor in found}
        if names != {spec.name for spec in specs}:
            raise ArtifactError(
                f"{artifact.model_path}: its {kind} {sorted(names)} are not the manifest's"
            )
    for tensor in session.get_outputs():
        if tensor.name == "ood":
            continue
        columns = tensor.shape[-1]
        if isinstance(columns, int) and columns != len(manifest.models):
            raise ArtifactError(
                f"{artifact.model_path}: {tensor.name} has {columns} columns, the manifest names"
                f" {len(manifest.models)} models"
            )
