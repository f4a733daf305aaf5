"""The vocabulary of n-grams, from the prompts that the recogniser is trained on."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from routoo.predictor.conversation import read_turns
from routoo.predictor.ngram_encoder import LONGEST_WORD_CHARS
from routoo.predictor.ngrams import (
    BODY,
    EARLIER,
    MOST_CHARS,
    SYSTEM,
    TOOLS,
    Vocabulary,
    cut_middle,
    marks_of,
    shape_of,
    split_words,
)

LEAST_PROMPTS: Final = 2
"""A word of fewer prompts is read by its pieces."""
LEAST_MARKED: Final = 5


def make_vocabulary(
    texts: Iterable[str], *, pairs: int = 1 << 16, pieces: int = 1 << 16, most_words: int = 40_000
) -> Vocabulary:
    """The words and marks that stand in enough of the texts, most frequent first.

    Args:
        texts: The prompts.
        pairs: Rows of pairs of words.
        pieces: Rows of pieces of words.
        most_words: Most words.
    """
    words: Counter[str] = Counter()
    marks: Counter[str] = Counter()
    for text in texts:
        turns = read_turns(text)
        marks.update(set(marks_of(turns)))
        words.update(
            {
                shape_of(word)
                for region, part in (
                    (BODY, turns.last),
                    (SYSTEM, turns.system),
                    (TOOLS, turns.tools),
                    (EARLIER, turns.earlier),
                )
                for word in split_words(cut_middle(part, MOST_CHARS[region]))
            }
        )
    # Ties are broken by the words themselves, so that the order of the texts does not matter.
    ranked = sorted(
        (word for word, count in words.items() if count >= LEAST_PROMPTS),
        key=lambda word: (-words[word], word),
    )
    ranked = [word for word in ranked if len(word) <= LONGEST_WORD_CHARS][:most_words]
    signs = [word for word in ranked if _is_sign(word)]
    return Vocabulary(
        words=(*signs, *(word for word in ranked if not _is_sign(word))),
        marks=tuple(sorted(name for name, count in marks.items() if count >= LEAST_MARKED)),
        pairs=pairs,
        pieces=pieces,
        punctuation=len(signs),
    )


def _is_sign(word: str) -> bool:
    return len(word) == 1 and not word.isalnum()
