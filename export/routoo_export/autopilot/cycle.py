"""One run of the autopilot: the next step from graded decisions to a promoted predictor.

A run does what can be done now and ends; the next one goes on. What a run does twice has the same
effect as once, so a run that was killed is simply run again.
"""

import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from routoo.client.errors import RouterError
from routoo.client.sync import RouterClient
from routoo.config.loading import load_settings
from routoo.config.settings import Settings
from routoo.errors import RoutooError
from routoo.predictor.artifact import MANIFEST, find_artifact, load_artifact
from routoo.predictor.manager import in_process
from routoo.routing.pool import load_pool
from routoo.selector.policies import POLICIES
from routoo.server.assembly import load_components
from routoo.telemetry.decision_log.otherwise import Alternative, OtherPolicy, OtherService
from routoo.v1.info_pb2 import GetInfoResponse
from routoo_export.artifact.replace_folder import replace_folder, scratch_folder
from routoo_export.autopilot.candidate import convert_logs, train_candidate
from routoo_export.autopilot.comparison import Gain, HeldOutLog, compare
from routoo_export.autopilot.state import AutopilotState, Stage, Work
from routoo_export.errors import ExportError

MOST_FAILED: Final = 0.01
"""Share of shadow decisions that a candidate may fail to make."""


@dataclass(frozen=True, slots=True)
class AutopilotTerms:
    """The terms of promotions.

    Attributes:
        margin: Score gained at equal cost that the lower bound of a candidate's gain must exceed.
        fewest_graded: Newly graded decisions for which a candidate is trained.
        most_watched: Graded outcomes after which a promoted predictor is no longer watched.
    """

    margin: float = 0.005
    fewest_graded: int = 500
    most_watched: int = 20_000


@dataclass(frozen=True, slots=True)
class AutopilotReport:
    """What one run did.

    Attributes:
        did: "waits", "kept", "shadow", "promoted", "watches", "confirmed" or "rolled back".
        text: One line for people.
        figures: For machines.
    """

    did: str
    text: str
    figures: dict[str, Any] = field(default_factory=dict)


