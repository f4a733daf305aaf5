"""The reading of prompts for the decision log, by the artifact that serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routoo.errors import ConfigError
from routoo.telemetry.decision_log.prompts.lines import read_key

if TYPE_CHECKING:
    from routoo.config.sections.observability import DecisionLogSettings
    from routoo.predictor.artifact import Artifact
    from routoo.telemetry.decision_log.prompts.lines import PromptLines


def check_prompts(settings: DecisionLogSettings, artifact: Artifact) -> None:
    """Refuses what the log cannot keep of prompts.

    Raises:
        ConfigError: the artifact tells no features, or the key cannot be used; one line.
    """
    if settings.kept != "features":
        return
    if artifact.table is None:
        raise ConfigError(
            "decision_log.prompts: features needs a predictor of format 2, which this one is not;"
            " serve another one, or keep text or none"
        )
    if settings.prompt_key_file is not None:
        read_key(settings.prompt_key_file)


def prompt_findings(settings: DecisionLogSettings) -> list[str]:
    """Returns lines about an old form of the settings, and about a key that is not kept."""
    found = []
    if isinstance(settings.prompts, bool) and settings.prompts:
        found.append("warning: decision_log.prompts: true is an old form; write prompts: text")
    if settings.kept == "features" and settings.prompt_key_file is None:
        found.append(
            "warning: decision_log.prompt_key_file is not set: equal prompts are not told as equal"
            " over a restart"
        )
    return found


def read_with(prompts: PromptLines, artifact: Artifact) -> None:
    """Lets a log read prompts by the artifact's graph, where it keeps features."""
    if prompts.kept != "features" or artifact.table is None:
        return
    known = prompts.reader
    if known is not None and known.table.graph_sha256 == artifact.table.graph_sha256:
        return
    # It loads onnxruntime's session of a graph, which only this setting needs.
    from routoo.telemetry.decision_log.prompts.reader import GraphReader  # noqa: PLC0415

    prompts.reader = GraphReader(artifact)
