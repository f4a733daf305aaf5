"""A trial of settings before they are written for good: the check of a start, and one decision."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

PROMPT: Final = "Explain in two sentences why the sky is blue."
# Nothing listens where others could ask.
_ALONE: Final = {
    "listen": "127.0.0.1:0",
    "http": {"listen": ""},
    "metrics": {"enabled": False},
    "workers": 1,
}


@dataclass(frozen=True, slots=True)
class Trial:
    """The result of a trial.

    Attributes:
        findings: the lines of ``routoo check-config``.
        model: the model that was chosen for ``PROMPT``.
        score: its predicted score, in [0, 1].
        cost_usd: its predicted cost.
    """

    findings: list[str]
    model: str
    score: float
    cost_usd: float


def tried(settings_file: Path) -> Trial:
    """Checks a file of settings as a start does, and has its service decide one prompt.

    No model is asked, and nothing of it stays: the service ends with its decision.

    Raises:
        ConfigError: the service would not start; one line.
    """
    from routoo.config.loading import load_settings  # noqa: PLC0415 - slow, and only a trial needs
    from routoo.server.assembly import check  # noqa: PLC0415
    from routoo.telemetry.logs import configure_logging  # noqa: PLC0415

    configure_logging("error")
    findings = check(load_settings(settings_file))
    model, score, cost_usd = asyncio.run(_decided(settings_file))
    return Trial(findings, model, score, cost_usd)


async def _decided(settings_file: Path) -> tuple[str, float, float]:
    from routoo.config.loading import load_settings  # noqa: PLC0415
    from routoo.routing.request import PromptRequest  # noqa: PLC0415
    from routoo.server.service import Service  # noqa: PLC0415

    service = await Service.start(load_settings(settings_file, _ALONE))
    try:
        decision = await service.engine.route(PromptRequest(PROMPT))
        batch, row = decision.batch, decision.row
        return decision.name, batch.scores[row], batch.costs_usd[row]
    finally:
        await service.stop()
