"""The predictor on a Triton inference server, over gRPC.

There is one channel per process. The client is the one with threads, not asyncio's: prediction runs
in a worker thread, so that a batch does not wait for the event loop, which is busy with callers.
Token ids are padded here as for the predictor in process. The service makes the batches, so
Triton's own batcher is not needed.
"""

from __future__ import annotations

import json
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from routoo.config.address import past_proxies
from routoo.errors import ArtifactError, ConfigError, DeadlineError, PredictorError
from routoo.predictor.triton_check import read_offer, read_statistics

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from routoo.config.sections.predictor import TritonSettings
    from routoo.predictor.artifact import Artifact
    from routoo.predictor.base import Feed, Prediction, Wait
    from routoo.predictor.encoding import Figures, PaddedGraph
    from routoo.predictor.self_test import GoldenPrompts
    from routoo.predictor.triton_check import Offer, Statistics

DEADLINE_SHARE = 0.5
"""Share of the callers' remaining time that Triton gets, so that a fallback has time to answer when
Triton does not."""
LOAD_TIMEOUT_S = 120.0
"""Longest wait for a version to be loaded, and for each answer until it is in use."""
_CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # The client finds a server that comes back within a second; the default is two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # The time that an attempt to connect has: a server that is busy or far away needs more.
    ("grpc.min_reconnect_backoff_ms", 2000),
]
_NUMPY = {"INT64": np.int64, "INT32": np.int32, "FP32": np.float32}
_KINDS = {
    "StatusCode.DEADLINE_EXCEEDED": "timeout",
    "StatusCode.UNAVAILABLE": "unavailable",
    "StatusCode.CANCELLED": "unavailable",
}


class TritonServer:
    """The one channel to a Triton server. Thread-safe.

    Attributes:
        url: HOST:PORT of its gRPC service.
        library: the module ``tritonclient.grpc``.
        client: the client of that module.
    """

    def __init__(self, url: str) -> None:
        """Opens the channel; does not wait for the server.

        Raises:
            ConfigError: the client library is not installed.
        """
        try:
            # An optional library, whose import takes 0.2 s.
            from tritonclient import grpc as library  # noqa: PLC0415
        except ImportError:
            raise ConfigError(
                "predictor.backend is triton, but its client is not installed; install the triton"
                " extra"
            ) from None
        self.url = url
        self.library = library
        self.client = library.InferenceServerClient(
            url, channel_args=[*_CHANNEL, *past_proxies(url)]
        )

    def close(self) -> None:
        """Closes the channel, and cancels the calls in progress."""
        self.client.close()


