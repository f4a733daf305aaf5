"""Writes dashboard.json beside this file, by Grafana's own types.

Run it after a change of panels.py: python deploy/grafana/dashboard.py

Needs grafana-foundation-sdk, which the extra ``test`` brings along.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import DataSourceRef
from panels import ROWS, STATS, Graph

FILE = Path(__file__).with_name("dashboard.json")
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTHS = 24


def built() -> str:
    """Returns the dashboard as JSON."""
    board = (
        dashboard.Dashboard("Routoo")
        .uid("routoo")
        .tags(["routoo", "llm"])
        .description("Decisions, money, predictor and calls of Routoo.")
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Source").type("prometheus")
        )
        .with_variable(
            dashboard.QueryVariable("job")
            .label("Job")
            .datasource(SOURCE)
            .query("label_values(routoo_serving, job)")
            .multi(multi=True)
            .include_all(include_all=True)
            .all_value(".+")
        )
    )
    for title, query, unit in STATS:
        board = board.with_panel(_stat(title, query, unit))
    for title, graphs in ROWS.items():
        board = board.with_row(dashboard.Row(title))
        for graph in graphs:
            board = board.with_panel(_graph(graph))
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


def _stat(title: str, query: str, unit: str) -> Any:
    last = common.ReduceDataOptions().calcs(["lastNotNull"])
    panel = stat.Panel().title(title).datasource(SOURCE).unit(unit).span(WIDTHS // len(STATS))
    return panel.height(4).with_target(_query(0, query, "")).no_value("-").reduce_options(last)


def _graph(graph: Graph) -> Any:
    panel = (
        timeseries.Panel()
        .title(graph.title)
        .description(graph.text)
        .datasource(SOURCE)
        .unit(graph.unit)
        .span(graph.width)
        .height(8)
        .fill_opacity(25.0 if graph.stacked else 0.0)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    if graph.stacked:
        panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    for at, (legend, query) in enumerate(graph.queries.items()):
        panel = panel.with_target(_query(at, query, legend))
    return panel


def _query(at: int, query: str, legend: str) -> Any:
    asked = prometheus.Dataquery().expr(query).range().ref_id(chr(ord("A") + at))
    return asked.legend_format(legend or "__auto").datasource(SOURCE)


if __name__ == "__main__":
    FILE.write_text(built(), encoding="utf-8")
    print(f"wrote {FILE}")
