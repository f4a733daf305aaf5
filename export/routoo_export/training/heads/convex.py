"""Minimising small convex losses."""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

_ITERATIONS: Final = 200


def minimise(loss: Callable[[], Tensor], parameters: list[Tensor]) -> None:
    """Move float64 ``parameters`` in place to the minimum of ``loss`` (L-BFGS, strong Wolfe)."""
    optimizer = torch.optim.LBFGS(
        parameters,
        max_iter=_ITERATIONS,
        tolerance_grad=1.0e-9,
        tolerance_change=1.0e-12,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        optimizer.zero_grad()
        value = loss()
        torch.autograd.backward(value)
        return float(value.detach())

    # torch leaves LBFGS.step without types.
    optimizer.step(closure)  # type: ignore[no-untyped-call]
