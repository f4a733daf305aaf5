"""What outlives an engine: a reload makes the next engine around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from routoo import __version__
from routoo.engine.engine import Engine

if TYPE_CHECKING:
    from routoo.config.settings import Settings
    from routoo.engine.accounting import Money
    from routoo.engine.shared import Shared
    from routoo.parts import Parts
    from routoo.predictors import Predictors
    from routoo.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Lasting:
    """The parts of a service that every engine of it uses."""

    predictors: Predictors
    metrics: Metrics
    shared: Shared

    def engine(self, parts: Parts, money: Money, settings: Settings) -> Engine:
        """An engine; on the event loop that calls it."""
        return Engine(
            predictor=self.predictors.chain,
            pool=parts.pool,
            sample=parts.sample,
            policies=parts.policies,
            money=money,
            batching=settings.batching,
            shared=self.shared,
            metrics=self.metrics,
        )


def versions_of(engine: Engine) -> dict[str, str]:
    """What serves, for the metric that says it."""
    return {
        "version": __version__,
        "predictor": engine.versions.predictor,
        "backend": engine.predictor.backend,
        "policy": engine.versions.policy,
    }
