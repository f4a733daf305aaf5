"""Prompts of which only features are known, as a decision log keeps them instead of texts.

In a table of outcomes such a prompt is a text of its own form, with the graph that has read it, its
length in tokens and its features. Training on the table of models reads the features off it; what
reads texts refuses it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from routoo.telemetry.decision_log.prompts.lines import KeptFeatures, graph_name
from routoo_export.errors import OutcomeError

MARK: Final = "\x02features:"
"""What such a prompt begins with; no text begins with this sign."""


@dataclass(frozen=True, slots=True)
class FeaturePrompts:
    """The features of n prompts.

    Attributes:
        hidden: Hidden units, [n, u].
        traits: Traits, [n, r].
        input_tokens: Lengths of the prompts, [n].
    """

    hidden: NDArray[np.float64]
    traits: NDArray[np.float64]
    input_tokens: NDArray[np.float64]


def feature_prompt(features: Mapping[str, Any], input_tokens: float) -> str:
    """The prompt of the field ``features`` of a decision's line.

    Raises:
        KeyError, TypeError, ValueError: the field holds no features.
    """
    found = KeptFeatures.read(features)
    return f"{MARK}{found.graph}:{len(found.hidden)}:{input_tokens:g}:{features['values']}"


def is_feature_prompt(prompt: str) -> bool:
    """Whether a prompt is one of which only features are known."""
    return prompt.startswith(MARK)


def require_texts(prompts: Sequence[str]) -> None:
    """Refuse prompts of which only features are known.

    Raises:
        OutcomeError: there is one.
    """
    if any(map(is_feature_prompt, prompts)):
        raise OutcomeError(
            "the outcomes have features instead of prompts, which no other network can read; train"
            " without --backbone, or log decision_log.prompts: text"
        )


def read_features(prompts: Sequence[str], graph_sha256: str) -> FeaturePrompts | None:
    """The features of n prompts; None = they are texts.

    Args:
        prompts: The prompts.
        graph_sha256: Of the graph that is to have read them.

    Raises:
        OutcomeError: texts and features are mixed, or another graph has read one.
    """
    marked = [is_feature_prompt(prompt) for prompt in prompts]
    if not any(marked):
        return None
    if not all(marked):
        raise OutcomeError(
            "some outcomes have texts, others features instead; train on the files of one kind"
        )
    wanted = graph_name(graph_sha256)
    hidden, traits, tokens = [], [], []
    for prompt in prompts:
        parts = prompt.removeprefix(MARK).split(":")
        try:
            graph, units, length, values = parts
            found = KeptFeatures.read({"graph": graph, "hidden": int(units), "values": values})
            tokens.append(float(length))
        except (KeyError, TypeError, ValueError):
            raise OutcomeError("a prompt's features are damaged; convert the log again") from None
        if graph != wanted:
            raise OutcomeError(
                f"the features were read by the graph {graph}, and the predictor's is {wanted};"
                " give --artifact the version that served then"
            )
        hidden.append(found.hidden)
        traits.append(found.traits)
    return FeaturePrompts(np.stack(hidden), np.stack(traits), np.array(tokens))
