"""``routoo-export evaluate --own``: what training on own outcomes brings, by number of labels."""

from pathlib import Path
from typing import Any

from routoo.errors import RoutooError
from routoo.predictor.artifact import find_artifact, load_artifact
from routoo_export.errors import ExportError
from routoo_export.evaluation.own.numbers import MIX, label_curve, read_mix


def own_numbers(data: Path, artifact: Path | None) -> dict[str, Any]:
    """Figures by source, or the mix of all of them, by number of labels and by method.

    Raises:
        ExportError: the artifact or a source cannot be read.
    """
    try:
        base = load_artifact(find_artifact(artifact))
    except RoutooError as error:
        raise ExportError(str(error)) from error
    found = {}
    for name, sources in [*((one, (one,)) for one in MIX), ("mix", MIX)]:
        curve = label_curve(read_mix(data, sources, base))
        found[name] = {
            str(labels): {
                method: {
                    figure: {"value": estimate.value, "se": estimate.se}
                    for figure, estimate in (
                        ("auc", figures.auc),
                        ("points", figures.points),
                        ("gain", figures.gain),
                    )
                }
                for method, figures in methods.items()
            }
            for labels, methods in curve.items()
        }
    return found
