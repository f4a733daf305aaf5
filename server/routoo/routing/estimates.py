"""Estimates of scores, output lengths, costs and latencies of prompts on the models of a pool."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from routoo.predictor.token_count import count_tokens
from routoo.routing.corrections.factors import corrected_tokens
from routoo.routing.corrections.scores.rows import learned_rows
from routoo.routing.media import MediaAmounts
from routoo.selector.policies.lp import round_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from routoo.predictor.base import Prediction
    from routoo.routing.corrections.factors import Factors
    from routoo.routing.corrections.scores.in_force import LearnedScores
    from routoo.routing.pool import Pool
    from routoo.routing.request import PromptRequest

INPUT_MARGIN: Final = 1.25
"""An input has at most this many times the tokens that are counted: counts are 0.8 or more of those
of the real tokenizers."""
FRAME_TOKENS: Final = 32
"""Tokens that a provider may add to a request: roles, and marks of its begin and end."""
_NO_MEDIA: Final = MediaAmounts()
_MOST_USD: Final = 1e6  # no sum that is reserved is larger; one alone would fail its whole batch


@dataclass(frozen=True, slots=True)
class Estimates:
    """Predicted figures of n prompts on the pool's m models, float64 where nothing else is said.

    The predictor need not give ``score_std`` and what follows it up to ``task_names``; they are
    None or empty then. Those after ``priced_s`` are None where lengths are not corrected.

    Attributes:
        scores: [n, m], in [0, 1], rounded to 1e-4.
        output_tokens: [n, m], whole numbers, of all answers that a request asks for.
        costs_usd: [n, m].
        latencies_ms: [n, m], time to the last token.
        input_tokens: [n, m], whole numbers, as each model's tokenizer counts them.
        most_input_tokens: [n, m], the same, counted generously: with a margin for errors, and for a
            model whose tokenizer is not known the largest count of any. ``input_tokens`` where
            neither a request nor the arm sets a longest answer; None: none does.
        most_usd: [n, m], what a request may cost: with answers as long as it allows, and
            ``most_input_tokens``. The predicted cost where neither it nor the arm sets a longest
            answer; None: none does.
        score_std: [n, m], standard deviation of a score over predictors trained on other prompts.
        evidence: [n, m], graded prompts behind a score, rounded to 0.01.
        averages: [n, m], published averages behind a score, rounded to 0.01.
        ood: [n], in [0, 1], distance from the training prompts, rounded to 1e-4.
        confidence: [n], probability of the most probable task, rounded to 1e-4.
        tasks: int64 [n], the most probable task, by its position in ``task_names``.
        task_names: the kinds of task.
        unsure: bool [n], prompts that the predictor does not know by the setting ``policy.unsure``;
            None where that is not set.
        priced_s: int64 [n], the time whose prices hold, in whole seconds since 1970; None: the
            mean prices of a week.
        plain_tokens: [n, m], whole numbers, predicted before any correction or limit.
        max_output_tokens: [n], the limit of each request, infinite without one; NaN where the
            request has an estimate of its own, which is not corrected.
        length_factors: [n, m], by which ``plain_tokens`` are corrected; None: all are 1.
        latency_factors: [n, m], by which latencies are corrected; None: all are 1.
        first_factors: [n, m], by which times to the first token are besides; None: all are 1.
        percentiles: int64 [n], the percentile of its latency that each request names; 0: none.
            None: no request names one.
        percentile_factors: [n, m], by which latencies are multiplied for that; None: all are 1.
        correction: the factors in force, of which those are rows; None: all are 1.
        plain_scores: [n, m], the scores as predicted, where others were learned; else None.
        plain_std: [n, m], the same of ``score_std``.
        score_odds: [n, m], by which the odds of ``plain_scores`` are multiplied.
        learned: the learned scores in force, of which those are rows; None: they change nothing.
    """

    scores: NDArray[np.float64]
    output_tokens: NDArray[np.float64]
    costs_usd: NDArray[np.float64]
    latencies_ms: NDArray[np.float64]
    input_tokens: NDArray[np.float64]
    most_input_tokens: NDArray[np.float64] | None = None
    most_usd: NDArray[np.float64] | None = None
    score_std: NDArray[np.float64] | None = None
    evidence: NDArray[np.float64] | None = None
    averages: NDArray[np.float64] | None = None
    ood: NDArray[np.float64] | None = None
    confidence: NDArray[np.float64] | None = None
    tasks: NDArray[np.int64] | None = None
    task_names: tuple[str, ...] = ()
    unsure: NDArray[np.bool_] | None = None
    priced_s: NDArray[np.int64] | None = None
    plain_tokens: NDArray[np.float64] | None = None
    max_output_tokens: NDArray[np.float64] | None = None
    length_factors: NDArray[np.float64] | None = None
    latency_factors: NDArray[np.float64] | None = None
    first_factors: NDArray[np.float64] | None = None
    percentiles: NDArray[np.int64] | None = None
    percentile_factors: NDArray[np.float64] | None = None
    correction: Factors | None = None
    plain_scores: NDArray[np.float64] | None = None
    plain_std: NDArray[np.float64] | None = None
    score_odds: NDArray[np.float64] | None = None
    learned: LearnedScores | None = None

    @property
    def reserved_usd(self) -> NDArray[np.float64]:
        """What is reserved for each request: ``most_usd``, else the predicted cost, [n, m]."""
        return self.costs_usd if self.most_usd is None else self.most_usd

    @property
    def limited_ms(self) -> NDArray[np.float64]:
        """What ``max_latency_ms`` limits: the latencies at the named percentiles, [n, m]."""
        if self.percentile_factors is None:
            return self.latencies_ms
        return self.latencies_ms * self.percentile_factors

    def percentile_ms(self, row: int) -> tuple[int, NDArray[np.float64]] | None:
        """Returns the percentile that a request names, and the latencies at it, float64 [m].

        None: it names none.
        """
        named, factors = self.percentiles, self.percentile_factors
        if named is None or factors is None or not named[row]:
            return None
        return int(named[row]), self.latencies_ms[row] * factors[row]

    def rows(self, at: slice | NDArray[np.intp]) -> Self:
        """Returns the figures of k of the prompts."""
        figures: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        for name, value in figures.items():
            if isinstance(value, np.ndarray):
                figures[name] = value[at]
        return type(self)(**figures)


def estimates_of(
    prediction: Prediction,
    requests: Sequence[PromptRequest],
    pool: Pool,
    columns: NDArray[np.intp] | slice,
    priced_s: int | None,
    factors: Factors | None = None,
    learned: LearnedScores | None = None,
) -> Estimates:
    """Turns a prediction into the pool's estimates.

    Scores and token counts are rounded, so that the last bits of an inference, which depend on the
    batch it ran in, cannot change a decision.

    Args:
        prediction: the prediction for n prompts, on all models of the predictor.
        requests: the n requests; their own length estimates replace the predicted ones, and
            their limits and additions change them.
        pool: m models.
        columns: [m], the pool's models among the prediction's columns; a slice copies nothing.
        priced_s: the time whose prices hold, in seconds since 1970; None: the mean prices of a
            week.
        factors: correct predicted lengths and latencies, of the pool's models and the
            prediction's kinds of task; None: nothing is corrected, nor learned from the answers.
        learned: changes predicted scores, of the same models and kinds; None: nothing does.
    """
    if pool.arms is None:
        scores = round_scores(prediction.scores[:, columns])
        output_tokens = np.rint(prediction.output_tokens[:, columns], dtype=np.float64)
    else:
        rows = prediction.scores[:, columns].astype(np.float64)
        scores = round_scores(pool.arms.offsets.scores(rows))
        rows = prediction.output_tokens[:, columns].astype(np.float64)
        output_tokens = np.rint(pool.arms.offsets.tokens(rows))
    tasks = None if prediction.tasks is None else prediction.tasks.argmax(axis=1).astype(np.int64)
    std = None
    if prediction.score_std is not None:
        std = prediction.score_std[:, columns].astype(np.float64)
    told: dict[str, Any] = {"scores": scores, "score_std": std}
    if learned is not None and not learned.changes_nothing:
        told = learned_rows(scores, std, tasks, [one.tenant for one in requests], learned)
    plain_tokens = limits = length_factors = latency_factors = first_factors = None
    if factors is not None:
        plain_tokens, limits = output_tokens, np.full(len(requests), np.inf)
        if factors.changes_nothing:
            output_tokens = plain_tokens.copy()
        else:
            length_factors, latency_factors = factors.rows(tasks, len(requests))
            first_factors = np.broadcast_to(factors.firsts, latency_factors.shape)
            output_tokens = corrected_tokens(plain_tokens, length_factors)
    asking = _asking(requests)
    if asking:
        _as_asked(requests, asking, output_tokens, limits)
    np.minimum(output_tokens, pool.max_output_tokens, out=output_tokens)
    # Several answers are given side by side.
    latencies_ms = latencies_ms_of(pool, output_tokens, latency_factors, first_factors)
    if asking and any(requests[row].answers != 1 for row in asking):
        output_tokens *= answers_of(requests)
    input_tokens, most_inputs = _input_tokens(prediction.input_tokens, requests, asking, pool)
    return Estimates(
        **told,
        output_tokens=output_tokens,
        costs_usd=costs_usd_of(pool, input_tokens, output_tokens, priced_s),
        latencies_ms=latencies_ms,
        input_tokens=input_tokens,
        most_input_tokens=most_inputs,
        most_usd=most_usd_of(pool, requests, most_inputs, output_tokens, priced_s),
        evidence=_hundredths(prediction.evidence, columns),
        averages=_hundredths(prediction.averages, columns),
        ood=None if prediction.ood is None else round_scores(prediction.ood),
        confidence=(
            None if prediction.tasks is None else round_scores(prediction.tasks.max(axis=1))
        ),
        tasks=tasks,
        task_names=prediction.task_names,
        priced_s=None if priced_s is None else np.full(len(scores), priced_s, np.int64),
        plain_tokens=plain_tokens,
        max_output_tokens=limits,
        length_factors=length_factors,
        latency_factors=latency_factors,
        first_factors=first_factors,
        correction=None if length_factors is None else factors,
    )


def _asking(requests: Sequence[PromptRequest]) -> list[int]:
    """Returns the rows that ask for more than an answer to their text; most requests do not."""
    return [
        row
        for row, one in enumerate(requests)
        if one.max_output_tokens is not None
        or one.expected_output_tokens is not None
        or one.answers != 1
        or one.added_input_tokens
        or one.unread
        or one.media is not None
    ]


def _as_asked(
    requests: Sequence[PromptRequest],
    rows: Sequence[int],
    output_tokens: NDArray[np.float64],
    limits: NDArray[np.float64] | None,
) -> None:
    """Puts what some rows ask of each answer into ``output_tokens`` [n, m] and ``limits`` [n].

    A request with an estimate of its own, or for several answers, gets the limit NaN: what it
    comes to teaches no length.
    """
    own = [row for row in rows if requests[row].expected_output_tokens is not None]
    if own:
        expected = [requests[row].expected_output_tokens for row in own]
        output_tokens[own] = np.array(expected, np.float64)[:, None]
    caps = caps_of(requests)
    np.minimum(output_tokens, caps[:, None], out=output_tokens)
    if limits is not None:
        limits[:] = caps
        own += [row for row in rows if requests[row].answers != 1]
        limits[own] = np.nan


def caps_of(requests: Sequence[PromptRequest]) -> NDArray[np.float64]:
    """Returns the longest answer that each request allows, float64 [n]; infinite: it says none."""
    caps = [one.max_output_tokens for one in requests]
    return np.array([np.inf if cap is None else cap for cap in caps], np.float64)


def asked_caps(requests: Sequence[PromptRequest], pool: Pool) -> NDArray[np.float64]:
    """Returns the longest answers that n requests and the m columns' arms ask for.

    Returns:
        float64 [n, 1] or [n, m], in tokens; infinite: nothing limits the answer.
    """
    caps = caps_of(requests)[:, None]
    arms = pool.arms
    if arms is None or arms.longest_answers is None:
        return caps
    return np.minimum(caps, arms.longest_answers)


def _hundredths(
    values: NDArray[np.float32] | None, columns: NDArray[np.intp] | slice
) -> NDArray[np.float64] | None:
    """Returns the pool's columns, rounded: the last bits of a product depend on the batch."""
    if values is None:
        return None
    found: NDArray[np.float64] = np.multiply(values[:, columns], 100.0, dtype=np.float64)
    return np.rint(found) / 100.0


