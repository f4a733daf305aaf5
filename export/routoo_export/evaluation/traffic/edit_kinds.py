"""Forty kinds of edits that leave what a prompt asks for as it is, to judge decisions by.

The wordings are others than those that the recogniser is trained on (``recogniser.edits``), so that
what is judged is whether it has learnt to overlook such edits, not whether it knows these.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from routoo_export.evaluation.traffic.edit_words import (
    AMERICAN_OF_BRITISH,
    CONTRACTIONS,
    COURTESY_BY_SCRIPT,
    FULL_WIDTH,
    LATIN_COURTESY,
    NEIGHBOURS,
    NUMERALS,
)
from routoo_export.recogniser.edits import Edit, after, before

SHORT: Final = 80
"""Only texts of fewer characters are written in capitals throughout, as users do."""
LETTERS_PER_TYPO: Final = 150
_LETTERS: Final = re.compile(r"[^\W\d_]{4,}")


def _same(change: Callable[[str], str]) -> Edit:
    """An edit without anything drawn."""
    return lambda text, _: change(text)


def _at_a_word(change: Callable[[str], str]) -> Edit:
    """Change one word that stands between blanks."""

    def edit(text: str, random: np.random.Generator) -> str:
        words = text.split(" ")
        places = [at for at, word in enumerate(words) if word.strip(".,;:?!").isalpha()]
        if not places:
            return text
        at = places[int(random.integers(len(places)))]
        words[at] = change(words[at])
        return " ".join(words)

    return edit


def _typo(change: Callable[[str, int, np.random.Generator], str]) -> Edit:
    """Change a letter within a word of four letters or more, once for so many characters."""

    def edit(text: str, random: np.random.Generator) -> str:
        for _ in range(1 + len(text) // LETTERS_PER_TYPO):
            words = list(_LETTERS.finditer(text))
            if not words:
                return text
            word = words[int(random.integers(len(words)))]
            text = change(text, int(random.integers(word.start() + 1, word.end() - 1)), random)
        return text

    return edit


def _neighbour(text: str, at: int, random: np.random.Generator) -> str:
    beside = NEIGHBOURS.get(text[at].lower())
    return text if beside is None else text[:at] + _one(beside, random) + text[at + 1 :]


def _one(choices: str, random: np.random.Generator) -> str:
    return choices[int(random.integers(len(choices)))]


def _words(pairs: Mapping[str, str]) -> Edit:
    """Replace every word or phrase of the left column by that of the right one, and vice versa."""
    both = {**{right: left for left, right in pairs.items()}, **pairs}
    longest = sorted(both, key=len, reverse=True)
    found = re.compile(rf"\b({'|'.join(map(re.escape, longest))})\b", re.IGNORECASE)

    def replaced(match: re.Match[str]) -> str:
        word = both[match[0].lower()]
        return word[0].upper() + word[1:] if match[0][0].isupper() else word

    return _same(lambda text: found.sub(replaced, text))


def _courtesy(position: int) -> Edit:
    """Courtesy in the language of the prompt's script, before (0) or after (1) the text."""

    def edit(text: str, random: np.random.Generator) -> str:
        scripts = [unicodedata.name(letter, "").split(" ")[0] for letter in text]
        known = [script for script in scripts if script in COURTESY_BY_SCRIPT]
        # Kana tell Japanese from Chinese, whose characters it shares.
        script = "HIRAGANA" if "HIRAGANA" in known else max(known, key=known.count, default="")
        if not script or known.count(script) * 4 < len(text.split()):
            word = LATIN_COURTESY[int(random.integers(len(LATIN_COURTESY)))][position]
        else:
            word = COURTESY_BY_SCRIPT[script][position]
        return f"{text} {word}" if position else f"{word} {text}"

    return edit


def _without_accents(text: str) -> str:
    """Letters of Latin script without their marks; other scripts as they are."""
    return "".join(
        unicodedata.normalize("NFD", letter)[0]
        if unicodedata.name(letter, "").startswith("LATIN")
        else letter
        for letter in text
    )


