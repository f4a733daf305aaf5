"""``routoo-export evaluate --own``: what training on own outcomes brings.

By number of labels, and in five folds of every source, whether it is below the best single model.
"""

from pathlib import Path
from typing import Any

from routoo.errors import RoutooError
from routoo.predictor.artifact import find_artifact, load_artifact
from routoo_export.errors import ExportError
from routoo_export.evaluation.bootstrap import Estimate
from routoo_export.evaluation.own.judge import RECOGNISED, THIS
from routoo_export.evaluation.own.numbers import MIX, label_curve, read_mix
from routoo_export.evaluation.own.regret import Regret, regrets


def own_numbers(data: Path, artifact: Path | None) -> dict[str, Any]:
    """Figures by source, or a mix of sources, by number of labels; and by source in five folds.

    Raises:
        ExportError: the artifact or a source cannot be read.
    """
    try:
        base = load_artifact(find_artifact(artifact))
    except RoutooError as error:
        raise ExportError(str(error)) from error
    labels: dict[str, Any] = {}
    for name, sources in [*((one, (one,)) for one in MIX), ("mix", MIX)]:
        curve = label_curve(read_mix(data, sources, base))
        labels[name] = {
            str(count): {
                method: {
                    figure: _plain(estimate)
                    for figure, estimate in (
                        ("auc", figures.auc),
                        ("points", figures.points),
                        ("gain", figures.gain),
                    )
                }
                for method, figures in methods.items()
            }
            for count, methods in curve.items()
        }
    return {"labels": labels, "five_folds": {n: _row(one) for n, one in regrets(data, base)}}


def _row(found: Regret) -> dict[str, Any]:
    return {
        "prompts": found.prompts,
        "models": found.models,
        "regrets": found.regrets,
        THIS: _at(found.points, found.full_cost_points),
        RECOGNISED: _at(found.plain_points, found.plain_full_cost_points),
    }


def _at(points: Estimate, full_cost_points: Estimate | None) -> dict[str, Any]:
    found = {"points": _plain(points)}
    if full_cost_points is not None:
        found["full_cost_points"] = _plain(full_cost_points)
    return found


def _plain(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "se": estimate.se}
