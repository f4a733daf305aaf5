"""The texts that the recogniser was trained on."""

from collections.abc import Iterable
from pathlib import Path

from routoo_export.outcomes.splits import question_stem
from routoo_export.recogniser.examples import read_examples, read_other_prompts


class SeenTexts:
    """Texts by their question, so that other options or blanks make no other text.

    Args:
        texts: The texts.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._stems = {question_stem(text) for text in texts}

    @classmethod
    def of_recogniser(cls, data: Path) -> "SeenTexts":
        """All that the shipped recogniser was trained on.

        Raises:
            OutcomeError: the data folder lacks the other prompts.
        """
        return cls(one.text for one in (*read_examples(), *read_other_prompts(data)))

    def __contains__(self, text: str) -> bool:
        return question_stem(text) in self._stems
