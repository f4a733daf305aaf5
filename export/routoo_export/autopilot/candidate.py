"""A candidate predictor: the rows in force, corrected by the graded decisions of a service."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from routoo.predictor.artifact import Artifact, load_artifact
from routoo.routing.pool import Pool
from routoo_export.artifact.table_file import write_version
from routoo_export.autopilot.comparison import TRAINED
from routoo_export.errors import ExportError, OutcomeError
from routoo_export.outcomes.adapters.decision_log import read_decision_logs
from routoo_export.outcomes.bad_rows import BadRows
from routoo_export.outcomes.feature_prompts import is_feature_prompt
from routoo_export.outcomes.write import write_table
from routoo_export.training.own.logged import fit_log
from routoo_export.training.own.train import OwnPrompts
from routoo_export.training.supervision.partial_feedback import LoggedOutcomes, read_logged

LICENCE = "LicenseRef-internal"


def convert_logs(logs: list[Path], out: Path) -> LoggedOutcomes:
    """Turn decision logs into outcomes; what does not fit is left out and counted.

    So are decisions of which the log has features alone, from a time when it was to keep no texts:
    a candidate could be trained on them, but not judged.

    Raises:
        OutcomeError: a file cannot be read, or no decision with a text was graded.
    """
    table = read_decision_logs([str(path) for path in logs], BadRows(skip=True))
    texts = [not is_feature_prompt(one) for one in table["prompt"].to_pylist()]
    table = table.filter(pa.array(texts))
    if not table.num_rows:
        raise OutcomeError(
            f"{logs[-1]}: the graded decisions have features instead of prompts, by which no"
            " candidate can be judged; log decision_log.prompts: text, and let the service decide"
            " first"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_table(table, out, {"name": "decisions", "licence": LICENCE, "costs": "true"})
    return read_logged(out, name="decisions", licence=LICENCE)


def train_candidate(log: LoggedOutcomes, base: Artifact, pool: Pool, folder: Path) -> Artifact:
    """Correct the artifact's rows by the outcomes of the trained buckets, and write them.

    Rows that are fitted anew to a log know nothing of the models that it seldom chose. These stay
    as they are, as do those of models without a graded answer.

    Args:
        log: Graded decisions, by the models' names in the pool.
        base: The artifact whose rows are corrected.
        pool: The models of the service.
        folder: The version folder to write.

    Raises:
        ExportError: the outcomes cannot be trained on, or the artifact does not know a model.
    """
    trained = np.isin(log.outcomes.buckets, list(TRAINED))
    part = _by_predicted_names(log.where(trained), pool)
    own = OwnPrompts.read(part.outcomes, base)
    write_version(base, fit_log(own, part).corrected(own.table), folder)
    return load_artifact(folder)


def _by_predicted_names(log: LoggedOutcomes, pool: Pool) -> LoggedOutcomes:
    """The decisions for models that the pool still has, by the names that they are predicted under.

    Several models of a pool may be predicted under one name, as those of two providers.

    Raises:
        ExportError: there are none.
    """
    names = dict(zip(pool.names, pool.predictor_names, strict=True))
    outcomes = log.outcomes
    named = np.array([names.get(one, "") for one in outcomes.models])[log.chosen]
    rows = np.flatnonzero(named != "")
    if not rows.size:
        raise ExportError(
            "none of the graded decisions is for a model that the pool has now; let the service"
            " decide and report on first"
        )
    models, columns = np.unique(named[rows], return_inverse=True)
    every, chosen = np.arange(len(rows)), log.chosen[rows]

    def moved(figures: NDArray[np.float64]) -> NDArray[np.float64]:
        found = np.full((len(rows), len(models)), np.nan)
        found[every, columns] = figures[rows, chosen]
        return found

    kept = replace(
        outcomes.rows(rows),
        models=tuple(models.tolist()),
        scores=moved(outcomes.scores),
        output_tokens=moved(outcomes.output_tokens),
        cost_usd=moved(outcomes.cost_usd),
        input_tokens=None,
        latency_ms=None,
    )
    return LoggedOutcomes(kept, columns.astype(np.int64), log.propensities[rows])
