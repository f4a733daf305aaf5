"""The tracker of sessions: it finds what is kept of requests, and keeps their turns and reports."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from routoo.config.sections.sessions import SessionSettings
from routoo.errors import InvalidRequestError
from routoo.routing.sessions.facts import PREVIOUS
from routoo.routing.sessions.rows import Before, SessionRows
from routoo.routing.sessions.state import MIN_CACHED_TOKENS, Turn, TurnReport
from routoo.selector.reason import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.engine.sessions.store import SessionStore
    from routoo.routing.decision import DecidedBatch, Decision
    from routoo.routing.outcome import OutcomeReport
    from routoo.routing.pool import Pool
    from routoo.routing.request import PromptRequest
    from routoo.selector.arrays import FloatArray

_KEY_BYTES: Final = 16
_NANO_PER_USD = 1e9
_LONG_TTL_S = 3600.0
_NO_KEY = b""


class Sessions:
    """Reads and changes what is kept of sessions. Thread-safe, and never waits long.

    Args:
        settings: section ``sessions``.
        store: keeps the sessions; None: only those count that callers keep themselves.
    """

    def __init__(self, settings: SessionSettings, store: SessionStore | None) -> None:
        self.settings = settings
        self.store = store

    @property
    def degraded(self) -> bool:
        """Whether the store that replicas share is away."""
        return self.store is not None and self.store.degraded

    @property
    def waits(self) -> bool:
        """Whether a turn may wait for another machine."""
        return self.store is not None and self.store.waits

    @property
    def keeps(self) -> bool:
        """Whether sessions are kept."""
        return self.store is not None

    def check(self, request: PromptRequest, pool: Pool) -> None:
        """Refuses a session that cannot count.

        Raises:
            InvalidRequestError: names the field.
        """
        facts = request.session
        if facts is None:
            return
        if facts.id and self.store is None:
            raise InvalidRequestError(
                "is not read, as sessions.enabled is not true here; set it (several workers need"
                " ledger.backend: redis for it), send current_model and cached_input_tokens"
                " instead, or leave it empty",
                field=facts.kind,
            )
        if facts.current_model:
            pool.columns_named(facts.current_model, "current_model")

    def before(
        self, requests: Sequence[PromptRequest], input_tokens: FloatArray, pool: Pool
    ) -> tuple[SessionRows, list[bytes]]:
        """Returns the sessions of n requests and their keys; empty: it is not kept.

        Args:
            requests: the n requests.
            input_tokens: float64 [n, m], as each model's tokenizer counts them.
            pool: the m models.
        """
        keys = [self._key_of(one) for one in requests]
        wanted = list(dict.fromkeys(key for key in keys if key))
        states, now_s = ([], 0.0) if self.store is None else self.store.read(wanted)
        kept = dict(zip(wanted, states, strict=True))
        known = [
            None
            if one.session is None or not one.session.is_followed
            else Before(one.session, None if one.session.begins else kept.get(key), now_s)
            for one, key in zip(requests, keys, strict=True)
        ]
        return SessionRows.of(known, input_tokens, pool, self.settings.min_gain), keys

    def decided(self, batch: DecidedBatch, requests: Sequence[PromptRequest]) -> None:
        """Keeps the turns of a decided batch."""
        if self.store is None:
            return
        keys = None if batch.sessions is None else batch.sessions.keys
        for row, request in enumerate(requests):
            column, facts = batch.choices[row], request.session
            if facts is None or not facts.id or column < 0:
                continue
            key = self._key_of(request) if keys is None else keys[row]
            tokens = int(batch.input_tokens[row])
            turn = Turn(
                model=batch.pool.model_of(column),
                arm=_arm_of(batch.pool, column),
                input_tokens=tokens,
                cost_nano_usd=round(batch.costs_usd[row] * _NANO_PER_USD),
                caches=_is_cached(batch.pool, column, tokens, writes=facts.writes),
            )
            self.store.turn(key, turn, begins=facts.begins)

    def reported(
        self, outcome: OutcomeReport, decision: Decision, column: int, cost_usd: float | None
    ) -> None:
        """Keeps what became of a turn.

        Args:
            outcome: the report.
            decision: the decision that it is of.
            column: the model that answered.
            cost_usd: what it has cost; None: not known.
        """
        batch, row = decision.batch, decision.row
        sessions = batch.sessions
        if sessions is None or self.store is None or not sessions.keys[row]:
            return
        if not sessions.rows.on[row]:
            return  # a first turn that was taken to be the only one: it counts as predicted
        tokens, ttl_s = self._cached(outcome, decision, column)
        more_usd = 0.0 if cost_usd is None else cost_usd - batch.costs_usd[row]
        report = TurnReport(
            turn=int(sessions.rows.turns[row]) + 1,
            model=batch.pool.model_of(column),
            arm=_arm_of(batch.pool, column),
            cached_tokens=tokens,
            ttl_s=ttl_s,
            more_nano_usd=round(more_usd * _NANO_PER_USD),
        )
        self.store.report(sessions.keys[row], report)
        reply_id = "" if outcome.usage is None else outcome.usage.reply_id
        if reply_id and sessions.rows.linked[row]:
            linked = self._key(decision.tenant, PREVIOUS, reply_id)
            self.store.link(sessions.keys[row], linked)

    def escalated(self, decision: Decision) -> None:
        """Adds what a further answer to a turn is predicted to cost."""
        self._costs_more(decision, decision.batch.costs_usd[decision.row])

    def _costs_more(self, decision: Decision, more_usd: float) -> None:
        """Changes what the turns of a decision's session have cost, and nothing else."""
        sessions = decision.batch.sessions
        if sessions is None or self.store is None or not sessions.keys[decision.row]:
            return
        more_nano_usd = round(more_usd * _NANO_PER_USD)
        report = TurnReport(0, decision.model, None, 0.0, more_nano_usd)  # turns begin at 1
        self.store.report(sessions.keys[decision.row], report)

    def undone(self, decisions: Sequence[Decision]) -> None:
        """Takes back what decisions that nobody received would have cost and cached."""
        for one in decisions:
            sessions = one.batch.sessions
            if sessions is None or self.store is None or not sessions.keys[one.row]:
                continue
            batch, row = one.batch, one.row
            if batch.reasons[row] == Reason.ESCALATED:
                self._costs_more(one, -batch.costs_usd[row])
                continue
            report = TurnReport(
                turn=int(sessions.rows.turns[row]) + 1,
                model=batch.pool.model_of(batch.choices[row]),
                arm=_arm_of(batch.pool, batch.choices[row]),
                cached_tokens=0,
                ttl_s=0.0,
                more_nano_usd=-round(batch.costs_usd[row] * _NANO_PER_USD),
            )
            self.store.report(sessions.keys[row], report)

    def close(self) -> None:
        """Closes the store."""
        if self.store is not None:
            self.store.close()

    def _cached(
        self, outcome: OutcomeReport, decision: Decision, column: int
    ) -> tuple[int | None, float]:
        """Returns what the provider has cached after a turn, None: as predicted; and for how long.

        A usage that tells no cached tokens says nothing, except where some were to be read: then
        the provider has not cached them, or the caller has not asked it to.
        """
        ttl_s = self.settings.cache_ttl_s
        if outcome.error:
            return 0, ttl_s
        prices, usage = decision.batch.pool.prices, outcome.usage
        if usage is None or outcome.estimated or not prices.sells_cache[column]:
            return None, ttl_s
        read = usage.cached_input_tokens
        written = usage.cache_write_tokens + usage.cache_write_1h_tokens
        if usage.cache_write_1h_tokens:
            ttl_s = max(ttl_s, _LONG_TTL_S)
        sessions = decision.batch.sessions
        assert sessions is not None  # noqa: S101 - the caller has looked
        if read + written == 0:
            expected = sessions.rows.cached[decision.row, column] > 0
            return (0 if expected else None), ttl_s
        if prices.sells_writes[column]:
            return read + written, ttl_s
        # Providers that do not bill writes keep the whole input.
        return max(read, usage.input_tokens or 0), ttl_s

    def _key_of(self, request: PromptRequest) -> bytes:
        facts = request.session
        return _NO_KEY if facts is None else self._key(request.tenant, facts.kind, facts.id)

    def _key(self, *parts: str) -> bytes:
        """Returns the key of a session's tenant, kind of id, and id; empty: it has no id."""
        if self.store is None or not parts[-1]:
            return _NO_KEY
        told = b"".join(_framed(one.encode("utf-8", "surrogatepass")) for one in parts)
        return blake2b(told, key=self.store.secret, digest_size=_KEY_BYTES).digest()


NO_SESSIONS: Final = Sessions(SessionSettings(), None)
"""Keeps no sessions; callers may still keep their own."""


def _framed(part: bytes) -> bytes:
    # With its length in front: no two lists of parts have the same bytes.
    return len(part).to_bytes(8, "big") + part


def _arm_of(pool: Pool, column: int) -> str:
    arm = None if pool.arms is None else pool.arms.specs[column]
    return "" if arm is None else arm.name


def _is_cached(pool: Pool, column: int, tokens: int, *, writes: bool) -> bool:
    prices = pool.prices
    if tokens < MIN_CACHED_TOKENS or not prices.sells_cache[column]:
        return False
    return writes or not prices.sells_writes[column]
