"""Screens for replies of the service: blocks of text, facts and tables."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from routoo.cli.output import arms, health
from routoo.cli.output.numbers import (
    count,
    durations,
    evidence,
    percent,
    price,
    score,
    seconds,
    stretches,
    usd,
    usd_column,
)
from routoo.cli.output.render import Bar, Block, Column, Facts, Row, Style, TextLine, TextTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.v1.budget_pb2 import Budget, GetBudgetResponse
    from routoo.v1.info_pb2 import (
        Corrections,
        CurvePoint,
        GetInfoResponse,
        ListModelsResponse,
        Model,
        Prices,
        Shadow,
    )
    from routoo.v1.outcome_pb2 import EscalateResponse
    from routoo.v1.route_pb2 import Candidate, RouteResponse, Timing

_MAX_SHARES_SHOWN = 2
_SAMPLE_USD = 0.001


def decision(response: RouteResponse) -> list[Block]:
    """Shows the chosen model, the predictions of every model, and the reason."""
    headline = (
        f"score {score(response.predicted_score)}, {usd(response.predicted_cost_usd)}, "
        f"{_time(response)}, "
        f"{response.predicted_output_tokens:,.0f} output tokens expected"
    )
    blocks: list[Block] = [
        TextLine(arms.chosen(response), "good"),
        TextLine(headline),
        TextLine(response.reason.text, "muted"),
    ]
    if response.degraded:
        blocks.append(TextLine("degraded: decided without a component that failed", "warning"))
    if response.unhealthy:
        blocks.append(TextLine("unhealthy: the model fails at present", "warning"))
    if response.truncated:
        blocks.append(TextLine("truncated: the middle of the prompt was not read", "warning"))
    blocks.append(_candidates(response))
    facts = [
        ("shadow price", worth(response.shadow_price)),
        ("prompt", count(response.input_tokens, "token")),
        *_known(response),
        *_session(response),
        ("decided in", phases(response.timing)),
        ("predictor", response.predictor_version),
        ("policy", response.policy_version),
        ("decision", response.decision_id),
    ]
    if response.HasField("arm"):
        facts.insert(0, ("ask with", arms.asks(response.arm)))
    if response.fallbacks:
        facts.insert(0, ("if it fails", arms.fallbacks(response)))
    if response.second_model:
        facts.insert(0, ("ask beside", response.second_model))
    if response.reason.binding_constraints:
        facts.insert(0, ("constraints", ", ".join(response.reason.binding_constraints)))
    blocks.append(Facts(facts))
    return blocks


def _time(response: RouteResponse) -> str:
    """Says how long an answer takes: on the average, and what the named percentile keeps."""
    mean = seconds(response.predicted_latency_ms)
    if not response.HasField("latency_percentile"):
        return mean
    return f"{mean} (p{response.latency_percentile} {seconds(response.percentile_latency_ms)})"


def _known(response: RouteResponse) -> list[tuple[str, str]]:
    """Says what the predictor knows of the prompt and of the chosen model; what it tells of it."""
    facts = []
    if response.HasField("task"):
        facts.append(("task", f"{response.task}, {percent(response.task_confidence)} sure"))
    if response.HasField("ood"):
        facts.append(
            ("unlike", f"{response.ood:.2f}, where 0 is like the training prompts and 1 is not")
        )
    if response.HasField("score_std"):
        facts.append(("score", f"standard deviation {score(response.score_std)}"))
    if response.HasField("evidence"):
        facts.append(("evidence", _evidence(response)))
    return facts


def _session(response: RouteResponse) -> list[tuple[str, str]]:
    """Says what the session has had and cost so far, and whether its model stays."""
    if not response.session_turns:
        return []
    spent = usd(response.session_spent_usd)
    facts = [("session", f"{count(response.session_turns, 'turn')} before, {spent} so far")]
    if response.HasField("switch_cost_usd"):
        reason = _STAYS.get(response.stay_reason)
        cost = usd(response.switch_cost_usd)
        facts.append(
            ("model", f"stays: {reason}; a switch costs {cost} now")
            if reason
            else ("model", f"changes, which costs {cost} now")
        )
    return facts


# By value of StayReason.
_STAYS = {
    1: "its tool call is answered",
    2: "the request holds what only it, or its provider, can read",
    3: "its cache is worth more than another model's gain",
    4: "another model gains too little",
    5: "it is the best without the session, too",
}


def _evidence(response: RouteResponse) -> str:
    """Says what the chosen model's score rests on, of its answers to this kind of task."""
    graded = count(round(response.evidence), "graded prompt")
    if not response.HasField("published_averages"):
        return graded
    averages = count(round(response.published_averages), "published average")
    if round(response.evidence):
        return f"{graded} and {averages}, on such tasks"
    if round(response.published_averages):
        return f"{averages} on such tasks; no graded prompts"
    return "none on such tasks; other tasks and similar models tell of it"


