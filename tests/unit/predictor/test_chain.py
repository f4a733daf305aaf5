"""The chain of predictors: the one that answers, and the reports about it."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from routoo.config.sections.predictor import PredictorSettings
from routoo.engine.batcher import BatchWait
from routoo.errors import ArtifactError, DeadlineError, PredictorError
from routoo.predictor.artifact import load_artifact
from routoo.predictor.backends import Backends, load_backends
from routoo.predictor.base import join
from routoo.predictor.breaker import Breaker, BreakerTerms, State
from routoo.predictor.chain import PredictorChain, Watch
from routoo.predictor.encoding import checked
from support.artifacts.tiny_artifact import MODELS, change_manifest, write_tiny_artifact

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from routoo.predictor.base import Prediction, Predictor, Wait

OVERTAKE_S = 0.5
TERMS = BreakerTerms(failures=2, first_probe_s=1.0, longest_probe_s=8.0)


class Far:
    """A predictor on a server: answers like the one in process unless the test changes that."""

    backend = "far"

    def __init__(self, near: Predictor) -> None:
        self._near = near
        self.models = near.models
        self.version = "far-1"
        self.max_tokens = near.max_tokens
        self.tasks = near.tasks
        self.degraded = False
        self.waits = True
        self.statistics = None
        self.change: Callable[[Prediction], Prediction] = lambda prediction: prediction
        self.error: Exception | None = None
        self.asked = 0

    def predict(
        self,
        prompts: Sequence[str],
        wait: Wait | None = None,
        told: Sequence[str] | None = None,
    ) -> Prediction:
        self.asked += 1
        if self.error is not None:
            raise self.error
        changed = self.change(self._near.predict(prompts, wait, told))
        changed = replace(changed, served_by=self.backend, version=self.version)
        return checked(changed, len(prompts), len(self.models))

    def verify(self, _sample: object) -> None:
        if self.error is not None:
            raise self.error

    def warm_up(self) -> None:
        self.verify(None)


class Notes(Watch):
    """Collects what the chain reports."""

    def __init__(self) -> None:
        self.notes: list[tuple[Any, ...]] = []
        self.on_away: Callable[[], object] = lambda: None

    def failed(self, backend: str, error: Exception) -> None:
        self.notes.append(("failed", backend, getattr(error, "kind", "?")))

    def component(self, backend: str, *, up: bool) -> None:
        if not up:
            self.on_away()
        self.notes.append(("component", backend, up))

    def mismatched(self, error: ArtifactError) -> None:
        self.notes.append(("mismatched", str(error)))


class Rig:
    """A chain far -> onnx -> prior, with its clock, breaker and watch."""

    def __init__(self, folder: Path) -> None:
        artifact = load_artifact(write_tiny_artifact(folder / "predictor"))
        settings = PredictorSettings(fallbacks=("prior",), provider="cpu")
        backends = load_backends(artifact, settings)
        self.now_s = 0.0
        self.far = Far(backends.local[0])
        self.backends: Backends = replace(backends, remote=self.far)
        self.breaker = Breaker(TERMS, lambda: self.now_s, Random(0))  # noqa: S311
        self.watch = Notes()
        self.chain = PredictorChain(self.backends, self.breaker, self.watch)

    def probe(self) -> None:
        self.now_s += self.breaker.probe_in_s() or 0.0
        self.chain.probe()


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def no_number(prediction: Prediction) -> Prediction:
    return replace(prediction, scores=np.full_like(prediction.scores, np.nan))


def lost_row(prediction: Prediction) -> Prediction:
    return replace(prediction, scores=prediction.scores[1:])


def lost_column(prediction: Prediction) -> Prediction:
    return replace(prediction, scores=prediction.scores[:, 1:])


def test_the_first_answers_and_says_so(rig: Rig) -> None:
    prediction = rig.chain.predict(["easy", "hard"])
    assert (prediction.served_by, prediction.version, prediction.degraded) == (
        "far",
        "far-1",
        False,
    )
    assert rig.watch.notes == []
    assert (rig.chain.backend, rig.chain.version, rig.chain.degraded) == ("far", "far-1", False)


def test_a_server_that_is_back_while_it_is_told_to_be_away_ends_as_in_use(rig: Rig) -> None:
    threads = []

    def overtake() -> None:
        """The probing thread takes the server back, and is given time to tell so."""
        rig.far.error = None
        threads.append(Thread(target=rig.probe))
        threads[0].start()
        threads[0].join(OVERTAKE_S)

    rig.far.error = PredictorError("late", kind="timeout")
    rig.watch.on_away = overtake
    rig.chain.predict(["hard"])
    threads[0].join()
    assert not rig.chain.degraded
    assert [up for kind, _, up in rig.watch.notes if kind == "component"] == [False, True]


@pytest.mark.parametrize("change", [no_number, lost_row, lost_column])
def test_nonsense_is_answered_by_the_next(
    rig: Rig, change: Callable[[Prediction], Prediction]
) -> None:
    rig.far.change = change
    prediction = rig.chain.predict(["hard"])
    assert prediction.scores.tolist() == [[0.125, 0.5, 0.875]]
    assert (prediction.served_by, prediction.version) == ("onnx-cpu", "tiny-1")
    assert prediction.degraded
    assert rig.watch.notes[0] == ("failed", "far", "nonsense")


def test_it_is_not_asked_while_its_circuit_is_open_and_comes_back_by_itself(rig: Rig) -> None:
    rig.far.error = PredictorError("away", kind="unavailable")
    for _ in range(5):
        assert rig.chain.predict(["easy"]).degraded
    assert rig.far.asked == TERMS.failures
    assert rig.chain.degraded
    assert rig.chain.version == "tiny-1"
    rig.probe()
    assert rig.breaker.state is State.OPEN
    rig.far.error = None
    rig.probe()
    assert not rig.chain.predict(["easy"]).degraded
    assert [note for note in rig.watch.notes if note[0] == "component"] == [
        ("component", "far", False),
        ("component", "far", True),
    ]


def test_one_timeout_opens_the_circuit(rig: Rig) -> None:
    rig.far.error = PredictorError("slow", kind="timeout")
    rig.chain.predict(["easy"])
    assert rig.breaker.state is State.OPEN


def test_the_averages_answer_when_nothing_else_does(rig: Rig) -> None:
    rig.far.error = PredictorError("away", kind="unavailable")
    onnx = Far(rig.backends.local[0])
    onnx.error = PredictorError("broken")
    rig.chain.switch(replace(rig.backends, local=(onnx, rig.backends.local[1])))
    prediction = rig.chain.predict(["easy hard", "long"])
    assert prediction.scores.tolist() == [[0.5] * 3] * 2
    assert prediction.output_tokens.tolist() == [[100.0] * 3] * 2
    assert prediction.input_tokens.tolist() == [2.0, 1.0]
    assert (prediction.served_by, prediction.version) == ("prior", "tiny-1+prior")
    assert prediction.degraded


def test_without_a_fallback_the_error_is_told(rig: Rig) -> None:
    onnx = Far(rig.backends.local[0])
    onnx.error = PredictorError("broken")
    chain = PredictorChain(
        replace(rig.backends, remote=None, local=(onnx,)), rig.breaker, rig.watch
    )
    with pytest.raises(PredictorError, match="broken"):
        chain.predict(["easy"])


def test_a_call_that_nobody_waits_for_is_no_failure_and_asks_nobody_else(rig: Rig) -> None:
    rig.far.error = DeadlineError("nobody waits")
    for _ in range(5):
        with pytest.raises(DeadlineError):
            rig.chain.predict(["easy"])
    assert rig.breaker.allows
    assert rig.watch.notes == []


def test_a_server_with_another_model_stops_the_start(rig: Rig) -> None:
    rig.far.error = ArtifactError("another")
    with pytest.raises(ArtifactError, match="another"):
        rig.chain.warm_up()


def test_a_server_that_is_away_at_the_start_does_not(rig: Rig) -> None:
    rig.far.error = PredictorError("away", kind="unavailable")
    rig.chain.warm_up()
    rig.chain.close()
    assert rig.chain.degraded
    assert ("component", "far", False) in rig.watch.notes


@pytest.mark.parametrize("error", [ArtifactError("another"), ValueError("what is this")])
def test_a_server_that_comes_back_wrong_is_not_taken_back(rig: Rig, error: Exception) -> None:
    rig.breaker.failed(at_once=True)
    rig.far.error = error
    rig.probe()
    assert rig.chain.degraded
    assert rig.watch.notes[0][0] in {"mismatched", "failed"}


def test_other_models_cannot_be_switched_to(rig: Rig, tmp_path: Path) -> None:
    folder = write_tiny_artifact(tmp_path / "other")
    change_manifest(folder, models=MODELS[::-1])
    other = load_backends(load_artifact(folder), PredictorSettings(provider="cpu"))
    with pytest.raises(ArtifactError, match="in another order"):
        rig.chain.check(other)


def test_parts_of_a_batch_say_each_who_served_it(rig: Rig) -> None:
    first = rig.chain.predict(["easy"])
    rig.far.error = PredictorError("away", kind="unavailable")
    joined = join([first, rig.chain.predict(["hard"]), rig.chain.predict(["hard"])])
    assert joined.version == "far-1,tiny-1"
    assert joined.served_by == "far,onnx-cpu"
    assert joined.degraded


def test_a_wait_tells_when_it_is_given_up_before_or_after() -> None:
    told: list[str] = []
    wait = BatchWait()
    wait.on_abandoned(lambda: told.append("later"))
    assert not wait.abandoned
    wait.abandon()
    wait.on_abandoned(lambda: told.append("at once"))
    assert wait.abandoned
    assert told == ["later", "at once"]
