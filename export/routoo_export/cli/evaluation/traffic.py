"""``routoo-export evaluate --traffic``: a shipped predictor, judged over a mix of traffic."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from routoo.errors import RoutooError
from routoo.predictor.artifact import find_artifact, load_artifact
from routoo.routing.pool import load_pool
from routoo_export.cli.common import progress_bar
from routoo_export.errors import ExportError
from routoo_export.evaluation.evaluate import plain_numbers
from routoo_export.evaluation.report.traffic import PAGE_FILE, render_traffic
from routoo_export.evaluation.traffic.edits import edit_changes
from routoo_export.evaluation.traffic.judge import judge_traffic
from routoo_export.evaluation.traffic.mix import MIX_FILE, checked_sources, read_mix
from routoo_export.evaluation.traffic.paper import judge_paper
from routoo_export.recogniser.examples import read_user_prompts
from routoo_export.training.own.prompt_reader import PromptReader

USER_PROMPTS: Final = "user_prompts.jsonl"
FIGURES_FILE: Final = "traffic.json"


@dataclass(frozen=True, slots=True)
class TrafficQuestion:
    """What is to be judged.

    Attributes:
        data: The data folder.
        artifact: Version folder; None = the shipped predictor.
        mix: The file of the mix; None = the one that is shipped.
        sources: Sources of the mix; none = all.
        report: Folder for the page; None = no page.
    """

    data: Path
    artifact: Path | None = None
    mix: Path | None = None
    sources: tuple[str, ...] = ()
    report: Path | None = None


def traffic_numbers(question: TrafficQuestion) -> dict[str, Any]:
    """Figures by source and over the mix, under edits, and the paper's claims.

    Raises:
        ExportError: the artifact cannot be read or is of another format, or the page cannot be
            written.
        OutcomeError: the mix or a source cannot be read.
    """
    mix = read_mix(question.mix or MIX_FILE)
    sources = checked_sources(question.sources, mix)
    try:
        artifact = load_artifact(find_artifact(question.artifact))
        pool = load_pool()
    except RoutooError as error:
        raise ExportError(str(error)) from error
    with progress_bar("judging", len(sources)) as advance:
        found = judge_traffic(question.data, artifact, mix, sources, advance)
    paper = judge_paper(question.data, artifact)
    users = question.data / USER_PROMPTS
    edits = None
    if users.is_file():
        texts = [one.text for one in read_user_prompts(users)]
        edits = edit_changes(PromptReader(artifact), pool, texts)
    numbers = {
        "predictor": artifact.manifest.predictor_version,
        **asdict(found),
        "paper": asdict(paper),
        "edits": None if edits is None else asdict(edits),
    }
    plain: dict[str, Any] = plain_numbers(numbers)
    if question.report is not None:
        try:
            question.report.mkdir(parents=True, exist_ok=True)
            page = render_traffic(found, edits, paper)
            (question.report / PAGE_FILE).write_text(page, encoding="utf-8")
            text = json.dumps(plain, indent=1) + "\n"
            (question.report / FIGURES_FILE).write_text(text, encoding="utf-8")
        except OSError as error:
            raise ExportError(f"{question.report}: cannot be written ({error})") from error
    return plain
