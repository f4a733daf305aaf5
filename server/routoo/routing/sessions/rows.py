"""The sessions of a batch of requests, as columns."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from routoo.routing.pool import Pool
    from routoo.routing.sessions.facts import SessionFacts, Tie
    from routoo.routing.sessions.state import SessionState
    from routoo.selector.arrays import BoolArray, FloatArray, IndexArray

PERSISTENCE: Final = 0.7
"""How much of what one model's predicted score is above another's is left a turn later: the
autocorrelation of predicted scores of the turns of agents."""
LASTING_PRIOR: Final = (4.0, 1.0)
"""Turns after which sessions go on, and after which they end, that are taken as seen before any."""
WARM_PRIOR: Final = (49.0, 1.0)
"""Turns within the lifetime of a cache, and after it, that are taken as seen before any."""


@dataclass(frozen=True, slots=True)
class Before:
    """What is known of the turns before one request.

    Attributes:
        facts: what the request tells.
        state: what is kept of its session; None: nothing.
        now_s: the time, on the clock of what is kept.
    """

    facts: SessionFacts
    state: SessionState | None = None
    now_s: float = 0.0


@dataclass(frozen=True, slots=True)
class SessionRows:
    """The sessions of n requests on m models. Rows without a session are False, -1, 0 or empty.

    Attributes:
        on: bool [n], requests with a session.
        current: int [n], the column of the model that answered the turn before; -1: none did.
        turns: float64 [n], the turns before.
        ties: int8 [n], values of ``Tie``.
        cached: float64 [n, m], tokens of the input that providers have cached.
        writes: bool [n], whether the input is written into the caches of those that sell that.
        growth: float64 [n], by how many tokens the input grows with each turn, besides the answer;
            NaN: not known, as before the second turn.
        warm: float64 [n], probability that the next turn finds the cache.
        ahead: float64 [n], the turns ahead that count beside this one, see ``turns_ahead``.
        min_gain: float64 [n], the gain in score below which the model stays.
        spent_usd: float64 [n], the cost of the turns before.
        linked: bool [n], sessions whose next turn may name the reply of this one.
    """

    on: BoolArray
    current: IndexArray
    turns: FloatArray
    ties: IndexArray
    cached: FloatArray
    writes: BoolArray
    growth: FloatArray
    warm: FloatArray
    ahead: FloatArray
    min_gain: FloatArray
    spent_usd: FloatArray
    linked: BoolArray

    def __len__(self) -> int:
        return len(self.on)

    @classmethod
    def none(cls, n: int, m: int) -> Self:
        """Returns n rows without a session."""
        return cls(
            on=np.zeros(n, np.bool_),
            current=np.full(n, -1, np.intp),
            turns=np.zeros(n),
            ties=np.zeros(n, np.intp),
            cached=np.zeros((n, m)),
            writes=np.zeros(n, np.bool_),
            growth=np.full(n, np.nan),
            warm=np.zeros(n),
            ahead=np.zeros(n),
            min_gain=np.zeros(n),
            spent_usd=np.zeros(n),
            linked=np.zeros(n, np.bool_),
        )

    @classmethod
    def of(
        cls,
        known: Sequence[Before | None],
        input_tokens: FloatArray,
        pool: Pool,
        min_gain: float,
    ) -> Self:
        """Makes the columns of n requests.

        Args:
            known: [n], what is known of the turns before; None: the request has no session.
            input_tokens: float64 [n, m], as each model's tokenizer counts them.
            pool: the m models; a model that it no longer has answers no more.
            min_gain: the gain in score below which a model stays.
        """
        rows = cls.none(len(known), len(pool.names))
        for row, before in enumerate(known):
            if before is not None:
                _put(rows, row, before, input_tokens[row], pool)
        rows.min_gain[rows.on] = min_gain
        rows.ahead[rows.on] = turns_ahead(rows.turns[rows.on])
        # Such a turn is decided as without a session, and followed because the next may name it.
        rows.ahead[[one is not None and one.facts.alone for one in known]] = 0.0
        return rows

    def take(self, rows: IndexArray) -> Self:
        """Returns the sessions at some rows, int [k]."""
        return type(self)(**{one.name: getattr(self, one.name)[rows] for one in fields(self)})

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Joins parts with the same models, in their order."""
        return cls(
            **{
                one.name: np.concatenate([getattr(part, one.name) for part in parts])
                for one in fields(cls)
            }
        )

    def logged(self, row: int, pool: Pool) -> dict[str, Any]:
        """Returns a row as plain values, for the decision log; every digit of them."""
        column = int(self.current[row])
        growth = float(self.growth[row])
        cached = np.flatnonzero(self.cached[row])
        return {
            "current": None if column < 0 else pool.names[column],
            "turns": int(self.turns[row]),
            "ties": int(self.ties[row]),
            "cached": {pool.names[at]: float(self.cached[row, at]) for at in cached.tolist()},
            "writes": bool(self.writes[row]),
            "growth": None if np.isnan(growth) else growth,
            "warm": float(self.warm[row]),
            "ahead": float(self.ahead[row]),
            "min_gain": float(self.min_gain[row]),
            "spent_usd": float(self.spent_usd[row]),
        }

    @classmethod
    def restored(cls, lines: Sequence[Mapping[str, Any] | None], pool: Pool) -> Self:
        """Makes rows again from what ``logged`` returned; None: a row without a session.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: a line is none of this pool's.
        """
        rows = cls.none(len(lines), len(pool.names))
        for row, line in enumerate(lines):
            if line is None:
                continue
            rows.on[row] = True
            current = line["current"]
            rows.current[row] = -1 if current is None else pool.index[current]
            for model, tokens in line["cached"].items():
                rows.cached[row, pool.index[model]] = tokens
            growth = line["growth"]
            rows.growth[row] = np.nan if growth is None else growth
            for name in ("turns", "ties", "writes", "warm", "ahead", "min_gain", "spent_usd"):
                getattr(rows, name)[row] = line[name]
        return rows