class TritonPredictor:
    """An artifact whose graph a Triton server runs.

    ``verify`` has to succeed before the first prediction.

    Args:
        artifact: the artifact that the server has to run.
        server: the channel to it.
        settings: which model is asked there, and how; their ``url`` is not read.
        graph: pads the prompts.

    Attributes:
        wanted: the version's number on the server: that of the settings, else that of the
            artifact's folder; None: the newest that is ready.
        statistics: statistics of the version when it was last verified.
    """

    backend = "triton"

    def __init__(
        self,
        artifact: Artifact,
        server: TritonServer,
        settings: TritonSettings,
        graph: PaddedGraph,
    ) -> None:
        self._library = server.library
        self._client = server.client
        self._outputs = [self._library.InferRequestedOutput(name) for name in graph.outputs]
        self._manifest = artifact.manifest
        self._version = artifact.version_for(graph.models)
        self._settings = settings
        self._timeout_s = settings.timeout_ms * 1e-3
        self._graph = graph
        folder = artifact.folder.resolve().name
        self.wanted = settings.version or (int(folder) if folder.isdigit() else None)
        self._offer: Offer | None = None
        self._served = 0
        self.statistics: Statistics | None = None
        self.models = graph.models
        self.max_tokens = artifact.manifest.max_tokens
        self.tasks = graph.tasks
        self.degraded = False
        self.waits = True
        self.where = f"model {settings.model} on Triton at {server.url}"

    @property
    def version(self) -> str:
        """The artifact's version, and its number on the server."""
        return f"{self._version}+triton.{self._served}"

    def verify(self, sample: GoldenPrompts, *, patience_s: float | None = None) -> None:
        """Checks that the server serves the artifact, by its metadata and its answers.

        Args:
            sample: the artifact's answers in process.
            patience_s: longest wait for one answer, as a server that has just loaded a version is
                busy, and its first inferences take long; None: the timeout of every prediction.

        Raises:
            ArtifactError: the server serves something else.
            PredictorError: the server does not answer.
        """
        self._resolve(self._timeout_s if patience_s is None else patience_s)
        infer = partial(self._infer, timeout_s=patience_s)
        answers = tuple(self._graph.run(sample.filled, infer))
        distance = sample.distance(answers, self._graph.outputs)
        if distance > self._settings.tolerance:
            raise ArtifactError(
                f"{self.where} answers otherwise than {self._version} here:"
                f" {distance:.3g} apart, {self._settings.tolerance:g} allowed; serve the artifact's"
                " own repository there, or raise predictor.triton.tolerance"
            )

    def predict(
        self,
        prompts: Sequence[str],
        wait: Wait | None = None,
        told: Sequence[str] | None = None,
    ) -> Prediction:
        """Predicts n >= 1 prompts, see ``Predictor.predict``.

        Raises:
            DeadlineError: nobody waits any more; the request to the server was cancelled.
        """
        version = self.version
        asked = self._graph.questions(prompts, told)
        answers = list(self._infer(asked.inputs, wait))
        return self._graph.prediction(asked, answers, self.backend, version)

    def warm_up(self, patience_s: float | None = None) -> None:
        """Runs every bucket length once with one row and with several.

        Args:
            patience_s: as for ``verify``.

        Raises:
            PredictorError: the server does not answer.
        """
        self._graph.warm_up(partial(self._infer, timeout_s=patience_s))

    def load(self, versions: Sequence[int]) -> None:
        """Makes the server serve exactly these versions, if the settings allow it.

        Raises:
            PredictorError: the server refuses, or a version cannot be loaded; what was served
                before is still served.
        """
        if self._settings.control != "explicit":
            return
        name = self._settings.model
        try:
            config = self._client.get_model_config(
                name, as_json=True, client_timeout=LOAD_TIMEOUT_S
            )["config"]
            config["version_policy"] = {"specific": {"versions": list(versions)}}
            self._client.load_model(name, config=json.dumps(config), client_timeout=LOAD_TIMEOUT_S)
        except self._library.InferenceServerException as error:
            raise self._failure(error) from None

    def _resolve(self, timeout_s: float) -> None:
        name = self._settings.model
        try:
            metadata = self._client.get_model_metadata(name, client_timeout=timeout_s)
            config = self._client.get_model_config(name, client_timeout=timeout_s).config
        except self._library.InferenceServerException as error:
            if "unknown model" in str(error.message()):
                raise ArtifactError(
                    f"{self.where} is not ready; load it there, or correct predictor.triton.model"
                ) from None
            raise self._failure(error) from None
        offer = read_offer(metadata, config, self._manifest, self.where)
        served = self.wanted or max(offer.versions, default=0)
        if served not in offer.versions:
            ready = ", ".join(map(str, offer.versions)) or "none"
            raise ArtifactError(
                f"{self.where} has version {ready} ready, the artifact is version {served}; load"
                " that there, or set predictor.artifact or predictor.triton.version"
            )
        try:
            done = self._client.get_inference_statistics(
                name, str(served), client_timeout=timeout_s
            )
        except self._library.InferenceServerException as error:
            raise self._failure(error) from None
        self.statistics = read_statistics(done, served, self.where)
        self._offer, self._served = offer, served

    def _infer(
        self, filled: Sequence[Feed], wait: Wait | None = None, timeout_s: float | None = None
    ) -> Iterator[Figures]:
        """Sends all matrices at once, and yields the answers in order; see ``PaddedGraph``."""
        offer = self._offer
        if offer is None:
            raise PredictorError(f"{self.where} was not reached yet", kind="unavailable")
        timeout_s, late = timeout_s or self._timeout_s, "timeout"
        if wait is not None and wait.deadline_s is not None:
            left_s = DEADLINE_SHARE * (wait.deadline_s - monotonic())
            if left_s < timeout_s:
                # A timeout then says little about the server: these callers had little time left.
                timeout_s, late = left_s, "deadline"
            if left_s <= 0.0:
                raise PredictorError("no time was left to ask Triton", kind=late)
        calls = [
            [
                self._send(part, offer.input_dtypes, timeout_s)
                for part in self._graph.parts(feed, offer.max_rows)
            ]
            for feed in filled
        ]
        if wait is not None:
            wait.on_abandoned(lambda: _give_up(calls))
        try:
            for parts in calls:
                answers = [self._answer(call, wait) for call in parts]
                yield (
                    answers[0]
                    if len(answers) == 1
                    else [np.concatenate(columns) for columns in zip(*answers, strict=True)]
                )
        except PredictorError as error:
            _give_up(calls)
            if error.kind == "timeout":
                error.kind = late
            raise

    def _send(self, feed: Feed, dtypes: Mapping[str, str], timeout_s: float) -> _Call:
        tensors = []
        for name, values in feed.items():
            dtype = dtypes[name]
            tensor = self._library.InferInput(name, list(values.shape), dtype)
            tensor.set_data_from_numpy(values.astype(_NUMPY[dtype], copy=False))
            tensors.append(tensor)
        settled: Future[Any] = Future()

        def settle(result: Any, error: Any) -> None:
            settled.set_result((result, error))

        context = self._client.async_infer(
            self._settings.model,
            tensors,
            settle,
            model_version=str(self._served),
            outputs=self._outputs,
            client_timeout=timeout_s,
        )
        return _Call(context, settled)

    def _answer(self, call: _Call, wait: Wait | None) -> Figures:
        result, error = call.settled.result()
        if error is not None:
            if wait is not None and wait.abandoned:
                raise DeadlineError("nobody waits for the prediction any more")
            raise self._failure(error)
        figures = []
        for name in self._graph.outputs:
            values = result.as_numpy(name)
            if values is None:
                raise PredictorError(f"{self.where} left {name} out", kind="nonsense")
            # Triton adds a dimension of size 1 to outputs that have only the batch dimension.
            figures.append(values.reshape(len(values)) if name == "ood" else values)
        return figures

    def _failure(self, error: Any) -> PredictorError:
        lines = str(error.message()).splitlines() or ["no detail"]
        kind = _KINDS.get(str(error.status()), "failed")
        return PredictorError(f"{self.where}: {lines[0]}", kind=kind)


@dataclass(frozen=True, slots=True)
class _Call:
    """A request in progress.

    Attributes:
        context: cancels the request.
        settled: future of (result, error).
    """

    context: Any
    settled: Future[Any]


def _give_up(calls: Sequence[Sequence[_Call]]) -> None:
    for parts in calls:
        for call in parts:
            call.context.cancel()
