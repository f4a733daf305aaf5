"""The panels of the dashboard: titles and queries, by rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RATE = "[$__rate_interval]"


@dataclass(frozen=True)
class Graph:
    """A panel with a graph.

    Attributes:
        title: of the panel.
        queries: PromQL by legend.
        unit: Grafana's name of the unit.
        text: a description; empty: none.
        width: in columns; the dashboard has 24.
        stacked: whether the series are parts of a whole.
    """

    title: str
    queries: Mapping[str, str]
    unit: str = "short"
    text: str = ""
    width: int = 8
    stacked: bool = False


def _rate(metric: str, by: str) -> str:
    return f'sum by ({by}) (rate({metric}{{job=~"$job"}}{RATE}))'


def _per_hour(metric: str, by: str) -> str:
    return f"3600 * {_rate(metric, by)}"


def _quantile(q: float, metric: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, {_rate(f'{metric}_bucket', labels)})"


def _sum_day(metric: str, by: str) -> str:
    return f'sum by ({by}) (increase({metric}{{job=~"$job"}}[1d]))'


def _gauge(metric: str, by: str, how: str = "max") -> str:
    return f'{how} by ({by}) ({metric}{{job=~"$job"}})'


SPENT = (
    f"({_gauge('routoo_budget_reserved_usd', 'budget, tenant')}"
    f" + {_gauge('routoo_budget_settled_usd', 'budget, tenant')})"
    f" / {_gauge('routoo_budget_limit_usd', 'budget, tenant')}"
)
# Expected calibration error: the distance of reported from predicted scores, over tenths of the
# predicted score.
DRIFT = (
    "sum by (model) (abs("
    f"{_sum_day('routoo_reported_score_total', 'model, predicted')}"
    f" - {_sum_day('routoo_reported_predicted_score_total', 'model, predicted')}"
    f")) / {_sum_day('routoo_scored_outcomes_total', 'model')}"
)
BIAS = (
    f"({_sum_day('routoo_reported_score_total', 'model')}"
    f" - {_sum_day('routoo_reported_predicted_score_total', 'model')})"
    f" / {_sum_day('routoo_scored_outcomes_total', 'model')}"
)
BY_TENTH = (
    f"{_sum_day('routoo_reported_score_total', 'predicted')}"
    f" / {_sum_day('routoo_scored_outcomes_total', 'predicted')}"
)
COST_RATIO = (
    f"{_sum_day('routoo_reported_cost_usd_total', 'model')}"
    f" / {_sum_day('routoo_reported_predicted_cost_usd_total', 'model')}"
)
LATENCY_RATIO = (
    f"{_sum_day('routoo_reported_latency_ms_total', 'model')}"
    f" / {_sum_day('routoo_reported_predicted_latency_ms_total', 'model')}"
)
FAILURES = (
    'sum(rate(routoo_requests_total{job=~"$job", code=~"INTERNAL|UNAVAILABLE|UNKNOWN"}'
    f"{RATE}))"
    f' / sum(rate(routoo_requests_total{{job=~"$job"}}{RATE}))'
)
SHED = f'sum(rate(routoo_requests_total{{job=~"$job", code="RESOURCE_EXHAUSTED"}}{RATE}))'

STATS = (
    ("Serving", _gauge("routoo_serving", "job", "sum"), "short"),
    ("Calls per second", f'sum(rate(routoo_requests_total{{job=~"$job"}}{RATE}))', "reqps"),
    ("Failed", f"{FAILURES} or vector(0)", "percentunit"),
    ("p99", _quantile(0.99, "routoo_request_seconds"), "s"),
    ("Waiting", 'sum(routoo_queue_depth{job=~"$job"})', "short"),
    (
        "Predicted cost an hour",
        f"sum({_per_hour('routoo_predicted_cost_usd_total', 'job')})",
        "currencyUSD",
    ),
)
ROWS: Mapping[str, Sequence[Graph]] = {
    "Calls": (
        Graph("Calls by RPC", {"{{rpc}}": _rate("routoo_requests_total", "rpc")}, "reqps"),
        Graph("Calls by status", {"{{code}}": _rate("routoo_requests_total", "code")}, "reqps"),
        Graph(
            "Time of a call",
            {
                f"p{100 * q:g} {{{{rpc}}}}": _quantile(q, "routoo_request_seconds", "rpc")
                for q in (0.5, 0.99)
            },
            "s",
        ),
        Graph(
            "Shed and dropped",
            {
                "refused: queue full, budget or limit": SHED,
                "dropped: {{reason}}": _rate("routoo_dropped_requests_total", "reason"),
                "by the gate: {{reason}}": _rate("routoo_refused_calls_total", "reason"),
            },
            "reqps",
            "Refused at the door, or dropped before they cost an inference.",
        ),
        Graph("Waiting for the predictor", {"requests": 'sum(routoo_queue_depth{job=~"$job"})'}),
        Graph(
            "Prompts in a batch",
            {f"p{100 * q:g}": _quantile(q, "routoo_batch_prompts") for q in (0.5, 0.99)},
        ),
        Graph(
            "Time by phase, p99",
            {"{{phase}}": _quantile(0.99, "routoo_phase_seconds", "phase")},
            "s",
            "Of a batch; queue is the longest wait in it.",
        ),
        Graph(
            "HTTP through Envoy",
            {
                "request {{result}}": _rate("routoo_http_requests_total", "result"),
                "reply {{result}}": _rate("routoo_http_replies_total", "result"),
            },
            "reqps",
        ),
        Graph(
            "Reloads",
            {"{{outcome}}": _per_hour("routoo_reloads_total", "outcome")},
            "short",
            "An hour.",
        ),
    ),
    "Decisions": (
        Graph(
            "By model",
            {"{{model}}": _rate("routoo_decisions_total", "model")},
            "reqps",
            stacked=True,
        ),
        Graph(
            "By policy",
            {"{{policy}}": _rate("routoo_decisions_total", "policy")},
            "reqps",
            stacked=True,
        ),
        Graph(
            "By reason",
            {"{{reason}}": _rate("routoo_decision_reasons_total", "reason")},
            "reqps",
            stacked=True,
        ),
        Graph(
            "Not as they should be",
            {
                "no eligible model": _rate("routoo_no_eligible_model_total", "job"),
                "refused by a budget": _rate("routoo_budget_refused_requests_total", "job"),
                "degraded": _rate("routoo_degraded_decisions_total", "job"),
                "prompt cut": _rate("routoo_truncated_prompts_total", "job"),
            },
            "reqps",
        ),
        Graph("Escalations", {"{{result}}": _rate("routoo_escalations_total", "result")}, "reqps"),
        Graph(
            "Shadow policy",
            {
                "{{policy}}: differs": (
                    f"{_rate('routoo_shadow_disagreements_total', 'policy')}"
                    f" / {_rate('routoo_shadow_decisions_total', 'policy')}"
                )
            },
            "percentunit",
            "The share of decisions that it would have made otherwise.",
        ),
    ),
    "Money": (
        Graph(
            "Budget spent",
            {"{{budget}} {{tenant}}": SPENT},
            "percentunit",
            "Reserved and settled, of the current period.",
        ),
        Graph(
            "Spent beside the budget",
            {"{{budget}} {{tenant}}": _gauge("routoo_budget_overdraft_usd", "budget, tenant")},
            "currencyUSD",
        ),
        Graph(
            "Price of a dollar, in score",
            {
                "without a tenant": 'max(routoo_shadow_price{job=~"$job"})',
                "{{budget}} {{tenant}}": _gauge("routoo_budget_shadow_price", "budget, tenant"),
            },
        ),
        Graph(
            "Cost an hour",
            {
                "predicted": _per_hour("routoo_predicted_cost_usd_total", "job"),
                "reported, {{model}}": _per_hour("routoo_reported_cost_usd_total", "model"),
            },
            "currencyUSD",
        ),
        Graph(
            "Granted in the period",
            {"{{budget}} {{tenant}}": _gauge("routoo_budget_granted_requests", "budget, tenant")},
        ),
        Graph(
            "Shared books out of reach", {"{{budget}}": _gauge("routoo_budget_degraded", "budget")}
        ),
    ),
    "Predictor": (
        Graph(
            "Prompts by backend",
            {"{{backend}}": _rate("routoo_predictor_prompts_total", "backend")},
            "reqps",
            stacked=True,
        ),
        Graph(
            "Fallbacks",
            {"{{backend}} {{kind}}": _rate("routoo_predictor_fallbacks_total", "backend, kind")},
            "reqps",
            "Batches that a backend did not answer and the next one was asked for.",
        ),
        Graph("In use", {"{{backend}}": _gauge("routoo_predictor_up", "backend", "min")}),
    ),
    "Does the predictor still fit": (
        Graph(
            "Calibration error, a day",
            {"{{model}}": DRIFT},
            "percentunit",
            "How far reported scores are from the predicted ones, over tenths of the prediction.",
        ),
        Graph("Reported minus predicted score, a day", {"{{model}}": BIAS}, "short"),
        Graph(
            "Reported score by tenth of the predicted one, a day",
            {"from {{predicted}}": BY_TENTH},
            "short",
            "A predictor that fits has each line in its tenth.",
        ),
        Graph("Reported cost by predicted cost, a day", {"{{model}}": COST_RATIO}, "short"),
        Graph("Reported time by predicted time, a day", {"{{model}}": LATENCY_RATIO}, "short"),
        Graph("Reports", {"{{result}}": _rate("routoo_outcomes_total", "result")}, "reqps"),
        Graph(
            "Share of requests that may go to each model, by its health",
            {"{{provider}} {{model}}": _gauge("routoo_provider_health", "provider, model", "min")},
            "percentunit",
            "0: left out, as its provider fails; without a model: the whole provider.",
        ),
        Graph(
            "Failures of providers",
            {"{{model}} {{cause}}": _rate("routoo_provider_failures_total", "model, cause")},
            "reqps",
        ),
        Graph(
            "Corrections in force, of lengths",
            {"{{model}} {{task}}": _gauge("routoo_length_factor", "model, task", "max")},
            "short",
            "Factors by which predicted output tokens are multiplied; without a task: of tasks that"
            " nothing was reported of.",
        ),
        Graph(
            "Corrections in force, of latencies",
            {"{{model}} {{task}}": _gauge("routoo_latency_factor", "model, task", "max")},
            "short",
        ),
        Graph(
            "Answers for the corrections",
            {"{{result}}": _rate("routoo_corrections_total", "result")},
            "reqps",
        ),
    ),
    "Log and traces": (
        Graph(
            "Decision log",
            {"{{result}}": _rate("routoo_decision_log_lines_total", "result")},
            "reqps",
        ),
        Graph(
            "Decision log can be written",
            {"{{job}}": _gauge("routoo_decision_log_up", "job", "min")},
        ),
        Graph("Spans", {"{{result}}": _rate("routoo_trace_spans_total", "result")}, "reqps"),
    ),
}