def escalation(response: EscalateResponse) -> list[Block]:
    """Shows whether the answer is kept or which model is asked next, and the reason."""
    asked = arms.chosen(response.response)
    blocks: list[Block] = [
        TextLine(asked or "keep the answer", "good"),
        TextLine(response.reason, "muted"),
    ]
    facts = [
        ("answer at hand", f"score {score(response.kept_score)} expected"),
        ("shadow price", worth(response.price)),
    ]
    if response.second_model:
        facts.append(("agreement with", response.second_model))
    if asked:
        gain = f"{score(response.expected_gain)} for {usd(response.extra_cost_usd)}"
        facts.insert(1, ("gain", gain))
        facts.append(("decision", response.response.decision_id))
    blocks.append(Facts(facts))
    return blocks


def _candidates(response: RouteResponse) -> TextTable:
    costs = usd_column([c.predicted_cost_usd for c in response.candidates])
    columns = [
        Column("model"),
        Column("score", "right"),
        Column("cost", "right"),
        Column("time", "right", optional=True),
        Column("tokens", "right", optional=True),
        Column("utility", "right"),
    ]
    if response.HasField("latency_percentile"):
        columns.insert(4, Column(f"p{response.latency_percentile}", "right", optional=True))
    removed = [c for c in response.candidates if not c.eligible]
    if removed:
        columns.append(Column("removed by"))
    rows = []
    for candidate, cost in zip(response.candidates, costs, strict=True):
        chosen = arms.named(candidate) == arms.chosen(response)
        cells = [*_expected(candidate, cost), *([candidate.removed_by] if removed else [])]
        style: Style = "good" if chosen else "" if candidate.eligible else "muted"
        rows.append(Row(cells, style, marked=chosen))
    return TextTable(columns, rows)


def _expected(candidate: Candidate, cost: str) -> list[str]:
    return [
        arms.named(candidate),
        score(candidate.predicted_score),
        cost,
        seconds(candidate.predicted_latency_ms),
        *(
            [seconds(candidate.percentile_latency_ms)]
            if candidate.HasField("percentile_latency_ms")
            else []
        ),
        f"{candidate.predicted_output_tokens:,.0f}",
        score(candidate.utility),
    ]


def models(response: ListModelsResponse) -> list[Block]:
    """Shows the pool: prices, limits, and what the policy in force makes of it.

    Once reports have come, also the factors that they have taught for lengths and latencies, and
    the time that 95 of 100 answers keep.
    """
    corrected = any(
        model.length_correction.reports or model.latency_correction.reports
        for model in response.models
    )
    timed = any(model.learned_times.reports for model in response.models)
    cached = any(m.prices.usd_per_1m.HasField("cached_input") for m in response.models)
    others = [_other_prices(model.prices) for model in response.models]
    columns = [
        Column("model"),
        Column("$/1M in", "right"),
        *([Column("cached", "right", optional=True)] if cached else []),
        Column("$/1M out", "right"),
        Column("mean score", "right"),
        Column("mean cost", "right"),
        Column("share", "right"),
        *([Column("length", "right"), Column("reports", "right")] if corrected else []),
        *([Column("latency", "right", optional=True)] if corrected else []),
        Column("context", "right", optional=True),
        Column("1st token", "right", optional=True),
        Column("per token", "right", optional=True),
        *([Column("p95", "right", optional=True)] if timed else []),
        Column("can", optional=True),
    ]
    asked = any(model.HasField("arm") for model in response.models)
    if asked:
        columns += [Column("asks", optional=True), Column("figures", optional=True)]
    told = any(model.HasField("evidence") for model in response.models)
    if told:
        columns.append(Column("evidence", optional=True))
    ill = any(health.is_failing(model.health) for model in response.models)
    if ill:
        columns.insert(1, Column("health"))
    if any(others):
        columns.append(Column("also priced", optional=True))
    costs = usd_column([m.mean_predicted_cost_usd for m in response.models])
    rows = [
        Row(
            [
                model.name,
                *([health.told(model.health)] if ill else []),
                *_model(model, cost, cached=cached, corrected=corrected, timed=timed),
                *(_arm(model) if asked else []),
                *([_of_model(model)] if told else []),
                *([other] if any(others) else []),
            ],
            "" if model.share > 0 else "muted",
        )
        for model, cost, other in zip(response.models, costs, others, strict=True)
    ]
    return [
        TextTable(columns, rows),
        *_limits(response),
        *_operating_point(response),
        *preset_points(response),
    ]


