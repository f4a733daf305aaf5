"""Writing the report of an evaluation into a folder."""

import json
from pathlib import Path
from typing import Final

from routoo_export.errors import ExportError
from routoo_export.evaluation.evaluate import Evaluation
from routoo_export.evaluation.report.page import Image, render_page
from routoo_export.evaluation.report.plots import plot_curves, plot_reliability
from routoo_export.training.checkpoint import METRICS_FILE

REPORT_FILE: Final = "report.html"
CURVES_FILE: Final = "cost_quality.png"
RELIABILITY_FILE: Final = "reliability.png"


def write_report(evaluation: Evaluation, folder: Path) -> None:
    """Write report.html, which needs no other file, its plots as PNG and metrics.json.

    Raises:
        ExportError: the folder cannot be written.
    """
    drawing = evaluation.drawing
    images: dict[str, Image] = {}
    if drawing.curves:
        images[CURVES_FILE] = Image(
            plot_curves(drawing.curves, drawing.singles),
            "Mean score over mean cost of the predictor, the baselines and every single model",
        )
    images[RELIABILITY_FILE] = Image(
        plot_reliability(drawing.reliability),
        "Per model, mean outcome over mean predicted score in ten bins",
    )
    page = render_page(evaluation.metrics, list(images.values()))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, image in images.items():
            (folder / name).write_bytes(image.png)
        text = json.dumps(evaluation.metrics, indent=2) + "\n"
        (folder / METRICS_FILE).write_text(text, encoding="utf-8")
        (folder / REPORT_FILE).write_text(page, encoding="utf-8")
    except OSError as error:
        raise ExportError(f"{folder}: the report cannot be written ({error})") from error
