"""A complete, tiny predictor artifact of format 2: a prompt's words tell its kind of task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from routoo.predictor.ngrams import REGIONS, Vocabulary
from routoo_export.artifact.table_artifact import write_table_artifact
from routoo_export.outcomes.kinds import TASK_KINDS
from routoo_export.recogniser.evaluate import Recognition
from routoo_export.recogniser.lengths import LengthModel
from routoo_export.recogniser.network import TRAITS, Recogniser
from routoo_export.recogniser.ood import OodRanks
from routoo_export.recogniser.train import TrainedRecogniser

if TYPE_CHECKING:
    from pathlib import Path

    from routoo_export.catalogue.table import Catalogue

WORDS = {"python": "code_generate", "integral": "math_hard", "riddle": "logic_puzzle"}
HARD = "hard"
CLEAR = 60.0
PAIRS, PIECES = 8, 8


def write_tiny_table(folder: Path, catalogue: Catalogue) -> Path:
    """Writes the artifact into ``folder`` and returns it.

    A prompt with a word of WORDS is of that word's kind of task; HARD moves its traits.
    """
    words = (*WORDS, HARD, "please", "write", "solve", "now")
    vocabulary = Vocabulary(words, (), PAIRS, PIECES, 0)
    h = len(words)
    # The last column is the classifier's, which has nothing to say.
    table = np.zeros((vocabulary.rows, h + 1), np.float32)
    table[1 : 1 + h, :h] = np.eye(h)
    hidden = np.zeros((len(REGIONS), h, h), np.float32)
    hidden[0] = np.eye(h)
    tasks = np.zeros((len(TASK_KINDS), h + 1), np.float32)
    for place, task in enumerate(WORDS.values()):
        tasks[TASK_KINDS.index(task), place] = CLEAR
    traits = np.zeros((h + 1, len(TRAITS)), np.float32)
    traits[h - 5, TRAITS.index("difficulty>=4")] = 6.0
    recogniser = Recogniser(
        table,
        hidden.reshape(-1, h),
        np.full(h, 1e-3, np.float32),
        np.zeros(len(REGIONS), np.float32),
        tasks,
        traits,
    )
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(words, 5)) for _ in range(64)]
    pooled = recogniser.pooled(vocabulary, texts)
    units = recogniser.hidden_units(pooled)
    fitted = OodRanks.fit(pooled, [text.split()[0] for text in texts], directions=8, centres=8)
    ood = fitted.ranked_among(pooled, units @ tasks.T)
    _, sample_traits = recogniser.recognise(units)
    trained = TrainedRecogniser(
        recogniser=recogniser,
        vocabulary=vocabulary,
        lengths=LengthModel(
            np.zeros(len(TASK_KINDS), np.float32), np.zeros(len(TRAITS), np.float32)
        ),
        ood=ood,
        trait_means=sample_traits.mean(axis=0),
        judged=Recognition(64, 1.0, 1.0, 1.0, 0.0, 0.0),
    )
    aliases = {"m03": "lab/m03"}
    write_table_artifact(
        folder, trained, catalogue, texts, aliases=aliases, training={}, metrics={}
    )
    return folder
