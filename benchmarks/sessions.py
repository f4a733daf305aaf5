"""Bills of agents' sessions against the least bill with hindsight at equal predicted quality.

200 sessions of 8 to 60 turns, made from the token profile of SWE-bench Pro's published runs, on
four models at public prices. Every way of routing decides turn by turn, by predicted score minus
price times cost, at several prices of money. Compared: sessions, by the service's own rules and
store; a caller that counts the caches and looks no further than the turn; and each turn on its own.
All are billed with the caches that happen to be warm.

The least bill is a bound from dynamic programming over all warm caches, with every turn known in
advance, at the total predicted score of the way that it is compared with.

Prints tables, or one object with --json.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.agent_traces import MOODS, TTL_S, make_traces, pool_of_agents
from harness.command import make_parser, run
from harness.outcomes.hindsight import Way, best_way, cache_worth, least_bill_usd, turn_costs
from routoo.config.sections.sessions import SessionSettings
from routoo.engine.sessions.memory import MemorySessions
from routoo.engine.sessions.tracker import Sessions
from routoo.routing.estimates import Estimates
from routoo.routing.request import PromptRequest
from routoo.routing.sessions.facts import SessionFacts
from routoo.routing.sessions.state import MIN_CACHED_TOKENS, Turn
from routoo.routing.sessions.stay import in_turn, turns_of
from routoo.selector.policies.base import Case
from routoo.selector.policies.lp import Lp

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence

    from harness.agent_traces import Trace
    from harness.outcomes.hindsight import Floats
    from routoo.routing.pool import Pool

    Route = Callable[[Trace, Pool, float], list[int]]

SESSIONS, QUICK_SESSIONS = 200, 20
PRICES = (1.0, 2.0, 4.0, 8.0, 16.0)
# Prices of the program: as fine as the bound needs.
PROGRAM_PRICES = tuple(0.8 * 1.22**step for step in range(20))
SEED = 18


@dataclass(frozen=True, slots=True)
class Compared:
    """One way of routing at one price.

    Attributes:
        way: its name.
        price: score per USD.
        bill_usd: what all sessions cost.
        score: mean predicted score of a turn.
        switches: share of turns with another model than the turn before.
        over_least: its bill over the least bill at the same total score.
    """

    way: str
    price: float
    bill_usd: float
    score: float
    switches: float
    over_least: float


def with_sessions(trace: Trace, pool: Pool, price: float, **settings: Any) -> list[int]:
    """Routes the turns of one session by the service's rules and store."""
    now_s = [0.0]
    store = MemorySessions(
        max_sessions=10, max_bytes=10**6, ttl_s=1e6, cache_ttl_s=TTL_S, clock_s=lambda: now_s[0]
    )
    sessions = Sessions(SessionSettings(**settings), store)
    request = PromptRequest("turn", session=SessionFacts("session_id", "s"))
    key, choices = b"", []
    for turn, at_s in enumerate(trace.at_s.tolist()):
        now_s[0] = at_s
        estimates = _estimates(trace, turn, pool)
        rows, (key,) = sessions.before([request], estimates.input_tokens, pool)
        alone_usd, estimates = estimates.costs_usd, in_turn(rows, estimates, pool)
        case = _case(estimates, price)
        choice, _, _ = turns_of(rows, [key], case, alone_usd, estimates, pool).chosen_by(Lp())
        column = int(choice[0])
        tokens = int(trace.input_tokens[turn])
        cached = tokens >= MIN_CACHED_TOKENS
        store.turn(key, Turn(pool.names[column], tokens, 0, caches=cached), begins=False)
        choices.append(column)
    return choices


def by_turn(trace: Trace, pool: Pool, price: float) -> list[int]:
    """Routes each turn on its own, at its full price."""
    turns = range(len(trace.at_s))
    return [int(Lp().choose(_case(_estimates(trace, turn, pool), price))[0]) for turn in turns]


def for_the_turn(trace: Trace, pool: Pool, price: float) -> list[int]:
    """Routes each turn with what is cached, and looks no further than the turn."""
    costs, choices, last = turn_costs(trace, pool), [], np.full(len(pool.names), -1)
    models = np.arange(len(pool.names))
    for turn in range(len(trace.at_s)):
        lags = _warm_lags(trace, turn, last)
        worth = trace.scores[turn] - price * costs[turn][lags, models]
        choices.append(int(np.argmax(worth)))
        last[choices[-1]] = turn
    return choices


