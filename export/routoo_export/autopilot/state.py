"""The state of an autopilot between its runs, and the lock that keeps a second one out."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from routoo_export.artifact.replace_folder import write_whole
from routoo_export.errors import ExportError

_STATE: Final = "state.json"
_HISTORY: Final = "history.jsonl"


class Stage(StrEnum):
    """What an autopilot waits for."""

    IDLE = "idle"
    """For enough newly graded answers."""
    SHADOW = "shadow"
    """For the decisions of a candidate that are only counted."""
    WATCH = "watch"
    """For the sequential test of a promoted predictor against the one before."""


@dataclass(frozen=True, slots=True)
class AutopilotState:
    """The state between two runs.

    Attributes:
        stage: What it waits for.
        trained_on: Graded decisions that the last candidate was trained and judged on.
        candidate: Version of the candidate, or of the promoted predictor.
        candidate_folder: Where it lies.
        before: Folder of the version that was in force before the promotion.
        before_version: Its version.
        promoted: Folder of the promoted version in the service's repository.
    """

    stage: Stage = Stage.IDLE
    trained_on: int = 0
    candidate: str = ""
    candidate_folder: str = ""
    before: str = ""
    before_version: str = ""
    promoted: str = ""


class Work:
    """A folder with the state, the candidates and the history of an autopilot.

    Args:
        folder: The folder; made if needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.candidates = folder / "candidates"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second autopilot out; the lock ends with the process, however it ends.

        Raises:
            ExportError: another one works in this folder, or it cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / "lock").open("w")
        except OSError as error:
            raise ExportError(
                f"{self.folder}: cannot be written ({error.strerror}); name another folder with"
                " --work"
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ExportError(
                    f"{self.folder}: another autopilot is at work there; let it finish"
                ) from None
            yield

    def read(self) -> AutopilotState:
        """Read the state; idle where there is none.

        Raises:
            ExportError: it is damaged.
        """
        path = self.folder / _STATE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            known = {one.name: values[one.name] for one in fields(AutopilotState)}
            return AutopilotState(**{**known, "stage": Stage(known["stage"])})
        except FileNotFoundError:
            return AutopilotState()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ExportError(
                f"{path}: cannot be read ({error}); move it away to begin anew: what is in force"
                " stays in force"
            ) from error

    def write(self, state: AutopilotState) -> None:
        """Replace the state as a whole."""
        write_whole(self.folder / _STATE, json.dumps(asdict(state), indent=1) + "\n")

    def tell(self, report: dict[str, Any]) -> None:
        """Add a line to the history."""
        line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **report}
        with (self.folder / _HISTORY).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
