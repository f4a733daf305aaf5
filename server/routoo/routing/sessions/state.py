"""The state of a session between two turns, and its changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

MOST_CACHES: Final = 4
"""Caches that are kept of a session: those of the models that answered last."""
MOST_TURNS: Final = 2**31 - 1
MIN_CACHED_TOKENS: Final = 1024
"""Providers cache no shorter input."""


@dataclass(frozen=True, slots=True)
class CachedPrefix:
    """The part of a session's input that a model's provider has in its cache.

    Attributes:
        model: the model's name in the pool.
        tokens: its length.
        until_s: when the provider drops it, in seconds of the store's clock.
        turn: the turn that wrote or read it last.
    """

    model: str
    tokens: int
    until_s: float
    turn: int


@dataclass(frozen=True, slots=True)
class SessionState:
    """What is kept of a session. Its size does not grow with the turns.

    Attributes:
        model: the model that was chosen last, by its name in the pool.
        arm: the name of the arm by which it was asked; empty: it has none.
        turns: the number of turns so far.
        cold_turns: those that came when the current model's cache had run out.
        first_input_tokens: the input of the first turn.
        spent_nano_usd: the cost so far, in nano-USD; predicted where no report has come.
        seen_s: when the last turn was decided, in seconds of the store's clock.
        caches: what providers have cached, the last written first.
    """

    model: str
    arm: str = ""
    turns: int = 1
    cold_turns: int = 0
    first_input_tokens: int = 0
    spent_nano_usd: int = 0
    seen_s: float = 0.0
    caches: tuple[CachedPrefix, ...] = ()

    @property
    def name(self) -> str:
        """The model's name, with its arm's behind an @, as the pool's columns are named."""
        return f"{self.model}@{self.arm}" if self.arm else self.model

    def cached_tokens(self, now_s: float) -> dict[str, int]:
        """Returns the tokens that are cached now, by model."""
        return {one.model: one.tokens for one in self.caches if now_s < one.until_s}


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn that was decided.

    Attributes:
        model: the chosen model.
        input_tokens: its input, as the model counts it.
        cost_nano_usd: its predicted cost, in nano-USD.
        caches: whether the model's provider keeps the input in a cache.
        arm: the name of its arm; empty: it has none.
    """

    model: str
    input_tokens: int
    cost_nano_usd: int
    caches: bool
    arm: str = ""


@dataclass(frozen=True, slots=True)
class TurnReport:
    """What became of a turn.

    Attributes:
        turn: its number, from 1.
        model: the model that answered.
        cached_tokens: what its provider has in its cache now; None: as predicted; 0: nothing.
        ttl_s: for how long.
        more_nano_usd: by how much its cost was more than predicted, in nano-USD.
        arm: the name of its arm; empty: it has none.
    """

    turn: int
    model: str
    cached_tokens: int | None
    ttl_s: float
    more_nano_usd: int
    arm: str = ""


def after_turn(state: SessionState | None, turn: Turn, now_s: float, ttl_s: float) -> SessionState:
    """Returns the state after a turn was decided.

    Args:
        state: the state before; None: the turn is the first.
        turn: the turn.
        now_s: seconds of a clock; one that has gone back counts as standing still.
        ttl_s: how long providers keep an input that nobody reads.
    """
    before = () if state is None else state.caches
    now_s = now_s if state is None else max(now_s, state.seen_s)
    number = 1 if state is None else min(state.turns + 1, MOST_TURNS)
    caches = tuple(one for one in before if one.model != turn.model and now_s < one.until_s)
    if turn.caches:
        caches = (CachedPrefix(turn.model, turn.input_tokens, now_s + ttl_s, number), *caches)
    if state is None:
        return SessionState(
            model=turn.model,
            arm=turn.arm,
            first_input_tokens=turn.input_tokens,
            spent_nano_usd=turn.cost_nano_usd,
            seen_s=now_s,
            caches=caches,
        )
    return replace(
        state,
        model=turn.model,
        arm=turn.arm,
        turns=number,
        cold_turns=min(state.cold_turns + _is_cold(state, now_s), number),
        spent_nano_usd=state.spent_nano_usd + turn.cost_nano_usd,
        seen_s=now_s,
        caches=caches[:MOST_CACHES],
    )


def after_report(state: SessionState, report: TurnReport) -> SessionState:
    """Returns the state after the outcome of a turn is known.

    The cost counts whenever the report comes. The rest counts only until the model is asked again:
    a report that is overtaken by the next turn changes no cache.
    """
    spent = max(0, state.spent_nano_usd + report.more_nano_usd)
    state = replace(state, spent_nano_usd=spent)
    if report.cached_tokens is None and report.model == state.model:
        return state
    of_model = next((one for one in state.caches if one.model == report.model), None)
    if of_model is not None and of_model.turn > report.turn:
        return state
    caches = tuple(one for one in state.caches if one.model != report.model)
    if report.cached_tokens is None:
        caches = state.caches
    elif report.cached_tokens:
        until_s = state.seen_s + report.ttl_s
        told = CachedPrefix(report.model, report.cached_tokens, until_s, report.turn)
        caches = (told, *caches)
    if report.turn == state.turns:
        state = replace(state, model=report.model, arm=report.arm)
    return replace(state, caches=caches[:MOST_CACHES])


def _is_cold(state: SessionState, now_s: float) -> bool:
    return state.model not in state.cached_tokens(now_s)
