"""The reproduction of the paper's claims as a page for the documents."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from routoo_export.evaluation.pool_split import OURS
from routoo_export.evaluation.report.page import no_noise
from routoo_export.evaluation.report.plots import plot_panels
from routoo_export.evaluation.reproduce import BEST_SINGLE, ORACLE, RANDOM_MIX, CaseResult
from routoo_export.evaluation.summary import Figures

FIGURE_FILE: Final = "reproduction.png"
_HEAD: Final = """\
# The paper's claims on real outcomes

The Routoo paper (arXiv 2401.13979) reports three things of its router: Mixtral's quality at two
thirds of its cost; 5 points more than Mixtral at Mixtral's cost; and with GPT-4 in the pool,
GPT-4's quality at about half its cost and more than it at three quarters. `make reproduce` asks the
same of outcomes that other projects published, on test questions that no training saw in any
source. It takes the static backbone; ARGS="--backbone static --backbone encoder" takes both.

"""
_WORDS: Final = """\
## How to read it

- Cost share: the share of the best single model's cost at which its mean score is matched. Points:
  mean score minus the best single model's, in hundredths, at its cost and at 75 % of it. Gap: the
  share of the gap between the best single model and the oracle that is closed at its cost. Each
  with its standard error over 400 resamples of the test questions; "never" = at no price. "Within
  its error": less than 1.96 standard errors from what the paper says.
- The best single model is the one that scored best on the training questions.
- All methods train on the same questions and decide through the service's own selector, at every
  price; the figures are read off the realised curve, so the best price is known in hindsight. The
  second table of each pool sets the price beforehand, on the validation questions.
- "Routoo" and the matrix factorisation are one predictor each for all pools, trained on all
  sources; domain prior, nearest neighbours and the random mix learn from the pool's own source. The
  domain prior is told each question's true domain.
- (f) adds to (c) DeepSeek-V2-Chat and Jamba 1.5 Large, whose weights are open as well, but which
  were run by their makers. It was looked at after (c) had failed, so it confirms nothing by itself.
- Costs: RouterBench's are those that were billed. The others are estimates from prices and lengths;
  of MMLU answers one token is counted, and the routers know that. Prices of several open models are
  those of a size class.
- The oracle picks the best model of each question after the fact and so counts lucky guesses: on
  questions with few choices it is far above what any prediction can reach.
- Some sources have no licence for more than research; nothing that was trained here is shipped.
"""

_TWO_SIDED: Final = 1.96

_COLUMNS: Final = {
    "cost_share": "cost share",
    "full_cost_points": "points at its cost",
    "three_quarter_cost_points": "points at 75 %",
    "gap_closed": "gap closed",
    "aiq": "AIQ",
}


def render_reproduction(results: Sequence[CaseResult]) -> str:
    """The whole page in Markdown."""
    parts = [_HEAD, "## What is reached\n\n", *_claims(results), f"\n![]({FIGURE_FILE})\n\n"]
    for result in results:
        parts += _case(result)
    return "".join([*parts, _WORDS])


def plot_reproduction(results: Sequence[CaseResult]) -> bytes:
    """Cost-quality curves of all pools as one PNG."""
    # The last backbone named is drawn in the predictor's style.
    roles = {OURS: _ours(results[0])[-1], "oracle": ORACLE, "random_mix_of_singles": RANDOM_MIX}
    return plot_panels(
        [
            (f"({result.case.key}) {result.case.title}", result.curves, result.singles)
            for result in results
        ],
        roles,
    )


def _claims(results: Sequence[CaseResult]) -> list[str]:
    lines = ["| pool | the paper | " + " | ".join(_ours(results[0])) + " |\n"]
    lines.append("|---|---|" + "---|" * len(_ours(results[0])) + "\n")
    for result in results:
        figures = result.figures
        for place, claim in enumerate(result.case.claims):
            cells = []
            for name in _ours(result):
                estimate = figures["methods"][name][claim.figure]
                reached = figures["claims"][name][place]["reached"]
                verdict = "reached" if reached else "**not reached**"
                if _is_close(estimate, claim.bound):
                    verdict += ", within its error"
                cells.append(f"{_number(estimate)}: {verdict}")
            pool = f"({result.case.key}) {result.case.title}"
            lines.append(f"| {pool} | {claim.text} | {' | '.join(cells)} |\n")
    return lines


def _is_close(estimate: Mapping[str, Any], bound: float) -> bool:
    """Returns whether the bound lies within the 95 % interval around the figure."""
    if estimate["value"] is None or estimate["se"] is None:
        return False
    return bool(abs(estimate["value"] - bound) < _TWO_SIDED * estimate["se"])


def _case(result: CaseResult) -> list[str]:
    figures = result.figures
    single = figures["best_single"]
    head = (
        f"{figures['test_prompts']} test questions; best single model {single['model']}: score "
        f"{_number(single['score'])}, {single['cost_usd']['value']:.3g} USD per question; oracle "
        f"{figures['oracle_score']:.3f}."
    )
    lines = [
        f"## ({result.case.key}) {result.case.title}\n\n{head}\n\n",
        f"| | {' | '.join(_COLUMNS.values())} |\n|---|{'---|' * len(_COLUMNS)}\n",
        f"| {BEST_SINGLE} | 1 | 0 | - | 0 | - |\n",
    ]
    order = (RANDOM_MIX, *(n for n in figures["methods"] if n not in (RANDOM_MIX, ORACLE)), ORACLE)
    for name in order:
        cells = (_number(figures["methods"][name][column]) for column in _COLUMNS)
        lines.append(f"| {name} | {' | '.join(cells)} |\n")
    lines.append("\n")
    for name in _ours(result):
        lines += _against(name, figures)
        lines += _beforehand(name, figures["prices_set_beforehand"][name])
    return lines


def _against(name: str, figures: Figures) -> list[str]:
    lines = [f"{name} minus the others, paired:\n\n"]
    lines.append(f"| minus | {' | '.join(_COLUMNS.values())} |\n|---|{'---|' * len(_COLUMNS)}\n")
    for other, difference in figures["differences"][name].items():
        cells = (_number(difference[column], "-") for column in _COLUMNS)
        lines.append(f"| {other} | {' | '.join(cells)} |\n")
    return [*lines, "\n"]


def _beforehand(name: str, points: Mapping[str, Any]) -> list[str]:
    if not points:
        return []
    lines = [
        f"{name}, with prices set beforehand for a share of the best single model's cost:\n\n",
        "| for | cost share | points |\n|---|---|---|\n",
    ]
    for share, point in points.items():
        cells = f"{_number(point['cost_share'])} | {_number(point['points'])}"
        lines.append(f"| {share} | {cells} |\n")
    return [*lines, "\n"]


def _ours(result: CaseResult) -> list[str]:
    return list(result.figures["claims"])


def _number(figure: Mapping[str, Any], missing: str = "never") -> str:
    if figure["value"] is None:
        return missing
    error = "" if figure["se"] is None else f" ± {no_noise(figure['se']):.2g}"
    return f"{no_noise(figure['value']):.3g}{error}"
