"""Screens and JSON summaries of ``routoo batch`` and ``routoo pareto``."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from routoo.cli.output import arms
from routoo.cli.output.numbers import percent, price, score, usd, usd_column
from routoo.cli.output.render import Block, Column, Facts, Row, TextTable
from routoo.cli.output.reply_screens import phases, worth
from routoo.client import to_dict

if TYPE_CHECKING:
    from routoo.cli.output.frontier_file import Vertices
    from routoo.v1.batch_pb2 import RouteBatchResponse

_VERTICES_SHOWN = 12
# A gap that rounding may cause: the order of summands differs.
_ROUNDING = 1e-12


def batch(response: RouteBatchResponse, *, budget_usd: float | None) -> list[Block]:
    """Shows the totals of a joint decision and how the prompts spread over the models."""
    costs_usd: dict[str, float] = {}
    prompts: dict[str, int] = {}
    scores: dict[str, float] = {}
    for reply in response.responses:
        name = arms.chosen(reply)
        costs_usd[name] = costs_usd.get(name, 0.0) + reply.predicted_cost_usd
        prompts[name] = prompts.get(name, 0) + 1
        scores[name] = scores.get(name, 0.0) + reply.predicted_score
    names = sorted(prompts, key=lambda name: (-prompts[name], name))
    total = len(response.responses)
    rows = [
        Row(
            [
                name,
                f"{prompts[name]:,}",
                percent(prompts[name] / total),
                score(scores[name] / prompts[name]),
                cost,
            ]
        )
        for name, cost in zip(names, usd_column([costs_usd[n] for n in names]), strict=True)
    ]
    columns = [
        Column("model"),
        Column("prompts", "right"),
        Column("share", "right"),
        Column("mean score", "right"),
        Column("cost", "right"),
    ]
    cost = usd(response.total_predicted_cost_usd)
    if budget_usd is not None:
        cost += f" of {usd(budget_usd)}"
    facts = [
        ("cost", cost),
        ("mean score", score(response.mean_predicted_score)),
        ("gap", _distance(response.gap)),
        ("bound by", ", ".join(response.binding_constraints) or "nothing"),
        ("shadow price", worth(response.shadow_price)),
        ("decided in", phases(response.timing)),
    ]
    return [Facts(facts), TextTable(columns, rows)]


def _distance(gap: float) -> str:
    return f"{gap:.2g} to the optimum" if gap > _ROUNDING else "none, optimal"


def batch_summary(
    response: RouteBatchResponse, *, budget_usd: float | None, out: str
) -> dict[str, Any]:
    """Returns the totals of a joint decision for JSON; the decisions themselves are in ``out``."""
    totals = to_dict(response)
    del totals["responses"]
    prompts = Counter(arms.chosen(reply) for reply in response.responses)
    return {
        "out": out,
        "prompts": len(response.responses),
        "budget_usd": budget_usd,
        **totals,
        "prompts_per_model": dict(prompts),
    }


def frontier(
    vertices: Vertices, picked: int | None, decided: RouteBatchResponse | None
) -> list[Block]:
    """Shows the frontier's ends, some vertices between them and, marked, the picked one."""
    costs_usd, scores, prices = vertices.total_cost_usd, vertices.mean_score, vertices.shadow_price
    last = len(costs_usd) - 1
    shown = {round(step * last / (_VERTICES_SHOWN - 1)) for step in range(_VERTICES_SHOWN)}
    indices = sorted(shown if picked is None else {*shown, picked})
    costs = usd_column([costs_usd[index] for index in indices], significant=4)
    rows = [
        Row(
            [f"{index:,}", cost, score(scores[index]), price(prices[index])],
            "good" if index == picked else "",
            marked=index == picked,
        )
        for index, cost in zip(indices, costs, strict=True)
    ]
    columns = [
        Column("vertex", "right"),
        Column("cost", "right"),
        Column("mean score", "right"),
        Column("score per $", "right"),
    ]
    blocks: list[Block] = [
        Facts([("prompts", f"{vertices.prompts:,}"), ("vertices", f"{last + 1:,}")]),
        TextTable(columns, rows),
    ]
    return blocks if decided is None else [*blocks, *batch(decided, budget_usd=None)]


def frontier_summary(
    vertices: Vertices, picked: int | None, decided: RouteBatchResponse | None, *, out: str
) -> dict[str, Any]:
    """Returns the ends and the picked vertex for JSON; the vertices themselves are in ``out``."""
    costs_usd, scores = vertices.total_cost_usd, vertices.mean_score
    summary: dict[str, Any] = {
        "out": out,
        "prompts": vertices.prompts,
        "score_std_weight": vertices.score_std_weight,
        "vertices": len(costs_usd),
        "cheapest": {"total_cost_usd": costs_usd[0], "mean_score": scores[0]},
        "most_expensive": {"total_cost_usd": costs_usd[-1], "mean_score": scores[-1]},
    }
    if picked is not None and decided is not None:
        summary["picked"] = {
            "vertex": picked,
            "total_cost_usd": costs_usd[picked],
            "mean_score": scores[picked],
            "decided_cost_usd": decided.total_predicted_cost_usd,
            "decided_mean_score": decided.mean_predicted_score,
            "binding_constraints": list(decided.binding_constraints),
            "prompts_per_model": dict(Counter(arms.chosen(reply) for reply in decided.responses)),
        }
    return summary
