"""The report as one self-contained HTML page, without scripts or requests, every text escaped."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from routoo_export.evaluation.pool_split import OURS
from routoo_export.evaluation.report.glossary import GLOSSARY
from routoo_export.evaluation.summary import SCORE_FIGURES, Figures

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --line: #d0d7de;
  --dim: #57606a }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --paper: #0d1117; --line: #30363d; --dim: #9da7b1 }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .6rem; text-align: right;
  white-space: nowrap }
th:first-child, td:first-child { text-align: left }
caption { text-align: left; color: var(--dim); padding: .3rem 0 }
img { max-width: 100%; background: #ffffff; border-radius: 6px }
small { color: var(--dim) }
"""

_NOISE: Final = 1.0e-8

_DECISION_COLUMNS: Final = {
    "cost_share": "share of the reference's cost at its quality",
    "half_cost_points": "points at half its cost",
    "three_quarter_cost_points": "at 75 %",
    "full_cost_points": "at its cost",
    "gap_closed": "gap to the oracle closed",
    "aiq": "AIQ",
}
_PAIR_COLUMNS: Final = {
    "apgr": "APGR",
    **{f"cpt_{p}": f"CPT({p} %)" for p in (20, 50, 80)},
    **{f"pgr_{p}": f"PGR at {p} % calls" for p in (20, 50, 80)},
}
_SCORE_COLUMNS: Final = {"auc": "AUC", "log_loss": "log-loss", "brier": "Brier", "ece": "ECE"}


@dataclass(frozen=True, slots=True)
class Image:
    """A PNG image and a description of what it shows."""

    png: bytes
    description: str