def _limits(response: ListModelsResponse) -> list[Block]:
    """Shows the limits of providers and models, each once; nothing where there are none."""
    limits = {one.name: one for model in response.models for one in model.limits}
    if not limits:
        return []
    columns = [
        Column("limit of"),
        Column("kind"),
        Column("at most", "right"),
        Column("used", "right"),
        Column("price", "right", optional=True),
        Column("refused", "right", optional=True),
    ]
    rows = [
        Row(
            [
                one.scope,
                one.kind.replace("_", " "),
                f"{one.limit:,.0f}",
                f"{one.used:,.0f}",
                f"{one.price:.3g}",
                f"{one.refused:,}",
            ]
        )
        for one in limits.values()
    ]
    return [TextTable(columns, rows)]


def _other_prices(prices: Prices) -> str:
    """Names what else has a price of its own; the JSON has the prices themselves."""
    usual = ("input", "output", "cached_input")
    names = [field.name for field, _ in prices.usd_per_1m.ListFields() if field.name not in usual]
    if prices.tiers:
        names.append(f"above {prices.tiers[0].above_input_tokens:,} tokens")
    names += [f"{name} x {factor:g}" for name, factor in sorted(prices.service_tiers.items())]
    names += stretches(prices.hours)
    if prices.usd_per_image:
        names.append("each image")
    if prices.usd_per_request:
        names.append("each request")
    return ", ".join(names).replace("_", " ")


def _arm(model: Model) -> list[str]:
    """Says how a model is asked, and whether the predictor knows it so."""
    if not model.HasField("arm"):
        return ["", ""]
    return [arms.asks(model.arm), "own" if model.arm.known else "model's, with an offset"]


def _of_model(model: Model) -> str:
    return evidence(model.evidence, model.published_averages)


def _model(model: Model, cost: str, *, cached: bool, corrected: bool, timed: bool) -> list[str]:
    length, latency = model.length_correction, model.latency_correction
    rates = model.prices.usd_per_1m
    read = f"{rates.cached_input:,.3f}" if rates.HasField("cached_input") else ""
    return [
        f"{model.usd_per_1m_input_tokens:,.3f}",
        *([read] if cached else []),
        f"{model.usd_per_1m_output_tokens:,.3f}",
        score(model.mean_predicted_score),
        cost,
        percent(model.share),
        *([f"x {length.factor:.2f}", f"{length.reports:,}"] if corrected else []),
        *([f"x {latency.factor:.2f}"] if corrected else []),
        f"{model.context_window_tokens:,}",
        *_times(model),
        *([seconds(model.p95_latency_ms)] if timed else []),
        " ".join(model.capabilities),
    ]


def _times(model: Model) -> list[str]:
    """Says how long the first and each further token take: as declared, and as learned."""
    first, each = f"{model.time_to_first_token_ms:,.0f}", f"{model.time_per_output_token_ms:,.1f}"
    learned = model.learned_times
    if learned.reports:
        first += f" -> {learned.first_token_ms:,.0f}"
        each += f" -> {learned.per_output_token_ms:,.1f}"
    return [f"{first} ms", f"{each} ms"]


