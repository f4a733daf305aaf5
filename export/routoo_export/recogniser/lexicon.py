"""Words of many languages that mean the same: what is learnt of one holds for the others.

The files hold lines of a concept, a tab, and its forms in one language, separated by blanks; an
underscore joins the words of a form. They were written for this project.
"""

from dataclasses import dataclass
from importlib.resources import files
from typing import Final

LEXICON: Final = "lexicon"


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Concepts, and the words that mean them.

    Attributes:
        concepts: The concepts' names.
        forms: Position of a concept, and a form of it.
    """

    concepts: tuple[str, ...]
    forms: tuple[tuple[int, str], ...]


def read_lexicon() -> Lexicon:
    """All forms of all languages; a concept's English name is a form of it."""
    concepts: dict[str, int] = {}
    forms: set[tuple[int, str]] = set()
    folder = files(__package__) / LEXICON
    for file in sorted(folder.iterdir(), key=lambda one: one.name):
        if not file.name.endswith(".tsv"):
            continue
        for line in file.read_text(encoding="utf-8").splitlines():
            concept, found, meant = line.partition("\t")
            if not found:
                continue
            at = concepts.setdefault(concept, len(concepts))
            forms.add((at, concept.replace("_", " ")))
            forms.update((at, form.replace("_", " ")) for form in meant.split())
    return Lexicon(tuple(concepts), tuple(sorted(forms)))
