"""Words and signs that can stand for each other, for ``edit_kinds``."""

from typing import Final

COURTESY_BY_SCRIPT: Final = {
    "CJK": ("麻烦你\uff0c", "麻烦了"),
    "HIRAGANA": ("恐れ入りますが、", "よろしくお願いいたします。"),
    "HANGUL": ("죄송하지만", "부탁드려요"),
    "CYRILLIC": ("Будьте добры,", "Заранее благодарю!"),
    "ARABIC": ("لو سمحت،", "مع الشكر"),
    "DEVANAGARI": ("कृपया", "आभार"),
}
"""First word of a letter's Unicode name -> what stands before and after."""

LATIN_COURTESY: Final = (
    ("Por favor,", "muchas gracias"),
    ("S'il te plaît,", "merci d'avance"),
    ("Bitte,", "vielen Dank"),
    ("Per favore,", "grazie mille"),
)
"""Before and after, in four languages."""

AMERICAN_OF_BRITISH: Final = {
    "analyse": "analyze",
    "behaviour": "behavior",
    "cancelled": "canceled",
    "catalogue": "catalog",
    "centre": "center",
    "colour": "color",
    "colours": "colors",
    "cosy": "cozy",
    "defence": "defense",
    "favourite": "favorite",
    "flavour": "flavor",
    "grey": "gray",
    "honour": "honor",
    "jewellery": "jewelry",
    "labour": "labor",
    "metre": "meter",
    "neighbour": "neighbor",
    "optimise": "optimize",
    "organise": "organize",
    "programme": "program",
    "realise": "realize",
    "recognise": "recognize",
    "summarise": "summarize",
    "theatre": "theater",
    "travelling": "traveling",
}

CONTRACTIONS: Final = {
    "can not": "can't",
    "cannot": "can't",
    "could not": "couldn't",
    "do not": "don't",
    "does not": "doesn't",
    "did not": "didn't",
    "i am": "i'm",
    "i have": "i've",
    "i would": "i'd",
    "is not": "isn't",
    "it is": "it's",
    "that is": "that's",
    "we are": "we're",
    "what is": "what's",
    "will not": "won't",
    "you are": "you're",
}

NUMERALS: Final = {
    "two": "2",
    "three": "3",
    "four": "4",
    "five": "5",
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "ten": "10",
    "twelve": "12",
}

NEIGHBOURS: Final = {
    "a": "sq",
    "b": "vn",
    "c": "xv",
    "d": "sf",
    "e": "wr",
    "f": "dg",
    "g": "fh",
    "h": "gj",
    "i": "uo",
    "j": "hk",
    "k": "jl",
    "l": "k",
    "m": "n",
    "n": "bm",
    "o": "ip",
    "p": "o",
    "r": "et",
    "s": "ad",
    "t": "ry",
    "u": "yi",
    "v": "cb",
    "w": "qe",
    "y": "tu",
    "z": "x",
}
"""Letters beside each other on a keyboard."""

FULL_WIDTH: Final = str.maketrans({sign: chr(ord(sign) + 0xFEE0) for sign in "?!,:;"})
"""Signs as they are written in East Asia."""