def render_page(metrics: Figures, images: Sequence[Image]) -> str:
    """Render the page of an evaluation's metrics."""
    pool, pair = metrics["pool_test_split"], metrics.get("pair")
    parts = [
        "<h1>Evaluation of the predictor</h1>",
        _head(pool),
        _decisions(pool) if "decision" in pool else "",
        _decisions_in_folds(folds) if (folds := metrics.get("pool_five_folds")) else "",
        _image(images, 0),
        _scores(pool),
        _image(images, 1),
        _pair(pair) if pair else "",
        _left_out(metrics["left_out"]),
        "<h2>What the words mean</h2><dl>",
        *(
            f"<dt><b>{_text(word)}</b></dt><dd>{_text(what)}</dd>"
            for word, what in GLOSSARY.items()
        ),
        "</dl>",
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Evaluation of the predictor</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _head(pool: Figures) -> str:
    return (
        f"<p>{pool['prompts']} test prompts of <b>{_text(pool['source'])}</b>, "
        f"{pool['models']} models; the reference is <b>{_text(pool['reference'])}</b>.</p>"
    )


def _decisions(pool: Figures) -> str:
    decision = pool["decision"]
    single = pool["baselines"]["best_single"]
    text = (
        f"<p>Always {_text(single['model'])}: score {_number(single['score'])}, "
        f"{_number(single['cost_usd'])} USD per prompt, "
        f"RouterArena's score {_number(single['arena'])}.</p>"
    )
    if half := decision.get("half_budget"):
        text += (
            "<p>A price set on the validation prompts for half of the reference's cost: "
            f"{_number(half['cost_share'])} of it, {_number(half['points'])} points.</p>"
        )
    if arena := decision.get("arena"):
        text += f"<p>RouterArena's score of the predictor: {_number(arena['score'])}.</p>"
    return f"<h2>Decisions</h2>{text}" + _gains(
        "Decisions of the service's selector, by true costs", decision, pool["baselines"]
    )


def _decisions_in_folds(folds: Figures) -> str:
    caption = f"The same on {folds['prompts']} prompts, each by a predictor trained without it"
    return _gains(caption, folds, folds["baselines"])


def _gains(caption: str, ours: Figures, others: Figures) -> str:
    rivals = {name: figures for name, figures in others.items() if "cost_share" in figures}
    differences = {name: figures["predictor_minus_this"] for name, figures in rivals.items()}
    return _table(caption, _DECISION_COLUMNS, {OURS: ours, **rivals}) + _table(
        "The predictor minus the other, paired", _DECISION_COLUMNS, differences
    )


def _scores(pool: Figures) -> str:
    means = {
        name: {figure: figures[f"mean_{figure}"] for figure in SCORE_FIGURES}
        for name, figures in ((OURS, pool), *pool["baselines"].items())
        if "mean_auc" in figures
    }
    return (
        "<h2>Predicted scores</h2>"
        + _table("Means over the models", _SCORE_COLUMNS, means)
        + _table("Each model", _SCORE_COLUMNS, pool["per_model"])
    )


def _pair(pair: Figures) -> str:
    names = ("five_folds", "domains_left_out", "test_split")
    parts = {name: pair[name] for name in names if name in pair}
    baselines = {
        name: figures
        for name, figures in pair.get("baselines", {}).items()
        if isinstance(figures, Mapping)
    }
    differences = {name: figures["predictor_minus_this"] for name, figures in baselines.items()}
    text = (
        f"<h2>A weak and a strong model</h2><p>{_text(pair['weak'])} and {_text(pair['strong'])} "
        f"on {pair['prompts']} prompts of {_text(pair['source'])}.</p>"
        + _table("The predictor", _PAIR_COLUMNS, parts)
        + _table("Baselines, same folds", _PAIR_COLUMNS, baselines)
        + _table("The predictor minus the other, paired", _PAIR_COLUMNS, differences)
    )
    for model in (pair["weak"], pair["strong"]):
        rows = {name: figures[model] for name, figures in parts.items()}
        text += _table(model, _SCORE_COLUMNS, rows)
    unusual = pair.get("knowing_what_it_does_not_know")
    if unusual:
        rows = {
            f"{place}, {how}": unusual[key][how]
            for place, key in (
                ("in domain", "shrinking_in_domain"),
                ("domains left out", "shrinking_domains_left_out"),
            )
            for how in ("with", "without", "difference")
        }
        columns = {"apgr": "APGR", "ece": "ECE", "log_loss": "log-loss"}
        text += (
            "<h2>Unusual prompts</h2><p>AUROC of telling prompts of unseen domains "
            f"from seen ones: {_number(unusual['auroc'])}.</p>"
            + _table("Shrinking the scores of unusual prompts", columns, rows)
        )
    return text


def _left_out(sentences: Sequence[str]) -> str:
    if not sentences:
        return ""
    items = "".join(f"<li>{_text(sentence)}</li>" for sentence in sentences)
    return f"<h2>Left out, and why</h2><ul>{items}</ul>"


def _table(caption: str, columns: Mapping[str, str], rows: Mapping[str, Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{_text(title)}</th>" for title in ("", *columns.values()))
    body = "".join(
        f"<tr><td>{_text(name.replace('_', ' '))}</td>{_cells(figures, columns)}</tr>"
        for name, figures in rows.items()
    )
    return f"<table><caption>{_text(caption)}</caption><tr>{head}</tr>{body}</table>"


def _cells(figures: Mapping[str, Any], columns: Iterable[str]) -> str:
    return "".join(f"<td>{_number(figures.get(column))}</td>" for column in columns)


def _number(figure: Any) -> str:
    """Format an estimate as "value ± se", with its interval in a tooltip."""
    if figure is None:
        return "-"
    if not isinstance(figure, Mapping):
        return f"{figure:.3g}"
    if figure["value"] is None:
        return "never"
    value = f"{no_noise(figure['value']):.3g}"
    if figure["se"] is None:
        return value
    interval = f"{figure['low']:.3g} to {figure['high']:.3g}"
    return f'<span title="{interval}">{value} <small>± {no_noise(figure["se"]):.2g}</small></span>'


def no_noise(value: float) -> float:
    """Turn the rounding error of an exact zero into 0; costs in USD are well above that size."""
    return 0.0 if abs(value) < _NOISE else value


def _image(images: Sequence[Image], place: int) -> str:
    if place >= len(images):
        return ""
    image = images[place]
    data = base64.b64encode(image.png).decode("ascii")
    return f'<p><img src="data:image/png;base64,{data}" alt="{_text(image.description)}"></p>'


def _text(value: str) -> str:
    return escape(str(value), quote=True)
