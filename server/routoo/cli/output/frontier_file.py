"""The output file of ``routoo pareto``: a cost-quality curve as JSON or as a picture."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import orjson

from routoo.cli.output.numbers import usd
from routoo.errors import InfeasibleError, InvalidRequestError, RoutooError

if TYPE_CHECKING:
    from pathlib import Path

    from routoo.v1.batch_pb2 import FrontierResponse

_SIZE_IN = (8.0, 5.0)
_DPI = 120
_DOTS_UP_TO = 200


class FrontierFileError(RoutooError):
    """The frontier cannot be written as asked; the message names the remedy."""


@dataclass(frozen=True, slots=True)
class Vertices:
    """Every vertex of a batch's cost-quality curve, cheapest first.

    Attributes:
        prompts: how many prompts the curve is over.
        score_std_weight: how many standard deviations were taken off each score.
        total_cost_usd: strictly increasing.
        mean_score: strictly increasing; the standard deviations are taken off.
        shadow_price: score, summed over prompts, that one more USD buys from there on.
    """

    prompts: int
    score_std_weight: float
    total_cost_usd: list[float]
    mean_score: list[float]
    shadow_price: list[float]

    @classmethod
    def of(cls, response: FrontierResponse, prompts: int, score_std_weight: float) -> Vertices:
        return cls(
            prompts,
            score_std_weight,
            list(response.total_cost_usd),
            list(response.mean_score),
            list(response.shadow_price),
        )

    def at(self, index: int) -> int:
        """Returns the index if there is such a vertex.

        Raises:
            InvalidRequestError: there is none.
        """
        last = len(self.total_cost_usd) - 1
        if not 0 <= index <= last:
            raise InvalidRequestError(
                f"there is no vertex {index}; the frontier has the vertices 0 to {last}"
            )
        return index

    def within(self, budget_usd: float) -> int:
        """Returns the index of the most expensive vertex that costs at most ``budget_usd``.

        Raises:
            InfeasibleError: even the cheapest vertex costs more.
        """
        affordable = sum(cost <= budget_usd for cost in self.total_cost_usd)
        if not affordable:
            raise InfeasibleError(
                f"${budget_usd:g} is below the cheapest vertex; it costs"
                f" {usd(self.total_cost_usd[0])}"
            )
        return affordable - 1


def check_format(path: Path) -> None:
    """Checks before the work that the file's format can be written.

    Raises:
        FrontierFileError: neither .json nor .png, or a picture without the library for it.
    """
    if path.suffix not in (".json", ".png"):
        raise FrontierFileError(f"{path}: name a file that ends in .json or .png")
    if path.suffix == ".png" and importlib.util.find_spec("matplotlib") is None:
        raise FrontierFileError(
            f"{path}: a picture needs matplotlib; install it with `pip install 'routoo[plot]'`, or"
            " name a .json file"
        )


def write_frontier(
    stream: BinaryIO, vertices: Vertices, picked: int | None, *, is_picture: bool
) -> None:
    """Writes the curve as JSON, the vertices as columns of equal length, or draws it as a PNG."""
    if is_picture:
        _draw(stream, vertices, picked)
    else:
        stream.write(orjson.dumps(vertices, option=orjson.OPT_APPEND_NEWLINE))


def _draw(stream: BinaryIO, vertices: Vertices, picked: int | None) -> None:
    # Only pictures need matplotlib, and it is slow to load.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=_SIZE_IN, dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    costs, scores = vertices.total_cost_usd, vertices.mean_score
    axes.plot(costs, scores, marker="." if len(costs) <= _DOTS_UP_TO else "", color="tab:blue")
    if picked is not None:
        label = f"vertex {picked}: {usd(costs[picked])}, {scores[picked]:.4f}"
        axes.plot(costs[picked], scores[picked], "o", color="tab:red", label=label)
        axes.legend(loc="lower right")
    weight = vertices.score_std_weight
    axes.set_xlabel("predicted cost of all prompts, US dollars")
    axes.set_ylabel(
        "mean predicted score" + (f" less {weight:g} standard deviations" if weight else "")
    )
    axes.set_title(f"{vertices.prompts:,} prompts, {len(costs):,} vertices")
    axes.grid(alpha=0.3)
    FigureCanvasAgg(figure).print_png(stream)
