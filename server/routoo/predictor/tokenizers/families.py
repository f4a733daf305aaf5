"""Estimates of the number of tokens of a text for each family of tokenizers.

As in ``routoo.predictor.token_count``, every pair of neighbouring bytes has a weight, here one per
family: the expected number of tokens of that family that begin between the two. So each script and
each kind of text (code, JSON, digits, hex, base64, emoji) has the factor that it has in the
family's vocabulary. ``weights.npz`` was made by ``routoo_export.tokenizers.fit``, from real
tokenizers that come in packages; its docstring has the texts and the errors.
"""

from __future__ import annotations

from functools import cache
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from routoo.predictor.token_count import in_groups, pair_counts, pairs_of, taken_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

FAMILIES: Final = ("openai", "openai_2023", "llama", "mistral", "qwen", "deepseek", "claude")
"""OpenAI's o200k_base and its older cl100k_base, Llama 3, Mistral's tekken, Qwen 3.6, DeepSeek V4,
and the one tokenizer that Anthropic has published."""
EVERY_FAMILY: Final = tuple(range(len(FAMILIES)))
"""The positions of all families."""
_MAKERS: Final = (
    ("gpt-4o", "openai"),
    ("gpt-4.", "openai"),
    ("gpt-4", "openai_2023"),
    ("gpt-3.5", "openai_2023"),
    ("openai/", "openai"),
    ("gpt-", "openai"),
    ("meta-llama/", "llama"),
    ("llama-3", "llama"),
    ("mistral", "mistral"),
    ("qwen", "qwen"),
    ("deepseek", "deepseek"),
    ("anthropic/", "claude"),
    ("claude", "claude"),
)
_WEIGHTS: Final = Path(__file__).parent / "weights.npz"
_UNITS: Final = 100  # weights are in hundredths of a token
# The sums of three families are added up in one 64-bit number, 21 bits each. The largest weight is
# below 1024, so that a stretch of this many bytes stays below 2**21.
_FIELD_BITS: Final = 21
_FIELDS: Final = 3
_STRETCH: Final = 2048
_MASK: Final = (1 << _FIELD_BITS) - 1
_SHIFTS: Final = np.arange(_FIELDS)[:, None] * _FIELD_BITS
# No vocabulary has many tokens that are longer, so that fewer tokens than bytes over this are a
# kind of text that the weights do not know.
_MOST_BYTES_PER_TOKEN: Final = 16


def family_of(model: str) -> int | None:
    """Returns the family of a model's tokenizer, by its position; None: it is not known.

    Args:
        model: the name, such as ``openai/gpt-5.2``, in any case.
    """
    name = model.lower()
    found = next((family for part, family in _MAKERS if part in name), None)
    return None if found is None else FAMILIES.index(found)


def count_by_family(
    texts: Sequence[str], families: tuple[int, ...] = EVERY_FAMILY
) -> NDArray[np.float64]:
    """Estimates the number of tokens of n texts for each of F families.

    Args:
        texts: n >= 0 texts; a lone surrogate counts as a rare character.
        families: the F families, by their positions; few take less time than all.

    Returns:
        float64 [n, F], whole numbers of tokens.
    """
    if not texts or not families:
        return np.zeros((len(texts), len(families)))
    groups = in_groups(texts)
    if len(groups) > 1:
        return np.concatenate([count_by_family(group, families) for group in groups])
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    if len(texts) == 1 and len(encoded[0]) < _STRETCH:
        return _count_one(encoded[0], families)
    long = taken_out(encoded)
    sizes = np.array([len(one) for one in encoded])
    at = pairs_of(b"\xff".join(encoded)).astype(np.intp)  # once for all weights
    starts = (sizes + 1).cumsum() - sizes - 1
    cuts = starts
    if sizes.max() >= _STRETCH:
        cuts = np.union1d(starts, np.arange(0, len(at), _STRETCH))
    sums = np.array([np.add.reduceat(packed.take(at), cuts) for packed in _packed(families)])
    parts = (sums[:, None] >> _SHIFTS & _MASK).reshape(-1, len(cuts))[: len(families)]
    if cuts is not starts:
        parts = np.add.reduceat(parts, np.searchsorted(cuts, starts), axis=1)
    counts = np.maximum(parts, sizes * (_UNITS / _MOST_BYTES_PER_TOKEN)).T
    for row, text in long.items():
        sums = _weights(families) @ pair_counts(text)
        counts[row] = np.maximum(sums, len(text) * (_UNITS / _MOST_BYTES_PER_TOKEN))
    tokens: NDArray[np.float64] = np.ceil(counts / _UNITS)
    return tokens


def _count_one(text: bytes, families: tuple[int, ...]) -> NDArray[np.float64]:
    """Counts one text of less than a stretch: for a few numbers arrays take longer than these."""
    at = pairs_of(text).astype(np.intp)
    least = len(text) * (_UNITS / _MOST_BYTES_PER_TOKEN)
    counts: list[int] = []
    for packed in _packed(families):
        total = int(np.add.reduce(packed.take(at)))
        for _ in range(_FIELDS):
            counts.append(ceil(max(total & _MASK, least) / _UNITS))
            total >>= _FIELD_BITS
    return np.array([counts[: len(families)]], np.float64)


@cache
def _packed(families: tuple[int, ...]) -> tuple[NDArray[np.int64], ...]:
    """Returns the weights of every pair, int64 [65536] by first + 256 * second, three in one."""
    rows = _weights(families)
    return tuple(
        sum((row << (at * _FIELD_BITS) for at, row in enumerate(rows[first : first + _FIELDS])))
        for first in range(0, len(rows), _FIELDS)
    )


@cache
def _weights(families: tuple[int, ...]) -> NDArray[np.int64]:
    """Returns the weights of every pair, int64 [F, 65536] by first + 256 * second."""
    with np.load(_WEIGHTS) as weights:
        return np.array([weights[FAMILIES[family]] for family in families], np.int64)
