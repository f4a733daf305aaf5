"""Traces of coding agents: how long their turns are, when they come, and what scores are predicted.

Token profile: the runs of two agents on SWE-bench Pro that scaleapi/SWE-bench_Pro-os publishes
have, in the mean, 54 to 66 steps with 36,000 to 49,000 input tokens a step and 110 to 230 output
tokens. Scores: the published rates of the same models are their means; a session's difficulty and a
turn's kind move all of them, and noise that fades from turn to turn moves each. Prices are public
ones, with the public terms of caches: 300 s, reading at a tenth, writing at 1.25.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from routoo.routing.pool import ModelSpec, Pool

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TTL_S: Final = 300.0
READ, WRITE = 0.1, 1.25
LEAST_TURNS, MOST_TURNS = 8, 60
# Name, USD per million tokens of input and of output, share of SWE-bench Pro's tasks resolved.
MODELS: Final = (
    ("anthropic/claude-sonnet-4.5", 3.0, 15.0, 0.437),
    ("openai/gpt-5", 1.25, 10.0, 0.364),
    ("moonshotai/kimi-k2", 0.6, 2.5, 0.277),
    ("openai/gpt-oss-120b", 0.15, 0.6, 0.162),
)


@dataclass(frozen=True, slots=True)
class Mood:
    """The way in which predicted scores move within a session.

    Attributes:
        noise: standard deviation of each model's own movement, in score.
        kept: how much of that movement is left a turn later.
        easy: share of turns that are easy: all score .2 higher, and the models are half as far
            apart.
    """

    noise: float
    kept: float
    easy: float


MOODS: Final = {
    "usual": Mood(0.04, 0.7, 0.0),
    "steady": Mood(0.02, 0.9, 0.0),
    "jumpy": Mood(0.06, 0.3, 0.0),
    "easy and hard": Mood(0.04, 0.7, 0.5),
}


@dataclass(frozen=True, slots=True)
class Trace:
    """One session of t turns on m models.

    Attributes:
        at_s: float64 [t], when each turn comes, in seconds.
        input_tokens: float64 [t].
        output_tokens: float64 [t].
        scores: float64 [t, m], predicted, rounded to 1e-4.
    """

    at_s: Floats
    input_tokens: Floats
    output_tokens: Floats
    scores: Floats


def pool_of_agents() -> Pool:
    """Makes the pool of the traces."""
    return Pool.of(
        tuple(
            ModelSpec.model_validate(
                {
                    "name": name,
                    "usd_per_1m_input_tokens": price,
                    "usd_per_1m_cached_input_tokens": price * READ,
                    "usd_per_1m_cache_write_tokens": price * WRITE,
                    "usd_per_1m_output_tokens": output,
                    "price_status": "stated",
                    "context_window_tokens": 1_000_000,
                    "time_to_first_token_ms": 1000,
                    "time_per_output_token_ms": 15,
                }
            )
            for name, price, output, _ in MODELS
        )
    )


def make_traces(sessions: int, mood: Mood, seed: int) -> list[Trace]:
    """Makes traces from a seed."""
    source = np.random.default_rng(seed)
    return [_trace(mood, source) for _ in range(sessions)]


def _trace(mood: Mood, source: np.random.Generator) -> Trace:
    turns = int(source.integers(LEAST_TURNS, MOST_TURNS + 1))
    output = np.maximum(20.0, source.lognormal(np.log(150), 0.8, turns)).round()
    results = source.lognormal(np.log(900), 0.9, turns).round()
    start = round(source.lognormal(np.log(6000), 0.5))
    before = np.concatenate([[0.0], np.cumsum(output + results)[:-1]])
    # Tools take seconds; at times a person, or a long run of tests, is waited for.
    pauses = source.lognormal(np.log(15), 1.2, turns)
    pauses[0] = 0.0
    return Trace(np.cumsum(pauses), start + before, output, _scores(turns, mood, source))


def _scores(turns: int, mood: Mood, source: np.random.Generator) -> Floats:
    rates = np.array([rate for *_, rate in MODELS])
    mean = rates.mean()
    difficulty = source.normal(0.0, 0.12)
    own = source.normal(0.0, 0.03, len(rates))
    moved = np.zeros((turns, len(rates)))
    fresh = source.normal(0.0, mood.noise, (turns, len(rates)))
    moved[0] = fresh[0]
    for turn in range(1, turns):
        new = fresh[turn] * np.sqrt(1.0 - mood.kept**2)
        moved[turn] = mood.kept * moved[turn - 1] + new
    easy = source.random(turns) < mood.easy
    apart = np.where(easy, 0.5, 1.0)[:, None]
    scores = mean + 0.2 * easy[:, None] + difficulty + apart * (rates - mean) + own + moved
    return np.clip(scores, 0.0, 1.0).round(4)
