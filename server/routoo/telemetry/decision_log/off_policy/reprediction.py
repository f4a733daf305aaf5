"""Logged requests as another predictor estimates them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from routoo.predictor.base import join
from routoo.routing.corrections.factors import corrected_tokens
from routoo.routing.estimates import (
    answers_of,
    costs_usd_of,
    estimates_of,
    latencies_ms_of,
    most_usd_of,
)
from routoo.telemetry.decision_log.reader import DecisionLogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from routoo.predictor.base import Predictor
    from routoo.telemetry.decision_log.columns import Logged

_AT_ONCE: Final = 256


def predicted_again(
    logged: Logged,
    prompts: Mapping[str, str],
    predictor: Predictor,
    track: Callable[[range], Iterable[int]] = iter,
) -> Logged:
    """Returns decisions with the scores and lengths of another predictor in place of the log's.

    Input tokens, prices, corrections of lengths and latencies, and the requests' own wishes stay
    the log's.

    Args:
        logged: n decisions.
        prompts: the texts by decision id.
        predictor: knows every model of the log's pool.
        track: shows progress over parts of the decisions.

    Raises:
        DecisionLogError: a decision has no text.
        PoolError: the predictor does not know a model.
        PredictorError: inference failed.
    """
    lacking = next((one for one in logged.ids if one not in prompts), None)
    if lacking is not None:
        raise DecisionLogError(
            f"decision {lacking} has no prompt, which another predictor has to read; set"
            " decision_log.prompts: text from now on"
        )
    texts = [prompts[one] for one in logged.ids]
    parts = [
        predictor.predict(texts[start : start + _AT_ONCE], None)
        for start in track(range(0, len(texts), _AT_ONCE))
    ]
    pool, old = logged.setup.pool, logged.estimates
    columns = pool.columns_in(predictor.models)
    requests = [
        replace(request, text=text) for request, text in zip(logged.requests, texts, strict=True)
    ]
    new = estimates_of(join(parts), requests, pool, columns, None)
    tokens = new.output_tokens
    if old.length_factors is not None:
        tokens = corrected_tokens(tokens, old.length_factors)
    inputs = old.input_tokens
    costs_usd = costs_usd_of(pool, inputs, tokens, old.priced_s)
    answers = answers_of(requests)
    estimates = replace(
        old,
        scores=new.scores,
        output_tokens=tokens,
        costs_usd=costs_usd,
        latencies_ms=latencies_ms_of(
            pool, tokens / answers, old.latency_factors, old.first_factors
        ),
        most_usd=most_usd_of(pool, requests, old.most_input_tokens, tokens, old.priced_s),
        score_std=new.score_std,
        evidence=new.evidence,
        ood=new.ood,
        confidence=new.confidence,
    )
    return replace(logged, estimates=estimates)