def costs_usd_of(
    pool: Pool,
    input_tokens: NDArray[np.float64],
    output_tokens: NDArray[np.float64],
    priced_s: NDArray[np.int64] | int | None,
) -> NDArray[np.float64]:
    """Returns predicted costs in USD, [n, m].

    Args:
        pool: m models.
        input_tokens: [n] or [n, m].
        output_tokens: [n, m].
        priced_s: [n] or one for all, the time whose prices hold, in seconds since 1970; None: the
            mean prices of a week.
    """
    return pool.prices.costs_usd(input_tokens, output_tokens, priced_s)


def _input_tokens(
    predicted: NDArray[np.float64],
    requests: Sequence[PromptRequest],
    asking: Sequence[int],
    pool: Pool,
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Returns the input tokens of n requests on m models, and the most, each float64 [n, m].

    See ``Estimates.most_input_tokens``.

    Args:
        predicted: float64 [n], the lengths of the texts as the predictor counts them, for models
            whose tokenizer is not known.
        requests: the n requests.
        asking: the rows that ask for more than an answer to their text.
        pool: the m models.
    """
    columns, texts = pool.tokenizers, [request.text for request in requests]
    arms_ask = pool.arms is not None and pool.arms.longest_answers is not None
    if not asking and not arms_ask:
        return columns.counts(texts, predicted)[0], None
    for row in asking:
        texts[row] = _read(requests[row])
    unread = [request.unread for request in requests]
    if any(unread):
        predicted = predicted + count_tokens(unread)
    capped: Sequence[int] = range(len(requests))
    if not arms_ask:
        capped = [row for row in asking if requests[row].max_output_tokens is not None]
    any_family = bool(capped) and not columns.all_known
    tokens, longest = columns.counts(texts, predicted, most=any_family)
    added = _added_tokens(requests, pool)
    tokens += added
    if not capped:
        return tokens, None
    most = tokens.copy()
    rows = most[capped]
    if longest is not None:
        longest = (longest[:, None] + added)[capped]
        rows = np.where(columns.known, rows, np.maximum(rows, longest))
    most[capped] = np.ceil(rows * INPUT_MARGIN) + FRAME_TOKENS
    if arms_ask:
        most = np.where(np.isfinite(asked_caps(requests, pool)), most, tokens)
    return tokens, most


def most_input_tokens_of(
    request: PromptRequest, input_tokens: NDArray[np.float64], pool: Pool
) -> NDArray[np.float64]:
    """Returns a request's most input tokens, float64 [m]; see ``Estimates.most_input_tokens``.

    Args:
        request: the request.
        input_tokens: float64 [m], as they are counted.
        pool: the m models.
    """
    columns, most = pool.tokenizers, input_tokens
    if not columns.all_known:
        _, longest = columns.counts([_read(request)], np.zeros(1), most=True)
        if longest is not None:
            rows = longest + _added_tokens([request], pool)[0]
            most = np.where(columns.known, most, np.maximum(most, rows))
    generous: NDArray[np.float64] = np.ceil(most * INPUT_MARGIN) + FRAME_TOKENS
    return generous


def _added_tokens(requests: Sequence[PromptRequest], pool: Pool) -> NDArray[np.float64]:
    """Returns the tokens of requests that are not of texts, float64 [n, 1] or [n, m]."""
    added = np.array([[request.added_input_tokens] for request in requests], np.float64)
    if pool.media_tokens is None:
        return added
    return added + [pool.media_tokens.more(request.media or _NO_MEDIA) for request in requests]


def answers_of(requests: Sequence[PromptRequest]) -> NDArray[np.float64]:
    """Returns how many answers each request asks for, float64 [n, 1]."""
    return np.array([[request.answers] for request in requests], np.float64)


def most_usd_of(
    pool: Pool,
    requests: Sequence[PromptRequest],
    most_input_tokens: NDArray[np.float64] | None,
    output_tokens: NDArray[np.float64],
    priced_s: NDArray[np.int64] | int | None,
) -> NDArray[np.float64] | None:
    """Returns what each request may cost, in USD, float64 [n, m]; see ``Estimates.most_usd``.

    Args:
        pool: the m models.
        requests: the n requests.
        most_input_tokens: [n, m]; None: no request sets a longest answer.
        output_tokens: [n, m], predicted, of all answers.
        priced_s: [n] or one for all, the time whose prices hold, in seconds since 1970; None: the
            mean prices of a week.
    """
    if most_input_tokens is None:
        return None
    caps = asked_caps(requests, pool)
    capped = np.isfinite(caps)
    longest = np.minimum(caps, pool.longest_answers)
    added = np.array([one.added_output_tokens for one in requests], np.float64)
    outputs = np.where(capped, (longest + added[:, None]) * answers_of(requests), output_tokens)
    most = pool.prices.most_usd(
        most_input_tokens,
        outputs,
        priced_s,
        mixed=_if_any([one.mixed for one in requests], np.bool_),
        images=_if_any([one.images for one in requests], np.float64),
        service_tiers=[one.service_tier for one in requests],
    )
    if not capped.all():
        # A request is reserved for alike, whatever others it is decided with.
        most = np.where(capped, most, costs_usd_of(pool, most_input_tokens, outputs, priced_s))
    return np.minimum(most, _MOST_USD)


def _if_any(values: list[Any], dtype: type[np.generic]) -> NDArray[Any] | None:
    return np.array(values, dtype) if any(values) else None


def _read(request: PromptRequest) -> str:
    """Returns all text of a request that a model reads."""
    return f"{request.text}\n{request.unread}" if request.unread else request.text


def latencies_ms_of(
    pool: Pool,
    output_tokens: NDArray[np.float64],
    factors: NDArray[np.float64] | None = None,
    first_factors: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Returns predicted times to the last token in milliseconds, float64 [n, m].

    Args:
        pool: m models.
        output_tokens: [n, m].
        factors: [n, m], learned corrections; None: the pool's figures hold.
        first_factors: [n, m], those of the time to the first token besides; None: all are 1.
    """
    first_ms = pool.time_to_first_token_ms
    if first_factors is not None:
        first_ms = first_ms * first_factors
    latencies_ms = first_ms + output_tokens * pool.time_per_output_token_ms
    return latencies_ms if factors is None else latencies_ms * factors
