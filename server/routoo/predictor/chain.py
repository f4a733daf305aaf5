"""The chain asks predictors in turn: the Triton server, the graph in process, the prior.

While a server does not answer, a circuit breaker keeps requests from it, and a thread probes it
until it can be used again.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from routoo.errors import ArtifactError, PredictorError
from routoo.interval_thread import IntervalThread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.predictor.backends import Backends
    from routoo.predictor.base import Prediction, Predictor, Wait
    from routoo.predictor.breaker import Breaker
    from routoo.predictor.triton import TritonPredictor
    from routoo.predictor.triton_check import Statistics

_log = structlog.get_logger("routoo.predictor")


class Watch:
    """Receives changes of predictors, from any thread. This base class ignores them."""

    def failed(self, backend: str, error: Exception) -> None:
        """Is called when a backend did not answer a batch; the next in turn is asked."""

    def component(self, backend: str, *, up: bool) -> None:
        """Is called when a backend is used from now on (``up``), or no longer used."""

    def verified(self, backend: str, statistics: Statistics) -> None:
        """Is called when a server serves the artifact, with its statistics up to then."""

    def mismatched(self, error: ArtifactError) -> None:
        """Is called when the server answers again, but does not serve the artifact."""


class PredictorChain:
    """Asks the backends of one artifact in turn; they can be exchanged while it serves.

    ``predict`` is called from one thread, the other methods from any.

    Args:
        line: the backends.
        breaker: keeps requests from a server that does not answer.
        watch: is told of failures and changes.
    """

    def __init__(self, line: Backends, breaker: Breaker, watch: Watch) -> None:
        self._line = line
        self._breaker = breaker
        self._watch = watch
        self._telling = threading.Lock()
        self._prober = IntervalThread(
            "routoo-probe",
            self.probe,
            breaker.probe_in_s,
            _log,
            "the predictor's server could not be probed",
        )

    @property
    def line(self) -> Backends:
        """The backends that serve now."""
        return self._line

    @property
    def models(self) -> tuple[str, ...]:
        """The m models, in the order of the prediction's columns; ``switch`` only adds some."""
        return self._line.models

    @property
    def max_tokens(self) -> int:
        """Longest prompt that is read whole, in tokens."""
        return self._line.artifact.manifest.max_tokens

    @property
    def tasks(self) -> tuple[str, ...]:
        """The kinds of task that the artifact tells apart; empty: none."""
        return self._first.tasks

    @property
    def version(self) -> str:
        """The version of the artifact that predicts now, on the backend that is asked first."""
        return self._first.version

    @property
    def backend(self) -> str:
        """The backend that is asked first now."""
        return self._first.backend

    @property
    def degraded(self) -> bool:
        """Returns whether a server is configured and not in use."""
        return self._line.remote is not None and not self._breaker.allows

    @property
    def waits(self) -> bool:
        """Returns whether any backend may wait for another machine or device than the CPU."""
        line = self._line
        return line.remote is not None or any(one.waits for one in line.local)

    @property
    def _first(self) -> Predictor:
        line = self._line
        return line.local[0] if line.remote is None or self.degraded else line.remote

    def predict(
        self,
        prompts: Sequence[str],
        wait: Wait | None = None,
        told: Sequence[str] | None = None,
    ) -> Prediction:
        """Predicts n >= 1 prompts, see ``Predictor.predict``; the prediction names its backend.

        Raises:
            DeadlineError: no caller waits any more.
            PredictorError: no backend could answer; this is the error of the last one.
        """
        line = self._line
        remote = line.remote
        if remote is not None and self._breaker.allows:
            try:
                prediction = remote.predict(prompts, wait, told)
            except PredictorError as error:
                # After a timeout the server is left at once: each further one would delay callers.
                self._breaker.failed(at_once=error.kind == "timeout")
                self._gave_up(remote, error)
            else:
                self._breaker.succeeded()
                return prediction
        for position, predictor in enumerate(line.local):
            degraded = remote is not None or position > 0
            try:
                prediction = predictor.predict(prompts, wait, told)
            except PredictorError as error:
                if position == len(line.local) - 1:
                    raise
                self._watch.failed(predictor.backend, error)
            else:
                return replace(prediction, degraded=True) if degraded else prediction
        raise PredictorError("no predictor is left; set predictor.fallbacks")

    def warm_up(self) -> None:
        """Reports the backends in use, tries the server, and starts to probe it.

        A server that does not answer is no error.

        Raises:
            ArtifactError: the server serves another artifact.
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
        self._prober.start()

    def check(self, line: Backends) -> None:
        """Refuses backends that cannot replace those in use.

        Raises:
            ArtifactError: they predict other models.
        """
        if line.models[: len(self.models)] != self.models:
            raise ArtifactError(
                f"{line.artifact.folder}: predicts other models, or in another order, than the"
                " predictor in use; restart the service to change them"
            )

    def switch(self, line: Backends) -> None:
        """Uses other backends from the next batch on; call ``check`` before."""
        self._line = line

    def close(self) -> None:
        """Stops probing; a probe under way ends by its own timeout."""
        self._prober.close()

    def probe(self) -> None:
        """Tries the server once if a probe is due; uses it again if it serves the artifact."""
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
        self._tell(remote)
        if remote.statistics is not None:
            self._watch.verified(remote.backend, remote.statistics)

    def _gave_up(self, remote: Predictor, error: PredictorError) -> None:
        self._watch.failed(remote.backend, error)
        if not self._breaker.allows:
            self._tell(remote)
            self._prober.wake()

    def _tell(self, remote: Predictor) -> None:
        """Tells the watch whether the server is in use now.

        The thread that predicts and the one that probes may overtake each other, so that the state
        is read and told in one step: whoever comes last tells what is so.
        """
        with self._telling:
            self._watch.component(remote.backend, up=self._breaker.allows)
