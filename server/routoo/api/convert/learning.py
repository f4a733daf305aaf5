"""Converts what was learned of scores to messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routoo.v1 import learning_pb2

if TYPE_CHECKING:
    from routoo.engine.corrections.learner import LearningState
    from routoo.routing.corrections.scores.table import ModelAbility


def learning_message(state: LearningState | None) -> learning_pb2.Learning:
    """Converts the state of the learning; None: no scores are learned."""
    if state is None:
        return learning_pb2.Learning(enabled=False)
    return learning_pb2.Learning(
        enabled=True,
        version=state.version,
        frozen=state.frozen,
        generation=state.generation,
        reports=state.reports,
    )


def learned_score_message(known: ModelAbility | None) -> learning_pb2.LearnedScore | None:
    """Converts what is known of a model; None: no scores are learned."""
    if known is None:
        return None
    return learning_pb2.LearnedScore(
        reports=known.reports,
        logit_offset=known.offset,
        logit_std=known.std,
        jumps=known.jumps,
        tasks=[
            learning_pb2.TaskScore(task=kind, logit_offset=offset)
            for kind, offset in known.kinds.items()
        ],
    )
