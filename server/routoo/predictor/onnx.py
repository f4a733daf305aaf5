"""The predictor that runs in this process, by onnxruntime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import onnxruntime as ort

from routoo.errors import ArtifactError, ConfigError, PredictorError
from routoo.predictor.encoding import PaddedGraph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.predictor.artifact import Artifact
    from routoo.predictor.base import Feed, Prediction, Wait
    from routoo.predictor.encoding import Figures

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"


class OnnxPredictor:
    """Runs an artifact's graph with onnxruntime: on CUDA where it is present, else on the CPU."""

    def __init__(
        self,
        artifact: Artifact,
        *,
        provider: Literal["auto", "cpu", "cuda"] = "auto",
        intra_op_threads: int = 1,
        graph: PaddedGraph | None = None,
    ) -> None:
        """Loads the graph.

        Args:
            artifact: holds the graph.
            provider: onnxruntime's execution provider; auto: CUDA where it is present.
            intra_op_threads: threads of one inference.
            graph: pads the prompts; shared with other backends of the artifact. None: a new one.

        Raises:
            ArtifactError: onnxruntime cannot load it, or it is not the graph of the manifest.
            ConfigError: CUDA is asked for and is not present.
        """
        manifest = artifact.manifest
        self._model_path = artifact.model_path
        self._session = _open_session(artifact, provider, intra_op_threads)
        _check_signature(artifact, self._session)
        self.graph = graph or PaddedGraph(artifact)
        self.models = self.graph.models
        self.version = artifact.version_for(self.models)
        self.backend = "onnx-cuda" if CUDA in self._session.get_providers() else "onnx-cpu"
        self.max_tokens = manifest.max_tokens
        self.tasks = self.graph.tasks
        self.degraded = False
        self.waits = self.backend != "onnx-cpu"

    def predict(
        self,
        prompts: Sequence[str],
        wait: Wait | None = None,  # noqa: ARG002
        told: Sequence[str] | None = None,
    ) -> Prediction:
        """Predicts n >= 1 prompts, see ``Predictor.predict``. It cannot be interrupted."""
        asked = self.graph.questions(prompts, told)
        outputs = self.graph.outputs
        try:
            answers = [self._session.run(outputs, feed) for feed in asked.inputs]
        except Exception as error:
            raise PredictorError(f"inference failed: {error}") from error
        return self.graph.prediction(asked, answers, self.backend, self.version)

    def warm_up(self) -> None:
        """Tokenises, and runs every bucket length once with one row and with several.

        Raises:
            ArtifactError: the graph does not run, or its outputs do not have the manifest's shapes.
        """
        try:
            self.graph.warm_up(self.infer)
        except PredictorError as error:
            raise ArtifactError(f"{self._model_path}: does not run: {error}") from None

    def infer(self, filled: Sequence[Feed]) -> list[Figures]:
        """Runs the graph on inputs, for warming up and for golden prompts.

        Raises:
            PredictorError: the graph does not run.
        """
        try:
            return [self._session.run(self.graph.outputs, feed) for feed in filled]
        except Exception as error:
            raise PredictorError(f"inference failed: {error}") from error


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
    # Idle threads that spin would take CPU time from the threads that serve.
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
    if artifact.table is not None:
        return
    for tensor in session.get_outputs():
        if tensor.name == "ood":
            continue
        columns = tensor.shape[-1]
        if isinstance(columns, int) and columns != len(manifest.models):
            raise ArtifactError(
                f"{artifact.model_path}: {tensor.name} has {columns} columns, the manifest names"
                f" {len(manifest.models)} models"
            )
