"""The fit of token counts, on tokenizers that are known."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from routoo_export.tokenizers.fit import PAIRS, Design, pairs_of

LETTERS = {"latin": "abcdefgh", "cyrillic": "жзиклмно", "han": "山川水火木金土日"}


def texts(script: str, seed: int) -> list[str]:
    """Returns 120 texts of short words of a script."""
    draw = Random(seed)  # noqa: S311
    return [
        " ".join(
            "".join(draw.choices(LETTERS[script], k=draw.randint(1, 6)))
            for _ in range(draw.randint(20, 60))
        )
        for _ in range(120)
    ]


def tokens_of(text: str) -> int:
    """Returns the tokens of a made-up tokenizer: a word has one, and one for each ж, 山 and bc."""
    return len(text.split()) + sum(text.count(part) for part in ("ж", "山", "bc"))


@pytest.fixture(scope="module")
def table() -> np.ndarray:
    """Returns the weights that were fitted on texts of three scripts."""
    rows = [
        {"text": text, "group": "made", "lang": script, "weight": 1.0, "held": False}
        for seed, script in enumerate(LETTERS)
        for text in texts(script, seed)
    ]
    return Design.of(rows).fit(np.array([tokens_of(row["text"]) for row in rows], float))


@pytest.mark.parametrize("script", LETTERS)
def test_texts_that_were_not_fitted_count_what_their_tokenizer_counts(
    script: str, table: np.ndarray
) -> None:
    held = texts(script, 99)
    real = np.array([tokens_of(text) for text in held])
    ratio = (pairs_of(held) @ table) / 100.0 / real
    assert ratio.min() >= 0.8
    assert abs(ratio.mean() - 1.0) <= 0.05


def test_a_weight_fits_its_ten_bits_and_what_no_text_has_keeps_a_weight(table: np.ndarray) -> None:
    assert table.shape == (PAIRS,)
    assert table.max() < 1024
    rare = pairs_of(["𒀀𒁀𓂀", "ሀለሐ"]) @ table / 100.0
    assert (rare >= [6.0, 3.0]).all()
