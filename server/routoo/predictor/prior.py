"""The last fallback: each model's average figures, the same for every prompt."""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING

import numpy as np

from routoo.predictor.base import Prediction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.predictor.artifact import Artifact
    from routoo.predictor.base import Wait
    from routoo.predictor.encoding import PaddedGraph


class PriorPredictor:
    """Answers every prompt with the mean scores and lengths of the artifact's training data.

    Of the prompt only its length is used.

    Args:
        artifact: holds the means.
        graph: its models are predicted, and its encoder counts tokens.
    """

    def __init__(self, artifact: Artifact, graph: PaddedGraph) -> None:
        self.models = graph.models
        self.version = f"{artifact.version_for(graph.models)}+prior"
        self.backend = "prior"
        self.max_tokens = artifact.manifest.max_tokens
        self.tasks = graph.tasks
        self.degraded = False
        self.waits = False
        self._encoder = graph.encoder
        means, at = artifact.prior(), graph.columns
        self._scores = means.scores[at]
        self._output_tokens = means.output_tokens[at]

    def predict(
        self,
        prompts: Sequence[str],
        wait: Wait | None = None,  # noqa: ARG002
        told: Sequence[str] | None = None,  # noqa: ARG002
    ) -> Prediction:
        """Returns the means for n >= 1 prompts, see ``Predictor.predict``."""
        started = perf_counter_ns()
        encoded = self._encoder.encode(prompts)
        tokenized = perf_counter_ns()
        n = len(prompts)
        return Prediction(
            scores=np.tile(self._scores, (n, 1)),
            output_tokens=np.tile(self._output_tokens, (n, 1)),
            input_tokens=encoded.input_tokens,
            truncated=encoded.truncated,
            tokenize_ns=tokenized - started,
            predict_ns=perf_counter_ns() - tokenized,
            served_by=self.backend,
            version=self.version,
        )

    def warm_up(self) -> None:
        """Does nothing: no graph is run."""