class Autopilot:
    """Promotes predictors of one service.

    Args:
        config: The settings file of the service.
        work: Keeps state and candidates.
        terms: The terms.
        address: Of the service; empty = that of its settings.

    Raises:
        ExportError: the settings have no place for candidates, or do not tell what it needs.
    """

    def __init__(self, config: Path, work: Work, terms: AutopilotTerms, address: str = "") -> None:
        self._config = config
        self._work = work
        self._terms = terms
        try:
            self._settings = load_settings(config)
        except RoutooError as error:
            raise ExportError(str(error)) from error
        self._address = address or str(self._settings.listen)
        self._repository, self._trial = _places(self._settings)

    def run(self) -> AutopilotReport:
        """Do the next step.

        Raises:
            ExportError: it cannot be done; what is in force stays in force.
        """
        with self._work.locked():
            state = self._work.read()
            step = {Stage.IDLE: self._train, Stage.SHADOW: self._shadow, Stage.WATCH: self._watch}
            report = step[state.stage](state)
            self._work.tell({"did": report.did, **report.figures})
            return report

    def rollback(self) -> AutopilotReport:
        """Put the version that was in force before the last promotion in force again.

        Raises:
            ExportError: nothing was promoted.
        """
        with self._work.locked():
            state = self._work.read()
            if not state.before:
                raise ExportError(
                    f"{self._work.folder}: nothing was promoted that could be rolled back; to serve"
                    " another version, copy its folder as the next one"
                )
            report = self._roll_back(state, "as it was asked for")
            self._work.tell({"did": report.did, **report.figures})
            return report

    def _train(self, state: AutopilotState) -> AutopilotReport:
        if self._settings.decision_log.kept != "text":
            raise ExportError(
                "decision_log.prompts is not text, and a candidate is judged by what it says of the"
                " prompts; set decision_log.prompts: text"
            )
        logs = self._logs()
        outcomes = convert_logs(logs, self._work.folder / "decisions.parquet")
        graded = len(outcomes.chosen)
        new = graded if graded < state.trained_on else graded - state.trained_on
        if new < self._terms.fewest_graded:
            wanted = self._terms.fewest_graded
            return AutopilotReport(
                "waits",
                f"waits: {new:,} of {wanted:,} newly graded decisions",
                {"graded": graded, "new": new},
            )
        base_folder = find_artifact(self._settings.predictor.artifact)
        pool = load_pool(self._settings.pool)
        folder = self._work.candidates / str(graded)
        try:
            if not (folder / MANIFEST).is_file():
                train_candidate(outcomes, load_artifact(base_folder), pool, folder)
            gain = self._gain(folder, logs)
            version = load_artifact(folder).version_for(pool.predictor_names)
        except RoutooError as error:
            raise ExportError(str(error)) from error
        figures = {"candidate": version, "gain": asdict(gain)}
        tried = replace(state, trained_on=graded, candidate=version, candidate_folder=str(folder))
        if gain.refusal or gain.low <= self._terms.margin:
            self._work.write(tried)
            why = gain.refusal or (
                f"its gain at equal cost is {gain.low:+.4f} to {gain.high:+.4f} and has to be above"
                f" {self._terms.margin:g}"
            )
            return AutopilotReport("kept", f"kept what is in force: {why}", figures)
        self._try(folder)
        self._work.write(replace(tried, stage=Stage.SHADOW))
        return AutopilotReport(
            "shadow",
            f"candidate {version} goes into shadow: its gain at equal cost is {gain.low:+.4f} to"
            f" {gain.high:+.4f}",
            figures,
        )

    def _shadow(self, state: AutopilotState) -> AutopilotReport:
        found = self._info().experiment
        if found.candidate != state.candidate:
            return AutopilotReport(
                "waits", f"waits for the service to load candidate {state.candidate}"
            )
        shadow = found.shadow
        figures = {"candidate": state.candidate, "decisions": shadow.decisions}
        if found.in_shadow:
            return AutopilotReport(
                "waits", f"waits: {shadow.decisions:,} decisions in shadow so far", figures
            )
        more = shadow.candidate_mean_cost_usd / max(shadow.mean_cost_usd, 1e-12) - 1.0
        experiment = self._settings.experiment
        cost_margin = 0.0 if experiment is None else experiment.cost_margin
        fault = ""
        if shadow.failed > MOST_FAILED * shadow.decisions:
            fault = f"it failed in {shadow.failed:,} of {shadow.decisions:,} decisions"
        elif more > cost_margin:
            fault = f"its decisions cost {more:.0%} more"
        elif found.reverted or found.verdict == "worse":
            fault = "its outcomes are worse"
        if fault:
            self._clear_trial()
            self._work.write(AutopilotState(trained_on=state.trained_on))
            return AutopilotReport("kept", f"kept what is in force: {fault}", figures)
        return self._promote(state, figures)

    def _promote(self, state: AutopilotState, figures: dict[str, Any]) -> AutopilotReport:
        """Put the candidate in force, and try the version before against it."""
        pool = load_pool(self._settings.pool)
        before = find_artifact(self._settings.predictor.artifact)
        kept = self._work.folder / "before" / before.name
        if not state.before:
            _copy(before, kept)
            state = replace(
                state,
                before=str(kept),
                before_version=load_artifact(before).version_for(pool.predictor_names),
                promoted=str(self._next()),
            )
            self._work.write(state)  # so that a run which is killed here goes on with the same
        promoted = Path(state.promoted)
        if not promoted.exists():
            _copy(Path(state.candidate_folder), promoted)
        self._try(Path(state.before))
        self._work.write(replace(state, stage=Stage.WATCH))
        return AutopilotReport(
            "promoted",
            f"promoted {state.candidate} as {promoted}; {state.before_version} is tried against it",
            {**figures, "folder": str(promoted)},
        )

    def _watch(self, state: AutopilotState) -> AutopilotReport:
        info = self._info()
        found = info.experiment
        if found.candidate != state.before_version:
            return AutopilotReport(
                "waits", f"waits for the service to load {state.candidate}; its log says why not"
            )
        graded = found.control.graded + found.candidate_arm.graded
        figures = {"candidate": state.candidate, "graded": graded, "verdict": found.verdict}
        # At equal cost: what a better score may cost more is what the price in force says.
        price, margin = info.shadow_price, self._terms.margin
        gained = found.score_difference.low - price * found.cost_difference_usd.high
        if found.verdict == "better" or gained > margin:
            return self._roll_back(state, "as the version before proved better")
        if found.verdict == "not yet" and graded < self._terms.most_watched:
            low, high = found.score_difference.low, found.score_difference.high
            return AutopilotReport(
                "watches",
                f"watches {state.candidate}: after {graded:,} graded answers the version before"
                f" differs by {low:+.3f} to {high:+.3f}",
                figures,
            )
        self._clear_trial()
        self._work.write(replace(state, stage=Stage.IDLE))
        return AutopilotReport(
            "confirmed", f"confirmed {state.candidate} by {graded:,} graded answers", figures
        )

    def _roll_back(self, state: AutopilotState, why: str) -> AutopilotReport:
        folder = self._next()
        _copy(Path(state.before), folder)
        self._clear_trial()
        self._work.write(AutopilotState(trained_on=state.trained_on))
        return AutopilotReport(
            "rolled back",
            f"rolled back to {state.before_version} as {folder}, {why}",
            {"candidate": state.candidate, "folder": str(folder)},
        )

    def _gain(self, folder: Path, logs: list[Path]) -> Gain:
        """Judge a candidate as the service would decide with it."""
        settings = self._settings
        artifact = load_artifact(folder)
        instead: Alternative = OtherPolicy(settings.policy.name)
        if all(one.is_apart for one in settings.budgets):  # no budget sets the price
            # The price that keeps to the same mean cost by the candidate's own predictions.
            plain = settings.model_copy(update={"experiment": None})
            parts = load_components(plain, artifact)
            policies = parts.policies
            instead = OtherService(
                policies.in_force, parts.pool, parts.price, str(self._config), policies.unsure
            )
        predictor = in_process(settings.predictor, artifact)
        pool = load_pool(settings.pool)
        now = load_artifact(find_artifact(settings.predictor.artifact))
        in_force = now.version_for(pool.predictor_names)
        return compare(HeldOutLog.read(logs, in_force), predictor, instead)

    def _logs(self) -> list[Path]:
        path = self._settings.decision_log.path
        assert path is not None  # noqa: S101 - _places looked
        rotated = sorted(
            (one for one in path.parent.glob(f"{path.name}.*") if one.suffix[1:].isdigit()),
            key=lambda one: -int(one.suffix[1:]),
        )
        found = [*rotated, *([path] if path.exists() else [])]
        if not found:
            raise ExportError(f"{path}: no such decision log; let the service decide first")
        return found

    def _info(self) -> GetInfoResponse:
        """Ask the service what it tries now, and at which price it decides."""
        try:
            with RouterClient(self._address) as client:
                return client.info()
        except RouterError as error:
            raise ExportError(f"the service at {self._address}: {error}") from error

    def _try(self, folder: Path) -> None:
        """Put a version where the service looks for a candidate; the only one there."""
        target = self._trial / folder.name
        if not target.exists():
            _copy(folder, target)
        for other in self._trial.iterdir():
            if other != target and other.name.isdigit():
                shutil.rmtree(other)

    def _clear_trial(self) -> None:
        for other in self._trial.glob("*"):
            if other.name.isdigit():
                shutil.rmtree(other)

    def _next(self) -> Path:
        numbers = [int(one.name) for one in self._repository.glob("*") if one.name.isdigit()]
        return self._repository / str(max(numbers, default=0) + 1)


def _places(settings: Settings) -> tuple[Path, Path]:
    """The folder of the service's versions, and that of candidates.

    Raises:
        ExportError: the settings name none, or do not log, or do not follow files.
    """
    artifact, experiment = settings.predictor.artifact, settings.experiment
    if artifact is None or (artifact / MANIFEST).is_file():
        raise ExportError(
            "predictor.artifact has to be a folder of versions (1, 2, ...), of which the newest"
            " serves; copy the version in use to FOLDER/1 and name FOLDER"
        )
    if experiment is None or experiment.candidate in POLICIES:
        raise ExportError(
            "experiment.candidate has to be a folder, into which candidates are put; see"
            " docs/how-to/loop.md"
        )
    if settings.decision_log.path is None:
        raise ExportError("decision_log.path is not set; set it, and decision_log.prompts: text")
    if not settings.reload.watch:
        raise ExportError("reload.watch has to be true, so that the service follows new versions")
    return artifact, Path(experiment.candidate)


def _copy(source: Path, target: Path) -> None:
    """Copy a version folder, whole or not at all."""
    if target.exists():
        return
    with scratch_folder(target) as build:
        shutil.copytree(source, build, dirs_exist_ok=True)
        replace_folder(build, target)
