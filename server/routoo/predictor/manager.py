"""Builds the predictor that the settings name, and exchanges its artifact while it serves."""

from __future__ import annotations

import random
import threading
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from routoo.errors import ArtifactError, PredictorError
from routoo.predictor.artifact import find_artifact, load_artifact
from routoo.predictor.backends import load_backends
from routoo.predictor.breaker import Breaker, BreakerTerms
from routoo.predictor.chain import PredictorChain
from routoo.predictor.onnx import OnnxPredictor
from routoo.predictor.triton import LOAD_TIMEOUT_S, TritonServer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from routoo.config.sections.predictor import PredictorSettings
    from routoo.predictor.artifact import Artifact, Manifest
    from routoo.predictor.backends import Backends
    from routoo.predictor.base import Predictor
    from routoo.predictor.chain import Watch


class Predictors:
    """The predictor of a service.

    Attributes:
        predictor: the predictor that the engine calls: the chain, or its only backend.
        chain: switches between backends, and exchanges the artifact.
        learned_with_it: settings that hold for the version in use only; a reload may change them.
    """

    def __init__(
        self,
        settings: PredictorSettings,
        artifact: Artifact,
        watch: Watch,
        *,
        models: Sequence[str] | None = None,
        learned_with_it: tuple[str, ...] = (),
    ) -> None:
        """Loads the artifact; a Triton server is first asked by ``chain.warm_up``.

        Args:
            settings: section ``predictor``, with backend and fallbacks.
            artifact: the first artifact to serve.
            watch: is told of failures and changes.
            models: the pool's models; an artifact that can be asked for some is asked for these.
                None: all.
            learned_with_it: settings that hold for this artifact's version only; with any of them
                another version is refused.

        Raises:
            ConfigError: the artifact does not run, or a library or a device is missing.
        """
        triton = settings.triton
        self._server = TritonServer(triton.url) if settings.backend == "triton" else None
        self._settings = settings
        terms = BreakerTerms(
            failures=triton.failures,
            first_probe_s=triton.first_probe_ms * 1e-3,
            longest_probe_s=triton.longest_probe_ms * 1e-3,
        )
        self.learned_with_it = learned_with_it
        self._exchanging = threading.Lock()
        line = load_backends(artifact, settings, self._server, models)
        self._tried = _identity(artifact)
        self.chain = PredictorChain(line, Breaker(terms, monotonic, random.Random()), watch)  # noqa: S311 - pauses
        self.predictor: Predictor = self._first_asked()

    def warm_up(self) -> None:
        """Warms the predictor up, and reports the backends in use; see ``PredictorChain``."""
        self.chain.warm_up()

    def exchange(self, settings: PredictorSettings, *, again: bool = True) -> bool:
        """Serves the artifact that the settings name now; meanwhile the old one serves.

        The new artifact is loaded beside the old one, warmed up, and compared with it. A Triton
        server is told to load it, where the server allows that, and tried. Thread-safe.

        Args:
            settings: only ``artifact`` is read; the other settings stay as at the start.
            again: whether to try an artifact that was refused before.

        Returns:
            Whether the settings name another artifact than before.

        Raises:
            ConfigError: the new artifact does not load or does not fit; the old one stays.
            PredictorError: the new artifact does not run; the old one stays.
        """
        with self._exchanging:
            new = self._prepared(settings, None, again=again)
            if new is None:
                return False
            self._take(new)
            return True

    def prepare(
        self,
        settings: PredictorSettings,
        models: Callable[[Artifact], Sequence[str]] | None = None,
    ) -> Backends | None:
        """Does the first half of ``exchange``: loads, warms up and compares the artifact.

        Args:
            settings: only ``artifact`` is read.
            models: returns the models of the artifact that have to be predicted from now on; None:
                those of before. Models of before stay, as decisions under way use them.

        Returns:
            The backends for ``take``; None: the artifact is the one that serves.

        Raises:
            ConfigError: the new artifact does not load or does not fit.
            PredictorError: the new artifact does not run.
        """
        with self._exchanging:
            return self._prepared(settings, models, again=True)

    def take(self, new: Backends) -> None:
        """Serves the backends that ``prepare`` returned.

        Raises:
            ArtifactError: the Triton server serves another artifact; the old one stays.
            PredictorError: the Triton server does not answer; the old one stays.
        """
        with self._exchanging:
            self._take(new)

    def close(self) -> None:
        """Stops probing and closes the channel to Triton."""
        self.chain.close()
        if self._server is not None:
            self._server.close()

    def _prepared(
        self,
        settings: PredictorSettings,
        models: Callable[[Artifact], Sequence[str]] | None,
        *,
        again: bool,
    ) -> Backends | None:
        artifact = load_artifact(find_artifact(settings.artifact))
        old = self.chain.line
        wanted = old.models
        if artifact.table is not None and models is not None:
            wanted += tuple(model for model in models(artifact) if model not in old.models)
        same = _identity(artifact) == _identity(old.artifact)
        if same and wanted == old.models:
            return None
        if not same and not again and _identity(artifact) == self._tried:
            return None
        self._tried = _identity(artifact)
        self._check_learned(old, artifact)
        new = load_backends(artifact, self._settings, self._server, wanted)
        self.chain.check(new)
        self._compare(old, new)
        return new

    def _take(self, new: Backends) -> None:
        old = self.chain.line
        if old.remote is None or new.remote is None:
            self.chain.switch(new)
        else:
            self._exchange_on_triton(old, new)
        self.predictor = self._first_asked()

    def _first_asked(self) -> Predictor:
        backends = self.chain.line
        if backends.remote is None and len(backends.local) == 1:
            return backends.local[0]
        return self.chain

    def _check_learned(self, old: Backends, artifact: Artifact) -> None:
        before = old.artifact.version_for(old.models)
        after = artifact.version_for(old.models)
        if self.learned_with_it and before != after:
            raise ArtifactError(
                f"{artifact.folder}: what {' and '.join(self.learned_with_it)} says was learned"
                f" with predictor {before}, this is {after}; run `routoo calibrate` with it and"
                " restart"
            )

    def _compare(self, old: Backends, new: Backends) -> None:
        both = len(old.models)
        shift = float(np.abs(new.sample.scores[:, :both] - old.sample.scores).mean())
        if shift > self._settings.max_shift:
            raise ArtifactError(
                f"{new.artifact.folder}: its scores on the sample prompts are {shift:.3g} off those"
                f" in use on average, {self._settings.max_shift:g} allowed; raise"
                " predictor.max_shift and restart to use it anyway"
            )

    def _exchange_on_triton(self, old: Backends, new: Backends) -> None:
        assert old.remote is not None  # noqa: S101 - the caller looked
        assert new.remote is not None  # noqa: S101 - it looked here, too
        before, after = old.remote.wanted, new.remote.wanted
        numbers = [number for number in (before, after) if number is not None]
        if after is not None:
            new.remote.load(numbers)
        try:
            new.remote.verify(new.sample, patience_s=LOAD_TIMEOUT_S)
            new.remote.warm_up(LOAD_TIMEOUT_S)
        except (ArtifactError, PredictorError):
            if before is not None and before != after:
                old.remote.load([before])
            raise
        self.chain.switch(new)
        if after is not None and before != after:
            new.remote.load([after])


def _identity(artifact: Artifact) -> tuple[Path, Manifest, str]:
    return artifact.folder, artifact.manifest, artifact.version


def in_process(settings: PredictorSettings, artifact: Artifact) -> OnnxPredictor:
    """Loads the artifact in this process, whatever the backend; for work that serves no request.

    Raises:
        ConfigError: the artifact does not run, or a library or a device is missing.
    """
    return OnnxPredictor(
        artifact, provider=settings.provider, intra_op_threads=settings.intra_op_threads
    )
