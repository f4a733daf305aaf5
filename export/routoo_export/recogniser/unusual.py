"""Judgement of the measure of unusual prompts, by sources that the recogniser has not read.

A prompt counts as unusual only if its source was left out of the training, so a recogniser is
trained without all the sources that are judged, and without a share of its other prompts. The
figure is the chance that a prompt of the source is told to be more unusual than one of those
ordinary prompts (AUROC; Hendrycks and Gimpel, ICLR 2017).
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from sklearn.metrics import roc_auc_score

from routoo.predictor.ngrams import Vocabulary
from routoo_export.errors import OutcomeError
from routoo_export.recogniser.examples import Example
from routoo_export.recogniser.lexicon import Lexicon
from routoo_export.recogniser.network import FloatArray, Recogniser
from routoo_export.recogniser.ood import OodRanks
from routoo_export.recogniser.settings import RecogniserSettings
from routoo_export.recogniser.train import origins, train_weights

HELD_BACK: Final = 0.15
MIX: Final = np.array([0.6, 0.6])
"""About the factors of the two parts of the shipped recogniser."""


def unusual_auroc(
    examples: Sequence[Example],
    others: Sequence[Example],
    lexicon: Lexicon,
    sources: Mapping[str, Sequence[str]],
    settings: RecogniserSettings | None = None,
) -> dict[str, float]:
    """The AUROC of each source's prompts against ordinary prompts that were held back.

    Half of those that are held back give the ranks, the other half are judged against.

    Args:
        examples: Prompts written for this project.
        others: Other prompts; those of the sources must not be among them (``without_sources``).
        lexicon: Words that share what is learnt of them.
        sources: Prompts of each source that is judged.
        settings: How to train; None = the defaults.

    Raises:
        OutcomeError: a source has no prompts.
    """
    if empty := [name for name, texts in sources.items() if not len(texts)]:
        raise OutcomeError(f"{empty[0]}: no prompts to judge; leave the source out")
    draw = np.random.default_rng(0)
    kept, back = _split(examples, draw)
    kept_others, back_others = _split(others, draw)
    vocabulary, weights = train_weights(kept, kept_others, lexicon, MIX, settings)
    ordinary = [*back, *back_others]
    ordinary = [ordinary[at] for at in draw.permutation(len(ordinary)).tolist()]
    half = len(ordinary) // 2
    ranks = OodRanks.fit(
        weights.pooled(vocabulary, [one.text for one in (*kept, *kept_others)]),
        origins([*kept, *kept_others]),
    )
    ranks = ranks.ranked_among(*_figures(vocabulary, weights, [o.text for o in ordinary[:half]]))

    def told(texts: Sequence[str]) -> FloatArray:
        return ranks.ranks(ranks.measures(*_figures(vocabulary, weights, texts)))

    usual = told([one.text for one in ordinary[half:]])
    found = {}
    for name, texts in sources.items():
        unusual = told(texts)
        truth = np.repeat([0, 1], [len(usual), len(unusual)])
        found[name] = float(roc_auc_score(truth, np.concatenate([usual, unusual])))
    return found


def without_sources(others: Sequence[Example], names: Sequence[str]) -> list[Example]:
    """The prompts whose collection belongs to none of the sources ``names``.

    A collection is named as its source or as the beginning of its name: ``shaberi`` is left out for
    ``shaberi_ja_panel3``.
    """
    collections = {one.source for one in others}
    out = {
        collection
        for collection in collections
        if any(name.startswith(collection.partition(":")[2] or collection) for name in names)
    }
    return [one for one in others if one.source not in out]


def _split(
    prompts: Sequence[Example], draw: np.random.Generator
) -> tuple[list[Example], list[Example]]:
    """What is trained on, and what is held back."""
    back = draw.random(len(prompts)) < HELD_BACK
    pairs = list(zip(prompts, back.tolist(), strict=True))
    return [one for one, out in pairs if not out], [one for one, out in pairs if out]


def _figures(
    vocabulary: Vocabulary, weights: Recogniser, texts: Sequence[str]
) -> tuple[FloatArray, FloatArray]:
    """Pooled rows and task logits."""
    pooled = weights.pooled(vocabulary, texts)
    return pooled, weights.hidden_units(pooled) @ weights.tasks.T
