"""States of sessions as bytes, for a store that replicas share, and back."""

from __future__ import annotations

from typing import Final

import orjson

from routoo.routing.sessions.state import MOST_CACHES, CachedPrefix, SessionState

_FORMAT: Final = 1
_MOST: Final = 2**62  # what JSON is read and written with has 64 bits


def encoded(state: SessionState) -> bytes:
    """Returns a state as bytes."""
    caches = [[one.model, one.tokens, one.until_s, one.turn] for one in state.caches]
    return orjson.dumps(
        [
            _FORMAT,
            state.model,
            state.arm,
            state.turns,
            state.cold_turns,
            state.first_input_tokens,
            state.spent_nano_usd,
            state.seen_s,
            caches,
        ]
    )


def decoded(content: bytes | None) -> SessionState | None:
    """Returns the state that ``encoded`` wrote; None: there is none, or it is something else."""
    if content is None:
        return None
    try:
        form, model, arm, turns, cold, first, spent, seen_s, caches = orjson.loads(content)
        if form != _FORMAT:
            return None
        return SessionState(
            model=str(model),
            arm=str(arm),
            turns=max(1, _whole(turns)),
            cold_turns=_whole(cold),
            first_input_tokens=_whole(first),
            spent_nano_usd=_whole(spent),
            seen_s=float(seen_s),
            caches=tuple(
                CachedPrefix(str(name), _whole(tokens), float(until_s), _whole(turn))
                for name, tokens, until_s, turn in caches[:MOST_CACHES]
            ),
        )
    except (ValueError, TypeError):
        return None


def _whole(value: float) -> int:
    if not 0 <= value <= _MOST:
        raise ValueError(f"{value} is out of range")
    return int(value)
