"""A candidate predictor, trained on the graded decisions of a service."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from routoo.predictor.artifact import Artifact, load_artifact
from routoo.routing.pool import Pool
from routoo_export.artifact.own_artifact import write_own_artifact
from routoo_export.autopilot.comparison import TRAINED
from routoo_export.errors import ExportError
from routoo_export.outcomes.adapters.decision_log import read_decision_logs
from routoo_export.outcomes.bad_rows import BadRows
from routoo_export.outcomes.outcomes import Outcomes, read_outcomes
from routoo_export.outcomes.write import write_table
from routoo_export.training.own.train import OwnPrompts, train_own

LICENCE = "LicenseRef-internal"


def convert_logs(logs: list[Path], out: Path) -> Outcomes:
    """Turn decision logs into outcomes; what does not fit is left out and counted.

    Raises:
        OutcomeError: a file cannot be read, or no decision was graded.
    """
    table = read_decision_logs([str(path) for path in logs], BadRows(skip=True))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_table(table, out, {"name": "decisions", "licence": LICENCE, "costs": "true"})
    return read_outcomes(out, name="decisions", licence=LICENCE)


def train_candidate(outcomes: Outcomes, base: Artifact, pool: Pool, folder: Path) -> Artifact:
    """Fit rows of the pool's models to the outcomes of the trained buckets, and write them.

    Args:
        outcomes: Graded decisions, by the models' names in the pool.
        base: The artifact whose graph and vocabulary it keeps.
        pool: The models of the service.
        folder: The version folder to write.

    Raises:
        ExportError: the outcomes cannot be trained on, or a model of the pool has none.
    """
    rows = np.flatnonzero(np.isin(outcomes.buckets, list(TRAINED)))
    names = dict(zip(pool.names, pool.predictor_names, strict=True))
    kept = [at for at, name in enumerate(outcomes.models) if name in names]
    part = outcomes.rows(rows)
    part = replace(
        part,
        models=tuple(names[outcomes.models[at]] for at in kept),
        scores=part.scores[:, kept],
        output_tokens=part.output_tokens[:, kept],
        cost_usd=part.cost_usd[:, kept],
        input_tokens=None,
        latency_ms=None,
    )
    missing = sorted(set(names.values()) - set(part.models))
    if missing:
        raise ExportError(
            f"no graded answer of {missing[0]} is in the logs, so a predictor trained on them would"
            " not know it; let policy.explore try it, or take it out of the pool"
        )
    own = OwnPrompts.read(part, base)
    write_own_artifact(folder, base, train_own(own), own, {})
    return load_artifact(folder)
