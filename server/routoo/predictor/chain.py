"""Predictors asked in turn: the Triton server, the graph in process, the averages.

A circuit breaker keeps requests from a server that does not answer, and a thread of its own probes
that server until it can be taken back.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from routoo.errors import ArtifactError, PredictorError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.predictor.backends import Backends
    from routoo.predictor.base import Prediction, Predictor, Wait
    from routoo.predictor.breaker import Breaker
    from routoo.predictor.triton import TritonPredictor
    from routoo.predictor.triton_check import Statistics


class Watch:
    """Told what happens to predictors, from any thread; this one tells nobody."""

    def failed(self, backend: str, error: Exception) -> None:
        """A backend did not answer a batch; the next in turn is asked."""

    def component(self, backend: str, *, up: bool) -> None:
        """A backend is used from now on, or is not."""

    def verified(self, backend: str, statistics: Statistics) -> None:
        """A server serves the artifact; what it had done until then."""

    def mismatched(self, error: ArtifactError) -> None:
        """The server is there again, but does not serve the artifact."""


class PredictorChain:
    """Serves one line of predictors, and switches to another while it serves.

    ``predict`` is called from one thread, the rest from any.
    """

    def __init__(self, line: Backends, breaker: Breaker, watch: Watch) -> None:
        self._line = line
        self._breaker = breaker
        self._watch = watch
        self._closing = False
        self._wake = threading.Event()
        self._prober: threading.Thread | None = None

    @property
    def line(self) -> Backends:
        """What serves now."""
        return self._line

    @property
    def models(self) -> tuple[str, ...]:
        """The same on every line that is switched to."""
        return self._line.artifact.manifest.models

    @property
    def max_tokens(self) -> int:
        """Longest prompt that is read whole, in tokens."""
        return self._line.artifact.manifest.max_tokens

    @property
    def version(self) -> str:
        """Which artifact predicts now, and where."""
        return self._first.version

    @property
    def backend(self) -> str:
        """What predicts now."""
        return self._first.backend

    @property
    def degraded(self) -> bool:
        """The server is configured and not in use."""
        return self._line.remote is not None and not self._breaker.allows

    @property
    def _first(self) -> Predictor:
        line = self._line
        return line.local[0] if line.remote is None or self.degraded else line.remote

    def predict(self, prompts: Sequence[str], wait: Wait | None = None) -> Prediction:
        """Predicts n >= 1 prompts, see ``Predictor.predict``; says who did.

        Raises:
            DeadlineError: nobody waits any more.
            PredictorError: none of them could, the last one's error.
        """
        line = self._line
        remote = line.remote
        if remote is not None and self._breaker.allows:
            try:
                prediction = remote.predict(prompts, wait)
            except PredictorError as error:
                # Each further timeout would cost callers the whole of it again.
                self._breaker.failed(at_once=error.kind == "timeout")
                self._gave_up(remote, error)
            else:
                self._breaker.succeeded()
                return prediction
        for position, predictor in enumerate(line.local):
            degraded = remote is not None or position > 0
            try:
                prediction = predictor.predict(prompts, wait)
            except PredictorError as error:
                if position == len(line.local) - 1:
                    raise
                self._watch.failed(predictor.backend, error)
            else:
                return replace(prediction, degraded=True) if degraded else prediction
        raise PredictorError("no predictor is left; set predictor.fallbacks")

    def warm_up(self) -> None:
        """Says what is in use, tries the server, and starts to probe it.

        Raises:
            ArtifactError: it serves something else. A server that does not answer is no error.
        """
        for predictor in self._line.local:
            self._watch.component(predictor.backend, up=True)
        remote = self._line.remote
        if remote is None:
            return
        try:
            remote.verify(self._line.sample)
            remote.warm_up()
        except PredictorError as error:
            self._breaker.failed(at_once=True)
            self._gave_up(remote, error)
        else:
            self._taken(remote)
        self._prober = threading.Thread(target=self._probe_for_ever, name="probe", daemon=True)
        self._prober.start()

    def check(self, line: Backends) -> None:
        """Whether the line can take this one's place.

        Raises:
            ArtifactError: it is of other models.
        """
        if line.artifact.manifest.models != self.models:
            raise ArtifactError(
                f"{line.artifact.folder}: predicts other models, or in another order, than the"
                " predictor in use; restart the service to change them"
            )

    def switch(self, line: Backends) -> None:
        """Serves another line from the next batch on; ``check`` it before."""
        self._line = line

    def close(self) -> None:
        """Stops probing; a probe under way ends by its own timeout."""
        self._closing = True
        self._wake.set()
        if self._prober is not None:
            self._prober.join()

    def probe(self) -> None:
        """Tries the server once if that is due, and takes it back when it answers rightly."""
        line = self._line
        if line.remote is None or not self._breaker.begin_probe():
            return
        try:
            line.remote.verify(line.sample)
        except ArtifactError as error:
            self._breaker.failed()
            self._watch.mismatched(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the server is not taken back
            self._breaker.failed()
            if not isinstance(error, PredictorError):
                self._watch.failed(line.remote.backend, error)
        else:
            self._breaker.succeeded()
            self._taken(line.remote)

    def _taken(self, remote: TritonPredictor) -> None:
        self._watch.component(remote.backend, up=True)
        if remote.statistics is not None:
            self._watch.verified(remote.backend, remote.statistics)

    def _gave_up(self, remote: Predictor, error: PredictorError) -> None:
        self._watch.failed(remote.backend, error)
        if not self._breaker.allows:
            self._watch.component(remote.backend, up=False)
            self._wake.set()

    def _probe_for_ever(self) -> None:
        while True:
            self._wake.wait(self._breaker.probe_in_s())
            self._wake.clear()
            if self._closing:
                return
            self.probe()
