"""The tariffs of m models as columns, and costs of many requests at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from routoo.tariffs.hours import MINUTES_A_WEEK, minute_of_week
from routoo.tariffs.rates import KINDS, highest
from routoo.tariffs.tariff import version_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from routoo.tariffs.tariff import Tariff

    Floats = NDArray[np.float64]
    Times = NDArray[np.int64] | int | None

_USD_PER_TOKEN = 1e-6
_ANSWER = ("output", "reasoning")


@dataclass(frozen=True, slots=True)
class Amounts:
    """What n requests and their answers by m models consist of; None: nothing of it.

    The parts are contained in the totals.

    Attributes:
        input_tokens: float64 [n].
        output_tokens: float64 [n, m].
        cached_input_tokens: float64 [n].
        cache_write_tokens: float64 [n].
        cache_write_1h_tokens: float64 [n].
        audio_input_tokens: float64 [n].
        image_input_tokens: float64 [n].
        video_input_tokens: float64 [n].
        images: float64 [n].
        reasoning_tokens: float64 [n, m].
        audio_output_tokens: float64 [n, m].
        service_tiers: [n] names of service tiers; None: the standard one.
    """

    input_tokens: Floats
    output_tokens: Floats
    cached_input_tokens: Floats | None = None
    cache_write_tokens: Floats | None = None
    cache_write_1h_tokens: Floats | None = None
    audio_input_tokens: Floats | None = None
    image_input_tokens: Floats | None = None
    video_input_tokens: Floats | None = None
    images: Floats | None = None
    reasoning_tokens: Floats | None = None
    audio_output_tokens: Floats | None = None
    service_tiers: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class PriceTable:
    """The tariffs of m models.

    The costs of a request are the same to the bit, whatever other requests it is computed with.

    Attributes:
        tariffs: [m].
        version: 8 hex digits that identify names, tariffs and the way they are computed.
        usd: by kind of token, float64 [b, m]: USD per token in each band of lengths.
        answer_usd: float64 [b, m], USD per token that is output or reasoning, the higher of both.
        bounds: float64 [b - 1], the longest request of each band but the last, in input tokens.
        usd_per_image: float64 [m].
        usd_per_request: float64 [m]; None: no model has a fee.
        starts: int64 [k], minutes of the week at which a multiplier begins to hold; None: all
            hours have the same prices.
        multipliers: float64 [k, m].
    """

    tariffs: tuple[Tariff, ...]
    version: str
    usd: dict[str, Floats]
    answer_usd: Floats
    bounds: Floats
    usd_per_image: Floats
    usd_per_request: Floats | None
    starts: NDArray[np.int64] | None
    multipliers: Floats | None

    @classmethod
    def of(cls, named: Sequence[tuple[str, Tariff]]) -> PriceTable:
        """Turns the tariffs of m named models into columns."""
        tariffs = tuple(tariff for _, tariff in named)
        bounds = sorted({step.above_input_tokens for one in tariffs for step in one.steps})
        # By band and model, the rates that hold for requests of the band.
        bands = [
            [
                next(
                    (step.rates for step in one.steps[::-1] if step.above_input_tokens <= above),
                    one.rates,
                )
                for one in tariffs
            ]
            for above in (-1, *bounds)
        ]

        def column(values: list[list[float]]) -> Floats:
            return _frozen(np.array(values, np.float64) * _USD_PER_TOKEN)

        fees = np.array([one.usd_per_request for one in tariffs], np.float64)
        starts = sorted({start for one in tariffs for start in one.week.starts})
        uneven = not all(one.week.is_even for one in tariffs)
        minutes = [start * 60 - 3 * 86_400 for start in starts]  # as times of a week
        return cls(
            tariffs=tariffs,
            version=version_of(named),
            usd={
                kind: column([[one.of(kind) for one in band] for band in bands]) for kind in KINDS
            },
            answer_usd=column([[highest(one, _ANSWER) for one in band] for band in bands]),
            bounds=_frozen(np.array(bounds, np.float64)),
            usd_per_image=_frozen(np.array([one.usd_per_image for one in tariffs], np.float64)),
            usd_per_request=_frozen(fees) if fees.any() else None,
            starts=np.array(starts, np.int64) if uneven else None,
            multipliers=_frozen(
                np.array([[float(one.week.at(at)) for one in tariffs] for at in minutes])
            )
            if uneven
            else None,
        )

    def costs_usd(self, input_tokens: Floats, output_tokens: Floats, at_s: Times) -> Floats:
        """Returns the costs of n requests of text and their answers, in USD, float64 [n, m].

        Args:
            input_tokens: [n].
            output_tokens: [n, m].
            at_s: int64 [n] or one for all, the time whose prices hold, in seconds since 1970;
                None: the mean prices of a week.
        """
        band = self._bands(input_tokens)
        costs = output_tokens * self.usd["output"][band]
        costs += input_tokens[:, None] * self.usd["input"][band]
        return self._completed(costs, at_s)

    def costs_of(self, amounts: Amounts, at_s: Times, *, worst: bool = False) -> Floats:
        """Returns the costs of n requests of which all parts are told, in USD, float64 [n, m].

        A token stands in one kind only, as in ``routoo.tariffs.tariff.tokens_by_kind``.

        Args:
            amounts: the parts.
            at_s: int64 [n] or one for all, the time whose prices hold, in seconds since 1970;
                None: the mean prices of a week.
            worst: output tokens of which no kind is told might all be reasoning: they have the
                higher price of both.
        """
        cached = (
            ("cached_input", amounts.cached_input_tokens),
            ("cache_write", amounts.cache_write_tokens),
            ("cache_write_1h", amounts.cache_write_1h_tokens),
        )
        inside = sum((one for _, one in cached if one is not None), np.zeros(1))
        length = np.maximum(amounts.input_tokens, inside)
        band = self._bands(length)
        costs = np.zeros_like(amounts.output_tokens)
        for kind, tokens in cached:
            if tokens is not None:
                costs += tokens[:, None] * self.usd[kind][band]
        left = length - inside
        for kind, tokens in (
            ("audio_input", amounts.audio_input_tokens),
            ("image_input", amounts.image_input_tokens),
            ("video_input", amounts.video_input_tokens),
        ):
            if tokens is not None:
                taken = np.minimum(tokens, left)
                left = left - taken
                costs += taken[:, None] * self.usd[kind][band]
        costs += left[:, None] * self.usd["input"][band]
        hidden = np.zeros(1)
        for kind, spoken in (
            ("reasoning", amounts.reasoning_tokens),
            ("audio_output", amounts.audio_output_tokens),
        ):
            if spoken is not None:
                hidden = hidden + spoken
                costs += spoken * self.usd[kind][band]
        shown_usd = self.answer_usd if worst else self.usd["output"]
        costs += np.maximum(amounts.output_tokens - hidden, 0.0) * shown_usd[band]
        if amounts.images is not None:
            costs += amounts.images[:, None] * self.usd_per_image
        if amounts.service_tiers is not None:
            costs *= self.service_multipliers(amounts.service_tiers)
        return self._completed(costs, at_s)

    def service_multipliers(self, service_tiers: Sequence[str]) -> Floats:
        """Returns the multipliers of n named service tiers, float64 [n, m]."""
        known = {
            name: [float(one.service_multiplier(name)) for one in self.tariffs]
            for name in set(service_tiers)
        }
        return np.array([known[name] for name in service_tiers], np.float64)

    def _bands(self, input_tokens: Floats) -> NDArray[np.intp] | int:
        """Returns the band of each request, int [n]; 0 where all requests are in the first."""
        if not self.bounds.size or input_tokens.max(initial=0.0) <= self.bounds[0]:
            return 0
        return np.searchsorted(self.bounds, input_tokens, side="left")

    def _completed(self, costs: Floats, at_s: Times) -> Floats:
        """Multiplies costs by the hour's multiplier, and adds the fee of the request; in place."""
        if self.starts is not None and self.multipliers is not None:
            if at_s is None:
                lengths = np.diff(self.starts, append=MINUTES_A_WEEK)
                costs *= lengths @ self.multipliers / MINUTES_A_WEEK
            else:
                minutes = (np.atleast_1d(at_s) // 60 + minute_of_week(0)) % MINUTES_A_WEEK
                costs *= self.multipliers[np.searchsorted(self.starts, minutes, side="right") - 1]
        if self.usd_per_request is not None:
            costs += self.usd_per_request
        return costs


def _frozen(values: Floats) -> Floats:
    values.flags.writeable = False
    return values
