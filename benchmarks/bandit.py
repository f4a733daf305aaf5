"""Scores learned while serving, against ParetoBandit, on the same stream under the same budget.

ParetoBandit's validation prompts with the true scores and costs of four models, in three phases of
all prompts. Four scenarios: nothing changes; the best model's prices fall to a tenth in the second
phase; the model of the best value fails silently in the second phase (scores at 0.3 of before); a
fourth model joins in the second phase, of which the predictor knows nothing. Seven budgets per
request, and as many seeds as --seeds says.

Ours are the service's own parts: the shipped predictor, learned scores and lengths, prices that
follow the budget and spend it evenly, the ledger, and exploring: 2 % of the requests, and 20 % of
those that an unknown model could answer, out of a budget of its own.
With --rule, the same without learned scores (predictor), and with the plainest recipe in their
place, a running mean of each model's scores with the same forgetting (running mean). ParetoBandit
has its shipped priors, hyperparameters and adaptive pacing; it runs with its fixed penalty on costs
at its default and at 0, as the latter serves it better under a budget.

Prints mean score and spent share of the budget per phase, with standard errors over the seeds,
and the difference of the mean scores, ours minus the better of theirs. Beside it, of ours: the
share of the failing model after 150 of its outcomes in the second phase, or after a tenth of the
phase where it gets fewer; the share of the joining model after 300 of its outcomes, and in the last
phase the same of a service whose predictor has known the model from the start; and the least and
the highest mean cost of any tenth of the stream.

Needs ROUTOO_DATA, and for the peer the packages paretobandit, joblib and scikit-learn and the extra
export (for embeddings, kept in artifacts/); without the package the peer is left out.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.budgeted.drift import (
    FAILING,
    NEW,
    PHASES,
    SCENARIOS,
    Scene,
    scene_of,
)
from harness.budgeted.learning import Run, run_ours
from harness.budgeted.pareto_peer import Peer, is_installed
from harness.budgeted.prompts import Prompts, read_prompts
from harness.command import data_folder, make_parser, run

BUDGETS_USD = (2e-4, 3.5e-4, 6e-4, 1e-3, 2e-3, 3.5e-3, 6e-3)
"""Mean budgets per request; the cheapest model costs 3e-5, the best 1.5e-2."""
RULES = ("learned", "running mean", "predictor")
SHARED = ("silent failure", "new model")
PENALTIES = {"peer": 0.0, "peer, default penalty": 0.3}
EMBEDDINGS = Path("artifacts/bandit-embeddings.npy")


def phases_of(scene: Scene, found: Run, mean_usd: float) -> list[list[float]]:
    """Returns mean score, and mean cost as a share of the budget, of each phase."""
    return [
        [
            float(found.scores[scene.phases == phase].mean()),
            float(found.costs_usd[scene.phases == phase].mean()) / mean_usd,
        ]
        for phase in range(PHASES)
    ]


def shares_of(scene: Scene, found: Run, column: int, outcomes: int) -> float:
    """Returns a model's share of the requests after so many of its outcomes since the change.

    Where it gets fewer, the requests after a tenth of the second phase count, up to its end.
    """
    chosen = found.choice[scene.phases == 1] == column
    its = np.flatnonzero(chosen)
    begin = int(its[outcomes - 1]) + 1 if len(its) >= outcomes else len(chosen) // 10
    return float(chosen[begin:].mean()) if begin < len(chosen) else float("nan")


def tenths_of(found: Run, mean_usd: float) -> list[float]:
    """Returns the mean cost of each tenth of a stream as a share of the budget."""
    return [float(part.mean()) / mean_usd for part in np.array_split(found.costs_usd, 10)]


def measure_scenario(
    prompts: Prompts,
    peer: Peer | None,
    scenario: str,
    mean_usd: float,
    seeds: int,
    rules: Sequence[str],
) -> dict[str, Any]:
    """Returns the figures of all routers, float [seeds, PHASES, 2] each."""
    figures: dict[str, list[Any]] = {}
    more: dict[str, list[Any]] = {}
    names = prompts.pool.names
    for seed in range(seeds):
        scene = scene_of(prompts, scenario, seed)
        for rule in rules:
            found = run_ours(prompts, scene, mean_usd, seed, rule, period=len(prompts))
            figures.setdefault(rule, []).append(phases_of(scene, found, mean_usd))
            told = more.setdefault(rule, [])
            if scenario == "silent failure":
                told.append(shares_of(scene, found, names.index(FAILING), 150))
            elif scenario == "new model":
                told.append(shares_of(scene, found, names.index(NEW), 300))
            else:
                told += tenths_of(found, mean_usd)
        if scenario == "new model":
            found = run_ours(prompts, scene, mean_usd, seed, knows_new=True, period=len(prompts))
            last = found.choice[scene.phases == PHASES - 1] == names.index(NEW)
            more.setdefault("known from the start", []).append(float(last.mean()))
        if peer is not None:
            for name, penalty in PENALTIES.items():
                found = peer.run(scene, mean_usd, seed, penalty)
                figures.setdefault(name, []).append(phases_of(scene, found, mean_usd))
    told_of = {name: summary(np.array(values)) for name, values in figures.items()}
    spread = {
        name: [min(values), float(np.mean(values)), max(values)] for name, values in more.items()
    }
    return {"rules": told_of, "shares" if scenario in SHARED else "tenths": spread}


def summary(values: Any) -> dict[str, Any]:
    """Returns means and standard errors over the seeds."""
    whole = values[:, :, 0].mean(axis=1)
    error = whole.std(ddof=1) / np.sqrt(len(whole)) if len(whole) > 1 else 0.0
    return {
        "score": float(whole.mean()),
        "score_error": float(error),
        "by_seed": whole.tolist(),
        "phase_scores": values[:, :, 0].mean(axis=0).tolist(),
        "spent": values[:, :, 1].mean(axis=0).tolist(),
        "spent_least": values[:, :, 1].min(axis=0).tolist(),
        "spent_most": values[:, :, 1].max(axis=0).tolist(),
    }


def difference(rules: dict[str, Any]) -> dict[str, float]:
    """Returns ours minus the better of the peers, paired by seed; empty without a peer."""
    peers = [rules[name] for name in PENALTIES if name in rules]
    if not peers:
        return {}
    best = max(peers, key=lambda one: one["score"])
    found = np.array(rules["learned"]["by_seed"]) - np.array(best["by_seed"])
    error = found.std(ddof=1) / np.sqrt(len(found)) if len(found) > 1 else 0.0
    return {"mean": float(found.mean()), "error": float(error)}


def measure(options: Namespace) -> dict[str, Any]:
    """Measures every scenario at every budget."""
    prompts = read_prompts(data_folder())
    peer = Peer(prompts, EMBEDDINGS) if is_installed() else None
    rules = [RULES[0], *(options.rule or ())]
    found: dict[str, Any] = {"prompts": len(prompts), "seeds": options.seeds, "scenarios": {}}
    for scenario in options.scenario or SCENARIOS:
        for mean_usd in options.budget or BUDGETS_USD:
            one = measure_scenario(prompts, peer, scenario, mean_usd, options.seeds, rules)
            at = found["scenarios"].setdefault(scenario, {})
            at[f"{mean_usd:.2g}"] = {**one, "ahead": difference(one["rules"])}
            print_budget(scenario, f"{mean_usd:.2g}", at[f"{mean_usd:.2g}"])
    return found


def print_budget(scenario: str, budget: str, one: dict[str, Any]) -> None:
    """Prints the rows of a budget as soon as they are known."""
    for name, rule in one["rules"].items():
        scores = " ".join(f"{value:.4f}" for value in rule["phase_scores"])
        spent = " ".join(
            f"{mean:.3f} ({least:.3f}-{most:.3f})"
            for mean, least, most in zip(
                rule["spent"], rule["spent_least"], rule["spent_most"], strict=True
            )
        )
        print(
            f"{scenario:15} {budget:>8} {name:22} {rule['score']:.4f} +- {rule['score_error']:.4f}"
            f"  {scores}  spent {spent}",
            file=sys.stderr,
        )
    for kind in ("shares", "tenths"):
        for name, values in one.get(kind, {}).items():
            told = ", ".join(f"{value:.3f}" for value in values)
            print(f"{scenario:15} {budget:>8} {kind} {name}: {told}", file=sys.stderr)
    if one["ahead"]:
        ahead = one["ahead"]
        print(
            f"{scenario:15} {budget:>8} ahead {ahead['mean']:+.4f} +- {ahead['error']:.4f}",
            file=sys.stderr,
        )


def print_tables(found: dict[str, Any]) -> None:
    """Prints who is ahead in each scenario."""
    for scenario, budgets in found["scenarios"].items():
        told = [
            f"{budget}: {one['ahead']['mean']:+.4f}"
            for budget, one in budgets.items()
            if one["ahead"]
        ]
        print(f"{scenario:15} ours minus the peer's by budget: {', '.join(told) or 'no peer'}")


def main() -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="orders of each stream")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="only these")
    parser.add_argument("--budget", action="append", type=float, help="only these, in US dollars")
    parser.add_argument(
        "--rule", action="append", choices=RULES[1:], help="ours beside the learned one"
    )
    return run(parser.parse_args(), measure, print_tables)


if __name__ == "__main__":
    sys.exit(main())
