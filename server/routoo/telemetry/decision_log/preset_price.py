"""The price of a preset on the requests of a decision log."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from routoo.selector.lp.presets import PRESETS, preset_points
from routoo.telemetry.decision_log.otherwise import OtherPolicy

if TYPE_CHECKING:
    from routoo.telemetry.decision_log.otherwise import Alternative
    from routoo.telemetry.decision_log.reader import LogContents


def at_its_point(instead: Alternative, log: LogContents) -> Alternative:
    """Returns another way to decide a log, a preset without a price at that of its point."""
    if isinstance(instead, OtherPolicy) and instead.name in PRESETS and instead.price is None:
        return replace(instead, price=preset_price(log, instead.name))
    return instead


def preset_price(log: LogContents, preset: str) -> float:
    """Returns the price of a named point of the curve of a log's requests, in score per USD.

    The curve is that of the models that the requests' constraints left. Where pools follow one
    another in the log, the requests of the last one count.

    Args:
        log: the log; one without decisions gives 0.
        preset: the name of the point.
    """
    if not log.decisions:
        return 0.0
    last = log.decisions[-1].setup.pool.names
    pools = [one for one in log.decisions if one.setup.pool.names == last]
    mask = np.concatenate([one.mask for one in pools])
    rows = mask.any(axis=1)
    if not rows.any():
        return 0.0
    scores = np.concatenate([one.estimates.scores for one in pools])
    costs_usd = np.concatenate([one.estimates.costs_usd for one in pools])
    points = preset_points(scores[rows], costs_usd[rows], mask[rows])
    return next(one.price for one in points if one.name == preset)
