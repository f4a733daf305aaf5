"""The linear classifier of the recogniser: a multinomial logistic regression on sparse rows.

Rows are weighted by their rarity (Spärck Jones, 1972).
"""

from typing import Final

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from routoo.predictor.ngrams import REGIONS
from routoo_export.outcomes.kinds import TASK_KINDS
from routoo_export.recogniser.bags import Bags
from routoo_export.recogniser.network import FloatArray
from routoo_export.recogniser.settings import RecogniserSettings

LINEAR_SCALES: Final = np.array([1.0, 0.7, 0.7, 0.5, 0.4, 0.4, 1.0], np.float32)
"""How much each region counts in the linear classifier, in the order of ``REGIONS``."""


def region_matrix(bags: Bags, rows: int) -> scipy.sparse.csr_array:
    """The rows of n prompts as a sparse matrix [n, rows], each region scaled."""
    regions = len(REGIONS)
    weights = bags.weights * LINEAR_SCALES[bags.bags % regions]
    shape = (bags.n, rows)
    return scipy.sparse.csr_array((weights, (bags.bags // regions, bags.rows)), shape=shape)


def train_linear(
    bags: Bags,
    kinds: NDArray[np.int64],
    weights: FloatArray,
    rows: int,
    settings: RecogniserSettings,
) -> tuple[FloatArray, FloatArray]:
    """Train the classifier.

    Args:
        bags: The bags of n prompts.
        kinds: The kind of each, [n].
        weights: How much each counts, [n].
        rows: Trained rows.
        settings: How to train.

    Returns:
        Its weights [rows, t] and biases [t]; a kind without a prompt is never the likeliest.
    """
    matrix = region_matrix(bags, rows)
    seen = np.diff(matrix.tocsc().indptr)
    used = np.flatnonzero(seen)
    rarity = (np.log((bags.n + 1) / (seen[used] + 1)) + 1.0).astype(np.float32)
    scaled = matrix[:, used] @ scipy.sparse.diags_array(rarity)
    model = LogisticRegression(C=settings.inverse_penalty, max_iter=settings.iterations, tol=1e-3)
    # Stopping after so many steps is intended: it is a regularisation, too.
    with np.errstate(all="ignore"):
        model.fit(scipy.sparse.csr_matrix(scaled), kinds, sample_weight=weights)
    linear = np.zeros((rows, len(TASK_KINDS)), np.float32)
    columns = model.classes_
    linear[np.ix_(used, columns)] = (model.coef_ * rarity).T
    bias = np.full(len(TASK_KINDS), -20.0, np.float32)
    bias[columns] = model.intercept_
    return linear, bias
