"""All that serves one artifact: on Triton, in process, and the averages, in this order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from routoo.errors import ArtifactError, PredictorError
from routoo.predictor.onnx import OnnxPredictor
from routoo.predictor.padding import PaddedGraph
from routoo.predictor.prior import PriorPredictor
from routoo.predictor.self_test import GoldenPrompts
from routoo.predictor.triton import TritonPredictor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from routoo.predictor.artifact import Artifact
    from routoo.predictor.base import Predictor
    from routoo.predictor.triton import TritonTarget


@dataclass(frozen=True, slots=True)
class Backends:
    """The predictors that serve one artifact.

    Attributes:
        artifact: what they serve.
        remote: asked first, while its circuit is closed; None: there is none.
        local: asked in turn after it.
        sample: the artifact's answers, computed in process, by which others are checked.
    """

    artifact: Artifact
    remote: TritonPredictor | None
    local: tuple[Predictor, ...]
    sample: GoldenPrompts


@dataclass(frozen=True, slots=True)
class LinePlan:
    """What a line is made of.

    Attributes:
        triton: None: the predictor in process comes first.
        fallbacks: what is asked when the first fails.
        provider: of the predictor in process.
        intra_op_threads: likewise.
    """

    triton: TritonTarget | None
    fallbacks: Sequence[Literal["onnx", "prior"]]
    provider: Literal["auto", "cpu", "cuda"]
    intra_op_threads: int


def load_backends(artifact: Artifact, plan: LinePlan) -> Backends:
    """Loads and warms up what runs in process; the server is left alone.

    Raises:
        ArtifactError: the graph does not run, or answers no numbers.
        ConfigError: a library or a device is missing.
    """
    graph = PaddedGraph(artifact)
    onnx = OnnxPredictor(
        artifact, provider=plan.provider, intra_op_threads=plan.intra_op_threads, graph=graph
    )
    onnx.warm_up()
    try:
        sample = GoldenPrompts.of(graph, onnx.infer)
    except PredictorError as error:
        raise ArtifactError(f"{artifact.folder}: {error}; export it again") from None
    remote = None if plan.triton is None else TritonPredictor(artifact, plan.triton, graph)
    local: list[Predictor] = []
    if remote is None or "onnx" in plan.fallbacks:
        local.append(onnx)
    if "prior" in plan.fallbacks:
        local.append(PriorPredictor(artifact.manifest, graph.encoder))
    return Backends(artifact, remote, tuple(local), sample)
