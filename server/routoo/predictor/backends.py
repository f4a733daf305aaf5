"""The backends of one artifact: on Triton, in process, and the averages, in this order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from routoo.errors import ArtifactError, PredictorError
from routoo.predictor.encoding import PaddedGraph
from routoo.predictor.onnx import OnnxPredictor
from routoo.predictor.prior import PriorPredictor
from routoo.predictor.self_test import GoldenPrompts
from routoo.predictor.triton import TritonPredictor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.config.sections.predictor import PredictorSettings
    from routoo.predictor.artifact import Artifact
    from routoo.predictor.base import Predictor
    from routoo.predictor.triton import TritonServer


@dataclass(frozen=True, slots=True)
class Backends:
    """The predictors that serve one artifact.

    Attributes:
        artifact: the artifact.
        remote: asked first, while its circuit is closed; None: there is none.
        local: asked in turn after it.
        sample: the artifact's answers, computed in process, by which others are checked.
        models: the m models that they predict, in the order of the columns.
    """

    artifact: Artifact
    remote: TritonPredictor | None
    local: tuple[Predictor, ...]
    sample: GoldenPrompts
    models: tuple[str, ...]


def load_backends(
    artifact: Artifact,
    settings: PredictorSettings,
    server: TritonServer | None = None,
    models: Sequence[str] | None = None,
) -> Backends:
    """Loads and warms up what runs in process; the server is not asked.

    Args:
        artifact: the artifact.
        settings: which backends there are, and how they run; their ``artifact`` is not read.
        server: the server that is asked first; None: the predictor in process comes first.
        models: the models that are predicted, where the artifact can be asked for some; None: all.

    Raises:
        ArtifactError: the graph does not run, or answers no numbers.
        ConfigError: a library or a device is missing.
    """
    graph = PaddedGraph(artifact, models)
    onnx = OnnxPredictor(
        artifact,
        provider=settings.provider,
        intra_op_threads=settings.intra_op_threads,
        graph=graph,
    )
    onnx.warm_up()
    try:
        sample = GoldenPrompts.of(graph, onnx.infer)
    except PredictorError as error:
        raise ArtifactError(f"{artifact.folder}: {error}; export it again") from None
    remote = None
    if server is not None:
        remote = TritonPredictor(artifact, server, settings.triton, graph)
    local: list[Predictor] = []
    if remote is None or "onnx" in settings.fallbacks_in_force:
        local.append(onnx)
    if "prior" in settings.fallbacks_in_force:
        local.append(PriorPredictor(artifact, graph))
    return Backends(artifact, remote, tuple(local), sample, graph.models)