def curve(response: ListModelsResponse) -> list[Block]:
    """Shows the score that each mean cost per request buys; the operating point is marked."""
    here = response.operating_point if response.HasField("operating_point") else None
    points = list(response.curve)
    if here is not None and here not in points:
        points = sorted([*points, here], key=lambda point: point.mean_cost_usd)
    lowest = min((point.mean_score for point in points), default=0.0)
    highest = max((point.mean_score for point in points), default=0.0)
    columns = [
        Column("mean cost", "right"),
        Column("mean score", "right"),
        Column(f"{score(lowest)} to {score(highest)}"),
        Column("score per $", "right", optional=True),
        Column("models", optional=True),
    ]
    rows = []
    for point, cost in zip(points, usd_column([p.mean_cost_usd for p in points]), strict=True):
        fraction = (point.mean_score - lowest) / (highest - lowest) if highest > lowest else 1.0
        cells: list[str | Bar] = [
            cost,
            score(point.mean_score),
            Bar(fraction),
            price(point.shadow_price),
            _shares(point),
        ]
        chosen = point == here
        rows.append(Row(cells, "good" if chosen else "", marked=chosen))
    return [TextTable(columns, rows), *_operating_point(response), *preset_points(response)]


def preset_points(response: ListModelsResponse | GetInfoResponse) -> list[Block]:
    """Shows what each preset costs and scores; empty where the service tells none."""
    if not response.presets:
        return []
    columns = [
        Column("preset"),
        Column("mean cost", "right"),
        Column("mean score", "right"),
        Column("score per $", "right"),
    ]
    costs = usd_column([one.mean_cost_usd for one in response.presets])
    rows = [
        Row([one.name, cost, score(one.mean_score), price(one.shadow_price)])
        for one, cost in zip(response.presets, costs, strict=True)
    ]
    return [TextTable(columns, rows)]


def _shares(point: CurvePoint) -> str:
    largest = sorted(point.shares.items(), key=lambda item: (-item[1], item[0]))
    texts = [f"{name.rpartition('/')[2]} {share:.0%}" for name, share in largest]
    return ", ".join(texts[:_MAX_SHARES_SHOWN]) + (" ..." if len(texts) > _MAX_SHARES_SHOWN else "")


def _operating_point(response: ListModelsResponse) -> list[Block]:
    if not response.HasField("operating_point"):
        return []
    here = response.operating_point
    works = f"{usd(here.mean_cost_usd)} per request buys a mean score of {score(here.mean_score)}"
    return [Facts([("in force", works), ("shadow price", worth(here.shadow_price))])]


def info(response: GetInfoResponse) -> list[Block]:
    """Shows versions, limits and state of the service."""
    facts = [
        ("version", response.version),
        ("state", "degraded: a component failed" if response.degraded else "healthy"),
        ("up", str(timedelta(seconds=round(response.uptime_s)))),
        ("predictor", f"{response.predictor_version} on {response.predictor_backend}"),
        ("policy", response.policy_version),
        ("policies", ", ".join(response.policies)),
        ("mean cost", f"{usd(response.max_mean_cost_usd)} per request at most"),
        ("shadow price", worth(response.shadow_price)),
        ("set by", " and ".join(response.price_set_by) or "no limit"),
        ("prices", response.price_version),
        ("prompt", f"{count(response.max_prompt_chars, 'character')} at most"),
        ("read whole", f"{count(response.max_prompt_tokens, 'token')} at most"),
        ("batch", f"{count(response.max_batch_prompts, 'prompt')} at most"),
        ("queue", f"{count(response.max_queue, 'request')} at most"),
    ]
    if response.tasks:
        facts.insert(6, ("tasks", ", ".join(response.tasks)))
    if response.HasField("corrections"):
        facts.append(("corrections", _corrections(response.corrections)))
    if response.HasField("health"):
        facts.append(("health", health.summary(response.health)))
    if response.HasField("shadow"):
        facts.append(("shadow", _shadow(response.shadow)))
    return [Facts(facts), *preset_points(response)]


