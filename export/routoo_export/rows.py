"""Prompts as training sees them: outcomes, and the features of each prompt and its variants.

Every prompt of the sources is multiple choice; those of users are not. The variants keep the number
of options, their order and a trailing "Answer:" from telling which source a question is from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from routoo_export.features import TokenTable, prompt_features
from routoo_export.outcomes import Outcomes
from routoo_export.splits import fewer_choices, question_text
from routoo_export.tokens import encode_prompts

VARIANTS: Final = ("bare", "fewer_choices")


@dataclass(frozen=True, slots=True)
class Rows:
    """A set of n prompts.

    features float32 [n, f] are of the prompts as they are; variants float32 [VARIANTS, n, f] of
    their questions without choices, and with some of the choices, shuffled.
    """

    outcomes: Outcomes
    features: Tensor
    variants: Tensor

    def where(self, keep: NDArray[np.bool_]) -> "Rows":
        mask = torch.from_numpy(keep)
        return Rows(self.outcomes.rows(keep), self.features[mask], self.variants[:, mask])


def make_rows(
    outcomes: Outcomes, table: TokenTable, tokenizer: Tokenizer, max_tokens: int, seed: int
) -> Rows:
    """All prompts of `outcomes`, cut to `max_tokens`; `seed` draws the choices that stay."""
    rng = np.random.default_rng(seed)

    def features(prompts: Sequence[str]) -> Tensor:
        return prompt_features(table, encode_prompts(tokenizer, prompts, max_tokens))

    bare = [question_text(prompt) for prompt in outcomes.prompts]
    fewer = [fewer_choices(prompt, rng) for prompt in outcomes.prompts]
    variants = torch.stack([features(bare), features(fewer)])
    return Rows(outcomes, features(outcomes.prompts), variants)