def _quotes(text: str) -> str:
    opened = re.sub(r'(^|[\s(\[])"', "\\1\u201c", text)
    return opened.replace('"', "\u201d").replace("'", "\u2019")


def _fence(text: str) -> str:
    """Name the language of code fences otherwise, or say that it is text."""
    named = re.sub(r"^```(python|javascript|typescript)$", _abbreviated, text, flags=re.MULTILINE)
    return re.sub(r"\A((?:(?!```)[\s\S])*)^```$", "\\1```text", named, flags=re.MULTILINE)


def _abbreviated(match: re.Match[str]) -> str:
    return "```" + {"python": "py", "javascript": "js", "typescript": "ts"}[match[1]]


EDIT_KINDS: Final[Mapping[str, Edit]] = MappingProxyType(
    {
        "please before": before("Kindly", "Would you mind:", "Could you please:", "PLEASE"),
        "please after": after("if you please", "- please and thank you", "pretty please", "plz"),
        "thanks before": before("Thanks for helping.", "Thank you in advance:", "Cheers."),
        "thanks after": after("Many thanks.", "Cheers!", "Much appreciated.", "ty"),
        "greeting before": before("Good morning,", "Hi there,", "Dear assistant,", "Yo,"),
        "greeting, line of its own": before("Hello again\n\n", "Good evening.\n\n", "Hiya!\n\n"),
        "farewell after": after("\n\nBest regards", "\n\nSee you", "\n\nKind regards, Sam"),
        "courtesy of the script before": _courtesy(0),
        "courtesy of the script after": _courtesy(1),
        "name of what follows": before("My question:", "Query:", "Prompt:", "Request -"),
        "hesitation": before("Hmm,", "Well,", "Okay,", "Right, so"),
        "bold word": _at_a_word(lambda word: f"__{word}__"),
        "bold throughout": _same(lambda text: f"__{text}__"),
        "italic word": _at_a_word(lambda word: f"*{word}*"),
        "quoted block": _same(lambda text: "> " + text.replace("\n", "\n> ")),
        "heading": _same(lambda text: f"### {text}"),
        "bullet": _same(lambda text: f"* {text}"),
        "in quotation marks": _same(lambda text: f"\u201c{text}\u201d"),
        "code fence named": _same(_fence),
        "trailing blanks": _same(lambda text: f"{text}   "),
        "two blanks after sentences": _same(lambda text: re.sub(r"([.?!]) ", r"\1  ", text)),
        "line broken after sentences": _same(lambda text: re.sub(r"([.?!]) ", "\\1\n", text)),
        "blank lines around": _same(lambda text: f"\n\n\n{text}\n"),
        "tab before": _same(lambda text: f"\t{text}"),
        "no-break spaces": _same(lambda text: text.replace(" ", "\u00a0")),
        "first letter's case": _same(lambda text: text[0].swapcase() + text[1:]),
        "lower case": _same(str.lower),
        "upper case": _same(lambda text: text.upper() if len(text) < SHORT else text),
        "letters swapped": _typo(
            lambda text, at, _: text[: at - 1] + text[at] + text[at - 1] + text[at + 1 :]
        ),
        "letter dropped": _typo(lambda text, at, _: text[:at] + text[at + 1 :]),
        "letter doubled": _typo(lambda text, at, _: text[:at] + text[at] + text[at:]),
        "neighbouring key": _typo(_neighbour),
        "accents left out": _same(_without_accents),
        "no punctuation at the end": _same(
            lambda text: text.rstrip(".?!\u3002\uff1f\uff01\u061f\u0964")
        ),
        "more marks at the end": after("!!", "?!", "...", "???"),
        "emoji": after("🙂", "🤔", "👍", "✨"),
        "quotes and dashes of print": _same(
            lambda text: _quotes(text).replace(" - ", " \u2014 ").replace("--", "\u2013")
        ),
        "full-width punctuation": _same(lambda text: text.translate(FULL_WIDTH)),
        "spelling of the other side of the Atlantic": _words(AMERICAN_OF_BRITISH),
        "contractions and numerals": _words({**CONTRACTIONS, **NUMERALS}),
    }
)
"""Each by the name under which it is reported."""