def _corrections(corrections: Corrections) -> str:
    if not corrections.enabled:
        return "off"
    learned = (
        f"from {count(corrections.length_reports, 'report')} of a length and"
        f" {corrections.latency_reports:,} of a latency"
    )
    return f"{corrections.version or 'none yet'}; {learned}"


def _shadow(shadow: Shadow) -> str:
    if not shadow.decisions:
        return f"{shadow.policy}; nothing compared yet"
    return (
        f"{shadow.policy}; {percent(shadow.disagreements / shadow.decisions)} of"
        f" {count(shadow.decisions, 'decision')} would go elsewhere, for"
        f" {usd(shadow.shadow_cost_usd)} instead of {usd(shadow.cost_usd)} and a mean score of"
        f" {score(shadow.shadow_mean_score)} instead of {score(shadow.mean_score)}"
    )


def budgets(response: GetBudgetResponse) -> list[Block]:
    """Shows what is left of each budget."""
    if not response.budgets:
        return [TextLine("no budgets; the section budgets of the settings makes them")]
    columns = [
        Column("budget"),
        Column("tenant"),
        Column("limit", "right"),
        Column("reserved", "right"),
        Column("settled", "right"),
        Column("used"),
        Column("overdraft", "right", optional=True),
        Column("score per $", "right"),
        Column("requests", "right", optional=True),
        Column("ends in", "right", optional=True),
    ]
    rows = [
        Row(
            [
                one.name,
                one.tenant or "everyone",
                usd(one.limit_usd),
                usd(one.reserved_usd),
                usd(one.settled_usd),
                Bar(min(1.0, (one.reserved_usd + one.settled_usd) / one.limit_usd)),
                usd(one.overdraft_usd),
                price(one.shadow_price),
                f"{one.granted_requests:,}",
                str(timedelta(seconds=round(one.period_left_s))),
            ],
            "warning" if one.degraded else "",
        )
        for one in response.budgets
    ]
    blocks: list[Block] = [TextTable(columns, rows)]
    # What a budget in brackets pays for is not reported.
    blocks += [
        TextLine(_reports(one))
        for one in response.budgets
        if one.granted_requests and not one.tenant.startswith("[")
    ]
    blocks += [TextLine(_capped(one), "warning") for one in response.budgets if one.capped_reports]
    if any(one.degraded for one in response.budgets):
        blocks.append(TextLine("degraded: leases are spent, the ledger is away", "warning"))
    return blocks


def _reports(one: Budget) -> str:
    """Says what reported answers cost by what was reserved, and how many were not reported."""
    unreported = percent(one.unreported_requests / one.granted_requests)
    told = f"{one.name}: {unreported} of the requests were not reported in time"
    if one.reported_reserved_usd:
        factor = one.reported_usd / one.reported_reserved_usd
        told += f"; reported answers cost x {factor:.2f} of what was reserved for them"
    return told


def _capped(one: Budget) -> str:
    """Says that reports told more than their requests could have cost."""
    return (
        f"{one.name}: {count(one.capped_reports, 'report')} told more than the request could have"
        f" cost; {usd(one.capped_usd)} was not booked. The log names who reported"
    )


def check(lines: Sequence[str]) -> list[Block]:
    """Shows the findings of the check of a configuration that can be served."""
    return [
        *(TextLine(line) for line in lines),
        TextLine("this configuration can be served", "good"),
    ]


def worth(shadow_price: float) -> str:
    """Says what a shadow price, in score per USD, means for a decision."""
    if shadow_price == 0:
        return "0; money does not bind, the best score wins"
    bought = score(shadow_price * _SAMPLE_USD)
    return f"{price(shadow_price)} score per $; ${_SAMPLE_USD:g} more has to buy {bought} of score"


def phases(timing: Timing) -> str:
    """Says how much time each phase of a batch took."""
    spent_ns = {
        "queue": timing.queue_ns,
        "tokenise": timing.tokenize_ns,
        "predict": timing.predict_ns,
        "select": timing.select_ns,
    }
    total, *parts = durations([timing.total_ns, *spent_ns.values()])
    named = ", ".join(f"{name} {part}" for name, part in zip(spent_ns, parts, strict=True))
    return f"{total} ({named}), batch of {timing.batch_size:,}"
