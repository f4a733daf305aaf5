"""The prompts' vectors as an artifact's graph tells them.

The graph answers for models only. A model whose vector is 1 in one place and 0 in all others
answers that place of the prompt's vector, so the vectors come out through the models' rows.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import onnxruntime

from routoo.predictor.artifact import Artifact
from routoo.predictor.model_table import ModelTable
from routoo.predictor.ngram_encoder import NgramEncoder
from routoo.predictor.ngrams import Vocabulary
from routoo_export.artifact.table_artifact import PromptVectors
from routoo_export.errors import ExportError

_BATCH: Final = 256


def recognise(artifact: Artifact, prompts: Sequence[str]) -> PromptVectors:
    """Tell tasks and traits of prompts by an artifact's graph.

    Args:
        artifact: An artifact of format 2.
        prompts: The n prompts.

    Raises:
        ExportError: the artifact has no table of models.
    """
    table = model_table(artifact)
    encoder = NgramEncoder(Vocabulary.load(artifact.tokenizer_path))
    session = onnxruntime.InferenceSession(str(artifact.model_path))
    t, r = len(table.tasks), len(table.traits)
    probes = np.zeros((3, r, t + 2 * r), np.float32)
    # Of the three answers only the logarithm of the tokens has a sign.
    probes[1, :, t : t + r] = np.eye(r)
    constants = {"task_rows": table.task_rows, "models": probes.reshape(3 * r, -1)}
    tasks = np.empty((len(prompts), t), np.float32)
    traits = np.empty((len(prompts), r), np.float32)
    ood = np.empty(len(prompts), np.float32)
    for start in range(0, len(prompts), _BATCH):
        some = prompts[start : start + _BATCH]
        for bucket in encoder.buckets(encoder.encode(some)):
            rows = bucket.rows + start
            told = np.zeros((len(rows), t), np.float32)
            answers = session.run(
                ["tasks", "output_tokens", "ood"], bucket.feed | constants | {"told": told}
            )
            tasks[rows], traits[rows], ood[rows] = answers[0], np.log(answers[1]), answers[2]
    return PromptVectors(tasks, traits, ood)


def model_table(artifact: Artifact) -> ModelTable:
    """The table of models of an artifact.

    Raises:
        ExportError: it has none.
    """
    if artifact.table is None:
        raise ExportError(
            f"{artifact.folder}: an artifact of format {artifact.manifest.format_version} has no"
            " table of models; use one of format 2"
        )
    return artifact.table
