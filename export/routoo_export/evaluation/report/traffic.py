"""The judgement over a mix of traffic as a page for the documents."""

from collections.abc import Mapping, Sequence
from typing import Final

from routoo_export.evaluation.bootstrap import Estimate
from routoo_export.evaluation.traffic.edits import SHARES, EditChanges
from routoo_export.evaluation.traffic.figures import MethodFigures
from routoo_export.evaluation.traffic.judge import TrafficFigures, worst_apgr
from routoo_export.evaluation.traffic.methods import METHODS, RECOGNISED, TOLD
from routoo_export.evaluation.traffic.paper import PaperResult

PAGE_FILE: Final = "traffic.md"
_COLUMNS: Final = {
    "points": "points",
    "full_cost_points": "points at its cost",
    "perf_gain": "PerfGain, %",
    "cost_share": "cost share",
    "cost_save": "CostSave, %",
    "gap_closed": "gap closed",
    "arena": "arena score",
    "apgr": "APGR",
}
_HEAD: Final = """\
# The shipped predictor over a mix of traffic

`routoo-export evaluate --traffic --report docs/results` writes this page; `make reproduce` runs it.
Each source is judged by a table of models that was estimated without it, and on prompts that the
recogniser was not trained on.

"""
_WORDS: Final = """\
## How to read it

- Rows: *told* names each prompt's kind of task and takes the table's means, *recognised* leaves the
  kind to the predictor, *task prior* takes each model's mean on the source's own domains from the
  other four of five folds, so it has seen what the first two have not. *Best single* and *oracle*
  are known after the fact.
- Points: the mean score less the best single model's, in hundredths, of the choice by score alone,
  and at the best single model's mean cost. PerfGain: the best mean score at any cost over the best
  single model's, less one. Cost share: the share of its cost at which its mean score is reached;
  CostSave is what is left (both after LLMRouterBench, arXiv 2601.07206). Gap closed: the share of
  the gap between best single model and oracle, at its cost. APGR (RouteLLM, arXiv 2406.18665): the
  mean over pairs of the best single model and each worse one, weighted by their gaps; a random
  order has 0.5.
- Arena score: RouterArena's formula (arXiv 2510.00202) at the price that promises the best one. Its
  data were used nowhere.
- What a model costs on average is taken as known, what a single call costs is not. Sources without
  costs have no figures that need any, and do not count in the mean of those.
- Errors are standard errors over resamples of the prompts; "never" = at no price.
- Lengths are those of the shipped table, which has seen the sources that may ship.
"""


def render_traffic(found: TrafficFigures, edits: EditChanges | None, paper: PaperResult) -> str:
    """The whole page in Markdown.

    Args:
        found: Figures by source and over the mix.
        edits: Decisions on edited prompts; None = there were no prompts to edit.
        paper: The paper's claims.
    """
    parts = [_HEAD, "## Over the mix\n\n", _methods(found.mix), "\n", _worst(found)]
    parts += ["\n## The paper's claims on models of 2025\n\n", _paper(paper)]
    if edits is not None:
        parts += ["\n## Edits\n\n", _edits(edits)]
    parts += ["\n## Lengths\n\n", _lengths(found)]
    for name, one in found.sources.items():
        parts.append(
            f"\n## {name}\n\n{one.prompts} prompts, {one.models} models, share"
            f" {found.shares[name]:.2f}; best single model {one.best_single}.\n\n"
        )
        parts.append(_methods(one.methods))
    return "".join([*parts, "\n", _WORDS])


def _methods(methods: Mapping[str, MethodFigures]) -> str:
    columns = [
        name for name in _COLUMNS if any(getattr(one, name) is not None for one in methods.values())
    ]
    rows = [
        [method, *(_cell(getattr(methods[method], name)) for name in columns)] for method in METHODS
    ]
    return _table(["", *(_COLUMNS[name] for name in columns)], rows)


def _worst(found: TrafficFigures) -> str:
    lines = []
    for method in (TOLD, RECOGNISED):
        value = worst_apgr(found.sources, method)
        if value is not None:
            lines.append(
                f"Lowest APGR of a source, {method}: {value:.3f}; of a single pair:"
                f" {found.mix[method].worst_pair_apgr:.3f}.\n"
            )
    return "\n".join(lines)


def _paper(paper: PaperResult) -> str:
    head = (
        f"ParetoBandit's {paper.prompts} prompts with billed costs, five folds; best single model"
        f" {paper.best_single}: {paper.best_single_score:.4f} at"
        f" {paper.best_single_cost_usd:.4f} USD.\n\n"
    )
    rows = []
    for method, one in paper.methods.items():
        claims = [
            f"{_cell(value)}: {'reached' if reached else '**not reached**'}"
            for _, value, reached in paper.claims(method)
        ]
        rows.append([method, *claims, _cell(one.low_cost_score), _cell(one.best_score)])
    texts = [claim.text for claim, _, _ in paper.claims(next(iter(paper.methods)))]
    return head + _table(["", *texts, "score at 5 % of its cost", "best score"], rows)


def _edits(edits: EditChanges) -> str:
    rows = [
        [f"{share:.0%}", f"{one:.3f}"] for share, one in zip(SHARES, edits.changed, strict=True)
    ]
    return (
        f"{edits.prompts} prompts as users send them, {edits.edits} edits of each that leave the"
        f" task as it is; {edits.changed_task:.3f} of them change the recognised kind,"
        f" {edits.mean:.3f} the chosen model of the default pool.\n\n"
        + _table(["way from the cheapest to the best choice, in mean cost", "changed"], rows)
    )


def _lengths(found: TrafficFigures) -> str:
    rows = [
        [kind, str(one.answers), f"{one.within_factor:.2f}", f"{one.ratio:.2f}"]
        for kind, one in found.lengths.items()
    ]
    heads = ["kind of task", "answers", "within a factor of 3", "expected over recorded"]
    return _table(heads, rows)


def _cell(one: Estimate | None) -> str:
    if one is None:
        return "-"
    if one.value != one.value:
        return "never"
    # Noise of the summation is not a figure.
    value = 0.0 if abs(one.value) < 1e-9 else one.value
    return f"{value:.3g} ± {max(one.se, 0.0):.2g}" if one.se > 1e-9 else f"{value:.3g}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"
