"""Training rows: outcomes, and the features of each prompt and its variants.

Every prompt of the sources is multiple choice; users' prompts are not. The variants prevent that
the number of options, their order or a trailing "Answer:" reveals the source of a question.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from routoo_export.backbones.base import Backbone
from routoo_export.outcomes.outcomes import Outcomes
from routoo_export.outcomes.splits import fewer_choices, question_text

VARIANTS: Final = ("bare", "fewer_choices")

Extract = Callable[[Backbone, Sequence[Sequence[int]]], Tensor]
"""Token ids of n prompts -> their features float32 [n, f]."""


@dataclass(frozen=True, slots=True)
class Rows:
    """n prompts with their outcomes and features.

    Attributes:
        outcomes: The outcomes of the prompts.
        features: Features of the prompts as they are, float32 [n, f].
        variants: Features float32 [len(VARIANTS), n, f] of the questions without choices, and with
            some of the choices in random order.
        groups: Widths of the runs of features that share one scale; their sum is f.
        weights: Weight of each outcome in the loss, float64 [n, m]; None = 1.
    """

    outcomes: Outcomes
    features: Tensor
    variants: Tensor
    groups: tuple[int, ...]
    weights: NDArray[np.float64] | None = None

    def where(self, keep: NDArray[np.bool_]) -> "Rows":
        """The rows of the mask ``keep`` [n]."""
        mask = torch.from_numpy(keep)
        return Rows(
            self.outcomes.rows(keep),
            self.features[mask],
            self.variants[:, mask],
            self.groups,
            None if self.weights is None else self.weights[keep],
        )


def prompt_views(prompts: Sequence[str], seed: int) -> tuple[list[str], ...]:
    """The prompts as they are, then each of VARIANTS; ``seed`` draws the choices that stay."""
    rng = np.random.default_rng(seed)
    bare = [question_text(prompt) for prompt in prompts]
    fewer = [fewer_choices(prompt, rng) for prompt in prompts]
    return list(prompts), bare, fewer


def make_rows(
    outcomes: Outcomes, backbone: Backbone, seed: int, extract: Extract | None = None
) -> Rows:
    """Compute the features of all prompts of ``outcomes`` and of their variants.

    Args:
        outcomes: The prompts and their outcomes.
        backbone: The backbone that reads them.
        seed: Seed of the variants.
        extract: Computes the features of token ids; None = the backbone itself.
    """
    return rows_of_ids(outcomes, backbone, encode_views(outcomes, backbone, seed), extract)


def encode_views(outcomes: Outcomes, backbone: Backbone, seed: int) -> list[list[list[int]]]:
    """Token ids of each prompt in each of its ``prompt_views``."""
    return [backbone.encode(view) for view in prompt_views(outcomes.prompts, seed)]


def rows_of_ids(
    outcomes: Outcomes,
    backbone: Backbone,
    views: Sequence[Sequence[Sequence[int]]],
    extract: Extract | None = None,
) -> Rows:
    """The rows of ``make_rows``, from the ``views`` that ``encode_views`` returned."""
    features, *variants = ((extract or _plain)(backbone, ids) for ids in views)
    return Rows(outcomes, features, torch.stack(variants), backbone.spec.groups)


def _plain(backbone: Backbone, ids: Sequence[Sequence[int]]) -> Tensor:
    return backbone.features(ids)
