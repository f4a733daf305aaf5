"""``routoo-export evaluate --arms``: model and effort chosen together, against the model alone."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from routoo.errors import RoutooError
from routoo.predictor.artifact import find_artifact, load_artifact
from routoo.routing.pool import load_pool
from routoo_export.errors import ExportError, OutcomeError
from routoo_export.evaluation import arms
from routoo_export.evaluation.arms import judge_arms
from routoo_export.evaluation.evaluate import plain_numbers
from routoo_export.outcomes.sources import read_source

POOL_FILE: Final = Path(arms.__file__).with_name("effort_pool.yaml")
SOURCES: Final = ("livecodebench", "reasoning_gym_easy", "reasoning_gym_hard")


@dataclass(frozen=True, slots=True)
class ArmsQuestion:
    """What is to be judged.

    Attributes:
        data: The data folder.
        artifact: Version folder; None = the shipped predictor.
        pool: Pool file with arms; None = the one that comes with the evaluation.
        sources: Sources; none = SOURCES.
    """

    data: Path
    artifact: Path | None = None
    pool: Path | None = None
    sources: tuple[str, ...] = ()


def arms_numbers(question: ArmsQuestion) -> dict[str, Any]:
    """Figures by source: over all models, and over those of each maker that has arms.

    A source without a model at two efforts has the reason in place of figures.

    Raises:
        ExportError: the artifact or the pool cannot be read, or do not fit together.
        OutcomeError: a source cannot be read.
    """
    try:
        artifact = load_artifact(find_artifact(question.artifact))
        models = load_pool(question.pool or POOL_FILE).models
    except RoutooError as error:
        raise ExportError(str(error)) from error
    makers = sorted({one.provider for one in models if one.arms})
    groups = {"all": models} | {
        maker: tuple(one for one in models if one.provider == maker) for maker in makers
    }
    found: dict[str, Any] = {}
    for source in question.sources or SOURCES:
        outcomes = read_source(question.data, source).outcomes
        try:
            judged = {
                name: asdict(judge_arms(source, outcomes, group, artifact))
                for name, group in groups.items()
            }
        except RoutooError as error:
            raise ExportError(str(error)) from error
        except OutcomeError as error:
            found[source] = {"not_judged": str(error)}
        else:
            found[source] = judged
    plain: dict[str, Any] = plain_numbers({"predictor": artifact.version, "sources": found})
    return plain
