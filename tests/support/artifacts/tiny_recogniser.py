"""A recogniser trained on 60 made-up prompts, and a catalogue of three models for its table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from routoo.predictor.conversation import conversation
from routoo_export.catalogue.measurements import REGRESSORS
from routoo_export.catalogue.table import Catalogue
from routoo_export.outcomes.kinds import TASK_KINDS
from routoo_export.recogniser.examples import Example
from routoo_export.recogniser.lexicon import Lexicon
from routoo_export.recogniser.settings import RecogniserSettings
from routoo_export.recogniser.train import train_recogniser

if TYPE_CHECKING:
    from routoo_export.recogniser.train import TrainedRecogniser

KINDS = {
    "code_generate": ("write a function that sorts", "schreibe eine funktion"),
    "math_hard": ("prove the theorem about", "beweise den satz"),
    "translate": ("translate into french the word", "\u7ffb\u8bd1"),
    "summarize": ("summarise the report on", "fasse zusammen"),
}
SUBJECTS = ("rivers", "trains", "lists", "bread", "winter")
TOKENS = {"code_generate": 300, "math_hard": 900, "translate": 20, "summarize": 120}
LEXICON = Lexicon(("write", "prove"), ((0, "write"), (0, "schreibe"), (1, "prove"), (1, "beweise")))
MODELS = ("lab/small", "lab/large", "lab/large@high")
SETTINGS = RecogniserSettings(width=8, units=32, epochs=6, batch=16, held_out=("unread",))


def tiny_examples(n: int = 60) -> list[Example]:
    """Makes prompts of four kinds; some tell none, and a third is of a source that is held out."""
    kinds = [*KINDS]
    found = []
    for at in range(n):
        kind = kinds[at % len(kinds)]
        english, other = KINDS[kind]
        foreign = at % 5 == 0
        asked = "tell me about" if at % 9 == 0 else other if foreign else english
        text = f"{asked} {SUBJECTS[at % len(SUBJECTS)]} {at % 7}"
        if at % 6 == 0:
            text = conversation([("system", "be brief"), ("user", text)])
        found.append(
            Example(
                text=text,
                kind=TASK_KINDS.index(kind),
                language="de" if foreign else "en",
                source="unread" if at % 3 == 0 else "read",
                difficulty=1 + at % 5,
                output_tokens=TOKENS[kind] + at,
            )
        )
    return found


def tiny_recogniser() -> TrainedRecogniser:
    """Trains the recogniser; it takes about two seconds."""
    others = [one for one in tiny_examples(12) if one.source == "read"]
    return train_recogniser(tiny_examples(), others, LEXICON, SETTINGS)


def tiny_catalogue(models: tuple[str, ...] = MODELS) -> Catalogue:
    """Makes a catalogue without a test; later models are better, most of all on later tasks."""
    m, t = len(models), len(TASK_KINDS)
    shape = (m, t)
    score = 0.1 + 0.8 * np.linspace(0.2, 1.0, m)[:, None] * np.linspace(0.2, 1.0, t)
    reasoning = np.where([["@" in name] * t for name in models], 6.0, 0.0)
    return Catalogue(
        names=models,
        tasks=TASK_KINDS,
        release=np.full(m, 2026.0),
        score_mean=score,
        score_var=np.full(shape, 0.01),
        log_tokens=np.full(shape, 5.0),
        log_reasoning_tokens=reasoning,
        log_tokens_std=np.full(shape, 0.3),
        prompts=np.full(shape, 50.0),
        benchmarks=np.ones(shape, dtype=np.int64),
        ability_mean=np.zeros(shape),
        ability_cov=np.tile(np.eye(t, dtype=np.float32), (m, 1, 1)),
        test_name=(),
        test_weights=np.zeros((0, t)),
        test_intercept=np.zeros(0),
        test_slope=np.zeros(0),
        test_misfit=np.zeros(0),
        test_measured=np.zeros(0, np.bool_),
        prior_mean=np.zeros(shape),
        prior_cov=np.eye(t),
        prior_coefficients=np.zeros((len(REGRESSORS), t)),
        reference_offset=np.zeros(t),
        reference_slope=0.85,
        transfer_var=0.07,
        effort_share=0.5,
    )
