"""Reads an assignment, as ``routoo pareto`` and ``routoo batch`` write it, to carry it out.

A line of it is the decision of the prompt on the same line of the prompts file. Of a decision the
model, the predicted cost and the ``request_id`` are read.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

import orjson

from routoo.errors import RoutooError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from routoo.v1.route_pb2 import RouteRequest

_HOW_TO = "name a file that `routoo pareto --assignment` or `routoo batch --out` wrote"
# Sums in another order differ in their last bits.
_SUM_RTOL = 1e-9


class AssignmentFileError(RoutooError):
    """The assignment cannot be read, or is not one of these prompts; names file and line."""


@dataclass(frozen=True, slots=True)
class DecidedModels:
    """The models that were decided for prompts.

    Attributes:
        models: per prompt the model, a name in the pool.
        total_cost_usd: sum of the predicted costs.
    """

    models: list[str]
    total_cost_usd: float

    @property
    def budget_usd(self) -> float:
        """The budget, in US dollars, under which the assignment costs no more than it showed."""
        return self.total_cost_usd * (1.0 + _SUM_RTOL)

    def apply(self, requests: Sequence[RouteRequest]) -> None:
        """Leaves each of n requests its model of the assignment alone."""
        for request, model in zip(requests, self.models, strict=True):
            request.allowed_models[:] = [model]


def read_assignment(
    lines: Iterable[bytes], name: str, requests: Sequence[RouteRequest]
) -> DecidedModels:
    """Reads the assignment of n requests.

    Args:
        lines: the file, opened in binary mode.
        name: what to call it in messages.
        requests: the n requests, in the order in which they were decided.

    Raises:
        AssignmentFileError: a line that is no decision, or decisions of other requests.
    """
    models: list[str] = []
    total_cost_usd = 0.0
    for number, told in enumerate(lines, start=1):
        line = told.removeprefix(BOM_UTF8)
        if not line.strip():
            continue
        decision = _decision(line, f"{name}:{number}")
        at = len(models)
        wanted = requests[at].request_id if at < len(requests) else ""
        if wanted and decision.get("request_id", "") != wanted:
            raise AssignmentFileError(
                f"{name}:{number}: decides request {decision.get('request_id', '')!r} and not"
                f" {wanted!r}; name the prompts that were decided, in their order"
            )
        arm = decision.get("arm")
        named = (
            f"@{arm['name']}" if isinstance(arm, dict) and isinstance(arm.get("name"), str) else ""
        )
        models.append(decision["model"] + named)
        total_cost_usd += decision["predicted_cost_usd"]
    if len(models) != len(requests):
        raise AssignmentFileError(
            f"{name}: holds {len(models):,} decisions for {len(requests):,} prompts; name the"
            " prompts that were decided"
        )
    return DecidedModels(models, total_cost_usd)


def _decision(line: bytes, where: str) -> dict[str, Any]:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise AssignmentFileError(f"{where}: not JSON ({error.msg}); {_HOW_TO}") from None
    if not isinstance(value, dict) or not isinstance(value.get("model"), str) or not value["model"]:
        raise AssignmentFileError(f"{where}: names no model; {_HOW_TO}")
    cost_usd = value.get("predicted_cost_usd", 0.0)
    if type(cost_usd) not in (int, float) or not isfinite(cost_usd) or cost_usd < 0.0:
        raise AssignmentFileError(f"{where}: predicted_cost_usd is no cost; {_HOW_TO}")
    return {**value, "predicted_cost_usd": float(cost_usd)}
