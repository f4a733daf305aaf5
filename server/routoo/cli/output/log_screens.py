"""Screens for what a decision log says of one decision, and lines for what it says next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from routoo.cli.output.numbers import count, score, seconds, usd, usd_column
from routoo.cli.output.render import Block, Column, Facts, Row, Style, TextLine, TextTable
from routoo.cli.output.reply_screens import worth
from routoo.selector.reason import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from routoo.telemetry.decision_log.lookup import Story

_SAID: Final = ("tenant", "task", "constraints", "max_output_tokens", "service_tier", "effort")
_FLAGS: Final = ("degraded", "truncated", "unsure", "named")


def explained(story: Story, names: Sequence[str]) -> list[Block]:
    """Shows why a model was chosen, what the others would have been, and what came of it.

    Args:
        story: what the log says of a decision; ``story.decision`` is not None.
        names: the names of the pool's columns, in the order of the decision's figures; empty:
            the log does not tell them.
    """
    decision = story.decision or {}
    blocks: list[Block] = [
        TextLine(str(decision["model"] or "no model"), "good"),
        TextLine(_reason(decision), "muted"),
        *(TextLine(f"{flag}", "warning") for flag in _FLAGS if decision.get(flag)),
        _models(decision, names),
    ]
    facts = [("shadow price", worth(decision["price"]))]
    if decision.get("priced_by"):
        facts.append(("priced by", ", ".join(decision["priced_by"])))
    if (odds := decision.get("propensity", 1.0)) != 1.0:
        known = "not known" if odds is None else f"{odds:.4g}"
        instead = decision.get("unexplored")
        facts.append(("propensity", f"{known}; {instead} was best" if instead else known))
    if decision.get("wanted"):
        facts.append(("wanted", f"{decision['wanted']}, before the money was booked"))
    if decision.get("fallbacks"):
        facts.append(("if it fails", ", ".join(decision["fallbacks"])))
    if (stay := decision.get("session", {}).get("stay", "NONE")) != "NONE":
        facts.append(("stays for", stay.lower().replace("_", " ")))
    facts += [(name, _plain(decision[name])) for name in _SAID if decision.get(name) is not None]
    facts += [(name, str(decision[name])) for name in ("time", "predictor", "policy", "id")]
    blocks.append(Facts(facts))
    blocks.extend(TextLine(_after(line)) for line in story.after)
    if not story.after:
        blocks.append(TextLine("nothing was reported of it", "muted"))
    return blocks


def line_of(values: Mapping[str, Any]) -> str:
    """Returns a log's line as a line for people; empty: it tells nothing of one request."""
    kind = values.get("kind")
    moment = str(values.get("time", ""))[11:23]
    if kind == "decision":
        chosen = _of_pool(values)
        tenant = f"  tenant {values['tenant']}" if values.get("tenant") else ""
        task = f"  {values['task']}" if values.get("task") else ""
        return f"{moment}  {values['id']}  {values['model'] or 'no model'}  {chosen}{task}{tenant}"
    if kind in ("outcome", "capped", "escalation", "failure"):
        return f"{moment}  {values.get('id')}  {_after(values)}"
    return ""


def _of_pool(decision: Mapping[str, Any]) -> str:
    """Returns the rule that chose, of how many models, and what these would have cost."""
    may = [cell == "1" for cell in decision["eligible"]]
    costs = [cost for cost, one in zip(decision["costs_usd"], may, strict=True) if one]
    rule = decision["reason"].lower().replace("_", " ")
    return f"{rule} of {len(costs)}" + (
        f", {usd(min(costs))} to {usd(max(costs))}" if costs else ""
    )


def _reason(decision: Mapping[str, Any]) -> str:
    eligible = decision["eligible"]
    of_pool = f"{eligible.count('1')} of {len(eligible)}"
    name = decision["reason"]
    if name not in Reason.__members__:
        return str(name)
    text = Reason[name].text or name.lower().replace("_", " ")
    return text.format(of_pool=of_pool, price=f"{decision['price']:.6g}")


def _models(decision: Mapping[str, Any], names: Sequence[str]) -> TextTable:
    known = names if len(names) == len(decision["scores"]) else ()
    columns = [
        Column("model"),
        Column("score", "right"),
        Column("cost", "right"),
        Column("time", "right", optional=True),
        Column("tokens", "right", optional=True),
        Column("utility", "right"),
        Column("eligible"),
    ]
    price, costs = decision["price"], decision["costs_usd"]
    shown = usd_column(costs)
    utilities = [
        value - price * cost for value, cost in zip(decision["scores"], costs, strict=True)
    ]
    may = [cell == "1" for cell in decision["eligible"]]
    rows = []
    for at in sorted(range(len(costs)), key=lambda at: (not may[at], -utilities[at])):
        name = known[at] if known else f"column {at}"
        chosen = name == decision["model"]
        cells = [
            name,
            score(decision["scores"][at]),
            shown[at],
            seconds(decision["latencies_ms"][at]),
            f"{decision['output_tokens'][at]:,}",
            score(utilities[at]),
            _eligible(decision, at),
        ]
        style: Style = "good" if chosen else "" if may[at] else "muted"
        rows.append(Row(cells, style, marked=chosen))
    return TextTable(columns, rows)


def _eligible(decision: Mapping[str, Any], at: int) -> str:
    """Says whether a column was eligible, and what has closed it where the log has that."""
    if decision["eligible"][at] == "1":
        return "yes, though it fails" if decision.get("healthy", "")[at : at + 1] == "0" else "yes"
    if decision.get("limited", "")[at : at + 1] == "1":
        return "no: limits of providers"
    return "no: health" if decision.get("healthy", "")[at : at + 1] == "0" else "no"


def _after(values: Mapping[str, Any]) -> str:
    """Says what an outcome, a capped report, an escalation or a failure tells."""
    kind = values.get("kind")
    if kind == "capped":
        booked, told = usd(values["booked_usd"]), usd(values["reported_usd"])
        return f"report capped: {booked} booked of {told}"
    if kind == "failure":
        return f"failed: {values.get('reason')}; answered by {values.get('model') or 'nobody'}"
    if kind == "escalation":
        asked = f"; next {values['model']} as {values['next']}" if "next" in values else ""
        return f"answer weighed: {values.get('text') or values.get('result')}{asked}"
    return f"reported: {', '.join(_reported(values)) or 'nothing but the end'}"


def _reported(values: Mapping[str, Any]) -> list[str]:
    usage = values.get("usage", {})
    parts = ["error"] if values.get("failed") else []
    if values.get("model"):
        parts.append(f"answered by {values['model']}")
    shown = {
        "score": lambda value: f"score {score(value)}",
        "cost_usd": usd,
        "input_tokens": lambda value: count(int(value), "input token"),
        "output_tokens": lambda value: count(int(value), "output token"),
        "latency_ms": seconds,
    }
    told = {name: values.get(name, usage.get(name)) for name in shown}
    parts += [show(told[name]) for name, show in shown.items() if told[name] is not None]
    return parts


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(one)}" for name, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
