"""The table of n-grams in other coordinates, in which bytes hold it more exactly.

A row that tells one kind of task has a large figure in the column of that kind and small ones
elsewhere, and the largest figure of a column sets the steps of its bytes. An orthogonal turn of the
columns spreads each such figure over all of them, and what reads the columns is turned back
(Ashkboos et al., "QuaRot: outlier-free 4-bit inference in rotated LLMs", NeurIPS 2024). The graph
has no node for it. The turn is the discrete cosine transform, whose entries are all of like size.
"""

from dataclasses import replace

import numpy as np
import scipy.fft

from routoo.predictor.ngrams import REGIONS
from routoo_export.graph.table_graph import TableGraph, quantised
from routoo_export.recogniser.network import FloatArray


def turned(parts: TableGraph) -> TableGraph:
    """Parts that tell the same of every prompt, with the columns of their table turned.

    The columns that the network reads and those of the classifier are turned apart from each other.
    """
    weights, ood = parts.recogniser, parts.ood
    width, regions = weights.width, len(REGIONS)
    classifier = weights.table.shape[1] - width
    first, second = _turn(width), _turn(classifier)
    table = np.concatenate([weights.table[:, :width] @ first, weights.table[:, width:] @ second], 1)
    hidden = first.T @ weights.hidden.reshape(regions, width, -1)
    tasks, traits = weights.tasks.copy(), weights.traits.copy()
    tasks[:, -classifier:] = tasks[:, -classifier:] @ second
    traits[-classifier:] = second.T @ traits[-classifier:]
    directions = ood.directions.reshape(regions, width + classifier, -1)
    back = [first.T @ directions[:, :width], second.T @ directions[:, width:]]
    return TableGraph(
        recogniser=replace(
            weights,
            table=table,
            hidden=hidden.reshape(weights.hidden.shape),
            tasks=tasks,
            traits=traits,
        ),
        ood=replace(ood, directions=np.concatenate(back, axis=1).reshape(ood.directions.shape)),
        trait_means=parts.trait_means,
    )


def rounded(parts: TableGraph) -> TableGraph:
    """The parts with the figures of their table as the graph's bytes hold them."""
    values, scale = quantised(parts.recogniser.table)
    return replace(parts, recogniser=replace(parts.recogniser, table=values * scale))


def _turn(columns: int) -> FloatArray:
    """An orthogonal matrix [columns, columns]."""
    found: FloatArray = scipy.fft.dct(np.eye(columns), norm="ortho").astype(np.float32)
    return found
