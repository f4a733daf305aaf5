"""Plots as PNG files in memory, on a white ground so that they read on light and dark pages."""

import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from routoo_export.evaluation.bootstrap import FloatArray
from routoo_export.evaluation.curves import non_decreasing_hull
from routoo_export.evaluation.metrics import Reliability
from routoo_export.evaluation.pool_split import OURS

Curves = Mapping[str, tuple[FloatArray, FloatArray]]

DOTS_PER_INCH: Final = 100
PANEL_DOTS_PER_INCH: Final = 80
_COST_LABEL: Final = "mean cost, USD per 1,000 prompts"
_COLUMNS: Final = 5
_PANEL_COLUMNS: Final = 4
_STYLES: Final[Mapping[str, Mapping[str, Any]]] = {
    OURS: {"color": "#0b5394", "linewidth": 2.2, "zorder": 5},
    "oracle": {"color": "#38761d", "linewidth": 1.2, "linestyle": ":"},
    "random_mix_of_singles": {"color": "#999999", "linewidth": 1.2, "linestyle": "--"},
}
_OTHER_COLOURS: Final = (
    "#b45f06", "#741b47", "#bf9000", "#134f5c", "#cc0000", "#8e7cc3", "#6aa84f", "#333333"
)  # fmt: skip


def plot_curves(curves: Curves, singles: Mapping[str, tuple[float, float]]) -> bytes:
    """Plot mean score over mean cost of every method, and each single model as a point.

    Models on the non-decreasing hull of the single models have their names beside them.
    """
    figure = Figure(figsize=(8.0, 5.0), layout="constrained")
    axes = figure.add_subplot()
    draw_curves(axes, curves, _STYLES)
    points = np.array(list(singles.values()))
    axes.scatter(_per_thousand(points[:, 0]), points[:, 1], s=12, color="#444444", zorder=4)
    # All names would cover each other; those on the hull are the models that a mix would use.
    hull = set(zip(*non_decreasing_hull(points[:, 0], points[:, 1]), strict=True))
    for model, (cost, score) in singles.items():
        if (cost, score) in hull:
            place = (1000.0 * cost, score)
            axes.annotate(_short(model), place, (3, -8), fontsize=7, textcoords="offset points")
    axes.legend(fontsize=8, loc="lower right")
    axes.set_xlabel(_COST_LABEL)
    axes.set_ylabel("mean score")
    return _png(figure)


def draw_curves(axes: Axes, curves: Curves, styles: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw the curves on a logarithmic cost axis; methods without a style get a colour each."""
    others = iter(_OTHER_COLOURS * len(curves))
    for name, (cost, score) in curves.items():
        style = styles.get(name) or {"color": next(others), "linewidth": 1.2}
        axes.plot(_per_thousand(cost), score, label=name.replace("_", " "), **style)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(lambda usd, _: f"{usd:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True, alpha=0.25)


def plot_reliability(reliability: Mapping[str, Reliability]) -> bytes:
    """Plot per model the mean outcome over the mean prediction of each bin.

    The diagonal is perfect calibration. The area of a point is its share of the prompts.
    """
    rows = -(-len(reliability) // _COLUMNS)
    columns = min(_COLUMNS, len(reliability))
    figure = Figure(figsize=(2.0 * columns, 2.1 * rows), layout="constrained")
    for place, (model, bins) in enumerate(reliability.items(), start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
        axes.scatter(bins.predicted, bins.actual, s=120 * bins.share, color="#0b5394", alpha=0.8)
        axes.set_title(_short(model), fontsize=7)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xticks([0, 0.5, 1])
        axes.set_yticks([0, 0.5, 1])
        axes.tick_params(labelsize=6)
    return _png(figure)


def plot_panels(
    panels: Sequence[tuple[str, Curves, tuple[FloatArray, FloatArray]]],
    names: Mapping[str, str],
) -> bytes:
    """Plot small multiples, one per pool.

    Args:
        panels: Title, curves, and the single models' costs and scores of each pool.
        names: The curve that takes the style of each role: predictor, oracle and random mix.
    """
    styles = {name: _STYLES[role] for role, name in names.items()}
    oracle = names["oracle"]
    columns = min(_PANEL_COLUMNS, len(panels) + 1)
    rows = len(panels) // columns + 1
    figure = Figure(figsize=(3.5 * columns, 3.0 * rows), layout="constrained")
    for place, (title, curves, (cost, score)) in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, place)
        draw_curves(axes, curves, styles)
        axes.scatter(_per_thousand(cost), score, s=8, color="#444444", zorder=4)
        # The oracle lies far above all other curves, so the scale leaves it out.
        reachable = [values.max() for name, (_, values) in curves.items() if name != oracle]
        floor = min(float(np.quantile(score, 0.3)), *(s.min() for _, s in curves.values()))
        axes.set_ylim(floor, max(*reachable, float(score.max())) + 0.02)
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=7)
        axes.set_xlabel(_COST_LABEL, fontsize=8)
        axes.set_ylabel("mean score", fontsize=8)
    # The last cell holds the legend of all panels.
    key = figure.add_subplot(rows, columns, len(panels) + 1)
    key.axis("off")
    key.legend(*axes.get_legend_handles_labels(), fontsize=9, loc="center")
    return _png(figure, PANEL_DOTS_PER_INCH)


def _per_thousand(cost_usd: FloatArray) -> FloatArray:
    return 1000.0 * cost_usd


def _short(model: str) -> str:
    return model.rsplit("/", maxsplit=1)[-1]


def _png(figure: Figure, dots_per_inch: int = DOTS_PER_INCH) -> bytes:
    out = io.BytesIO()
    # Without matplotlib's version in the metadata, the same figures give the same file.
    metadata = {"Software": None}
    figure.savefig(out, format="png", dpi=dots_per_inch, metadata=metadata)
    return out.getvalue()