def _put(rows: SessionRows, row: int, before: Before, input_tokens: FloatArray, pool: Pool) -> None:
    """Puts one session into its row; ``input_tokens``: float64 [m]."""
    facts, state = before.facts, before.state
    current = facts.current_model or ("" if state is None else state.name)
    rows.on[row] = True
    rows.current[row] = column = next(iter(_columns(pool, current)), -1)
    rows.ties[row] = int(facts.ties)
    rows.writes[row] = facts.writes and not facts.alone
    rows.linked[row] = facts.linked
    warm, cold = WARM_PRIOR
    if state is not None:
        turns, cold_turns = state.turns, state.cold_turns
        cached = state.cached_tokens(before.now_s)
        rows.spent_usd[row] = state.spent_nano_usd * 1e-9
        counted = float(input_tokens[max(column, 0)])
        rows.growth[row] = max(0.0, counted - state.first_input_tokens) / turns
    else:
        # Of a session that the caller keeps, one turn before this one is sure.
        turns, cold_turns, cached = int(column >= 0), 0, {}
    rows.turns[row] = turns
    rows.warm[row] = (warm + turns - cold_turns) / (warm + cold + turns)
    if facts.current_model and facts.cached_input_tokens is not None:
        cached = {pool.model_of(column): facts.cached_input_tokens} if column >= 0 else {}
    for model, tokens in cached.items():
        for at in _columns(pool, model):  # all arms of a model share its cache
            if _is_kept(pool, at, writes=facts.writes):
                rows.cached[row, at] = min(float(tokens), float(input_tokens[at]))


def turns_ahead(turns: FloatArray) -> FloatArray:
    """Returns the turns ahead for which a choice counts, float64 [n]; they are no whole numbers.

    The k-th turn ahead counts by the probability that the session gets there, and by how much of
    today's difference in score is left then. A session that has had many turns has more ahead: the
    chance that it goes on is that of a Beta prior, ``LASTING_PRIOR``, after its own turns
    (Laplace's rule of succession). The sum of the geometric series over k is the break-even of a
    switch: it pays when what it saves in this many turns is above what it costs now.

    Args:
        turns: float64 [n], the turns before.
    """
    lasting, ending = LASTING_PRIOR
    kept = PERSISTENCE * (lasting + turns) / (lasting + ending + turns)
    ahead: FloatArray = kept / (1.0 - kept)
    return ahead


def tied(rows: SessionRows, tie: Tie) -> BoolArray:
    """Returns the rows that a tie holds to the model of the turn before, bool [n]."""
    held: BoolArray = ((rows.ties & int(tie)) != 0) & (rows.current >= 0)
    return held


def _columns(pool: Pool, name: str) -> tuple[int, ...]:
    """Returns the columns of an arm or a model; none where the pool no longer has it."""
    return pool.columns_named(name, "model") if pool.has(name) else ()


def _is_kept(pool: Pool, column: int, *, writes: bool) -> bool:
    """Returns whether a model's provider has a cache of an input; some keep what is marked only."""
    prices = pool.prices
    return bool(prices.sells_cache[column] and (writes or not prices.sells_writes[column]))
