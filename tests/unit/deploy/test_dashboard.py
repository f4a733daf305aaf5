"""Dashboard and alerts use metrics that exist, valid PromQL and Grafana's schema."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import promql_parser as promql
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from support.tiny_service import serving_all

if TYPE_CHECKING:
    from collections.abc import Iterator

GRAFANA = Path(__file__).resolve().parents[3] / "deploy" / "grafana"
# What Prometheus and its rules add themselves.
OF_PROMETHEUS = {"job", "instance", "le"}
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
BOARD = json.loads((GRAFANA / "dashboard.json").read_text())
RULES = yaml.safe_load((GRAFANA / "alerts.yaml").read_text())["groups"][0]["rules"]


def expressions() -> Iterator[str]:
    for panel in BOARD["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"].replace("$__rate_interval", "5m")
    for rule in RULES:
        yield rule["expr"]


def selectors(expression: Any, grouped: frozenset[str] = frozenset()) -> Iterator[Any]:
    """Every metric of an expression with the labels that are asked of it."""
    match expression:
        case promql.VectorSelector():
            matched = {one.name for one in expression.matchers.matchers}
            yield expression.name, grouped | matched
        case promql.MatrixSelector():
            yield from selectors(expression.vector_selector, grouped)
        case promql.AggregateExpr():
            modifier = expression.modifier
            labels = frozenset(modifier.labels) if modifier is not None else frozenset()
            yield from selectors(expression.expr, grouped | labels)
        case promql.BinaryExpr():
            yield from selectors(expression.lhs, grouped)
            yield from selectors(expression.rhs, grouped)
        case promql.Call():
            for argument in expression.args:
                yield from selectors(argument, grouped)
        case promql.ParenExpr():
            yield from selectors(expression.expr, grouped)
        case promql.NumberLiteral():
            pass  # vector(0) among them
        case other:
            raise AssertionError(f"{type(other)} is not looked into")


async def exposed(folder: Path) -> dict[str, set[str] | None]:
    """The metrics of a service with everything on, and their labels where they have been used."""
    async with serving_all(folder) as running:
        page = generate_latest(running.service.metrics.registry).decode()
    found: dict[str, set[str] | None] = {"up": None}
    for family in text_string_to_metric_families(page):
        for suffix in SUFFIXES.get(family.type, ("",)):
            found[family.name + suffix] = None
        for sample in family.samples:
            found[sample.name] = set(sample.labels)
    return found


async def test_every_query_asks_for_metrics_and_labels_that_there_are(tmp_path: Path) -> None:
    known = await exposed(tmp_path)
    asked = [one for text in expressions() for one in selectors(promql.parse(text))]
    assert len(asked) > 60
    for metric, labels in asked:
        assert metric in known, metric
        own = known[metric]
        if own is not None:
            assert labels - OF_PROMETHEUS <= own, (metric, labels, own)


async def test_every_metric_is_documented(tmp_path: Path) -> None:
    text = (GRAFANA.parents[1] / "docs" / "how-to" / "observability.md").read_text()
    endings = ("_bucket", "_sum", "_count", "_created")
    for metric in await exposed(tmp_path):
        if metric != "up" and not metric.endswith(endings):
            assert f"`{metric}" in text, metric


def test_the_dashboard_covers_every_metric_of_the_service() -> None:
    shown = {name for text in expressions() for name, _ in selectors(promql.parse(text))}
    for needed in (
        *("requests_total", "request_seconds_bucket", "phase_seconds_bucket", "queue_depth"),
        *("batch_prompts_bucket", "decisions_total", "predictor_up", "predictor_fallbacks_total"),
        *("budget_limit_usd", "budget_shadow_price", "shadow_price", "scored_outcomes_total"),
    ):
        assert f"routoo_{needed}" in shown


def test_the_dashboard_is_what_its_source_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(GRAFANA), *sys.path])
    spec = importlib.util.spec_from_file_location("dashboard", GRAFANA / "dashboard.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.delitem(sys.modules, "panels")
    assert module.built() == (GRAFANA / "dashboard.json").read_text(), (
        "run: python deploy/grafana/dashboard.py"
    )


def test_the_dashboard_fits_grafana_s_schema() -> None:
    board = Dashboard.from_json(BOARD)
    assert json.loads(JSONEncoder().encode(board)) == BOARD
    rows = [panel for panel in BOARD["panels"] if panel["type"] == "row"]
    assert len(rows) >= 6


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong(rule: dict[str, Any]) -> None:
    assert rule["annotations"]["summary"]
    assert rule["labels"]["severity"] in {"critical", "warning"}
