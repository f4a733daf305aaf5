"""The last fallback: each model's average figures, the same for every prompt."""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING

import numpy as np

from routoo.predictor.base import Prediction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.predictor.artifact import Manifest
    from routoo.predictor.base import Wait
    from routoo.predictor.encoding import PromptEncoder


class PriorPredictor:
    """Answers every prompt with the mean scores and lengths of the artifact's training data.

    Of the prompt only its length is used.

    Args:
        manifest: holds the means.
        encoder: counts tokens.
    """

    def __init__(self, manifest: Manifest, encoder: PromptEncoder) -> None:
        self.models = manifest.models
        self.version = f"{manifest.predictor_version}+prior"
        self.backend = "prior"
        self.max_tokens = manifest.max_tokens
        self.degraded = False
        self._encoder = encoder
        self._scores = np.asarray(manifest.prior.scores, np.float32)
        self._output_tokens = np.asarray(manifest.prior.output_tokens, np.float32)

    def predict(self, prompts: Sequence[str], wait: Wait | None = None) -> Prediction:  # noqa: ARG002
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
