"""Hidden units, tasks and traits of prompts, as the server reads them off an artifact's graph."""

from routoo.errors import ConfigError
from routoo.predictor.artifact import Artifact
from routoo.telemetry.decision_log.prompts import reader
from routoo.telemetry.decision_log.prompts.reader import SeenPrompts
from routoo_export.errors import ExportError

__all__ = ["PromptReader", "SeenPrompts"]


class PromptReader(reader.GraphReader):
    """Reads prompts by the graph of an artifact.

    Args:
        artifact: An artifact whose graph is given its models' rows.

    Raises:
        ExportError: it is of format 1, whose graph holds its models.
    """

    def __init__(self, artifact: Artifact) -> None:
        try:
            super().__init__(artifact)
        except ConfigError as error:
            raise ExportError(str(error)) from None