WAYS: dict[str, Route] = {
    "sessions": with_sessions,
    "the turn and its caches": for_the_turn,
    "each turn alone": by_turn,
}


def billed(trace: Trace, costs: Floats, choices: Sequence[int]) -> Way:
    """Returns what a way through one session comes to."""
    bill_usd = score = 0.0
    switches = 0
    last = np.full(trace.scores.shape[1], -1)
    for turn, column in enumerate(choices):
        lags = _warm_lags(trace, turn, last)
        bill_usd += costs[turn, lags[column], column]
        score += trace.scores[turn, column]
        switches += turn > 0 and column != choices[turn - 1]
        last[column] = turn
    return Way(bill_usd, score, switches)


def compare(mood: str, sessions: int) -> list[Compared]:
    """Compares all ways on the traces of one mood."""
    pool = pool_of_agents()
    traces = make_traces(sessions, MOODS[mood], SEED)
    costs = [turn_costs(trace, pool) for trace in traces]
    worth_usd = [cache_worth(trace, pool) for trace in traces]
    optima = [(price, best_way(traces, costs, worth_usd, price)) for price in PROGRAM_PRICES]
    turns = sum(len(trace.at_s) for trace in traces)
    found = []
    for name, route in WAYS.items():
        for price in PRICES:
            ways = [
                billed(trace, own, route(trace, pool, price))
                for trace, own in zip(traces, costs, strict=True)
            ]
            bill_usd = float(sum(one.bill_usd for one in ways))
            score = float(sum(one.score for one in ways))
            switches = sum(one.switches for one in ways)
            over = bill_usd / least_bill_usd(score, optima)
            found.append(Compared(name, price, bill_usd, score / turns, switches / turns, over))
    return found


def _warm_lags(trace: Trace, turn: int, last: Any) -> Any:
    """Returns the lag of each model whose cache is warm, int [m]; 0: it is cold."""
    is_warm = (last >= 0) & (trace.at_s[turn] - trace.at_s[last] < TTL_S)
    return np.where(is_warm, turn - last, 0)


def _estimates(trace: Trace, turn: int, pool: Pool) -> Estimates:
    shape = (1, len(pool.names))
    tokens = np.full(shape, trace.input_tokens[turn])
    output = np.full(shape, trace.output_tokens[turn])
    return Estimates(
        scores=trace.scores[turn : turn + 1],
        output_tokens=output,
        costs_usd=pool.prices.costs_usd(tokens, output, None),
        latencies_ms=np.zeros(shape),
        input_tokens=tokens,
    )


def _case(estimates: Estimates, price: float) -> Case:
    return Case(
        scores=estimates.scores,
        costs_usd=estimates.costs_usd,
        mask=np.ones(estimates.scores.shape, np.bool_),
        prices=np.array([price]),
        max_quality_gaps=np.array([np.nan]),
        tickets=np.zeros(1, np.int64),
    )


def measure(arguments: Namespace) -> dict[str, Any]:
    """Runs all comparisons."""
    sessions = QUICK_SESSIONS if arguments.quick else SESSIONS
    return {
        "sessions": sessions,
        "moods": {mood: [asdict(one) for one in compare(mood, sessions)] for mood in MOODS},
    }


def show(found: dict[str, Any]) -> None:
    """Prints the tables of all comparisons."""
    lines: list[str] = []
    for mood, rows in found["moods"].items():
        lines += [f"{mood}, {found['sessions']} sessions", ""]
        lines.append("| way | price | bill | mean score | switches | over the least bill |")
        lines.append("|---|---|---|---|---|---|")
        lines += [
            f"| {one['way']} | {one['price']:g} | ${one['bill_usd']:.2f} | {one['score']:.4f}"
            f" | {one['switches']:.1%} | {one['over_least']:.3f} |"
            for one in rows
        ]
        lines.append("")
    print("\n".join(lines))


if __name__ == "__main__":
    parser = make_parser(__doc__, quick=f"{QUICK_SESSIONS} sessions", whole=True)
    sys.exit(run(parser.parse_args(), measure, show))
