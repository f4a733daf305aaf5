"""The tariffs of m models as columns, and costs of many requests at once."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from math import inf
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
    _Bands = int | NDArray[np.intp] | tuple[NDArray[np.intp], NDArray[np.intp]]

_USD_PER_TOKEN = 1e-6
_ANSWER = ("output", "reasoning")
_REPLY = ("output", "reasoning", "audio_output")
_REQUEST = (
    "input",
    "cached_input",
    "cache_write",
    "cache_write_1h",
    "audio_input",
    "image_input",
    "video_input",
)


@dataclass(frozen=True, slots=True)
class PriceTable:
    """The tariffs of m models.

    The costs of a request are the same to the bit, whatever other requests it is computed with.

    Attributes:
        tariffs: [m], with the prices of the standard service tier.
        version: 8 hex digits that identify names, tariffs and the way they are computed.
        usd: by kind of token, float64 [b, m]: USD per token in each band of lengths.
        answer_usd: float64 [b, m], USD per token that is output or reasoning, the higher of both;
            as the three after it the highest of this band and the ones before it.
        text_usd: float64 [b, m], USD per token of input that is plain text.
        request_usd: float64 [b, m], USD per token of input, the highest of all kinds.
        reply_usd: float64 [b, m], USD per token of output, the highest of all kinds.
        bounds: float64 [b - 1], the longest request of each band but the last, in input tokens.
        sells_cache: bool [m], models with a price of their own for cached input.
        sells_writes: bool [m], those of them with one for input that is written into the cache.
        usd_per_image: float64 [m].
        usd_per_request: float64 [m]; None: no model has a fee.
        first_bound: the first of them; infinite: there is none.
        starts: [k], minutes of the week at which a multiplier begins to hold; empty: all hours have
            the same prices.
        multipliers: float64 [k, m].
        factors: float64 [m], multiply the prices per token and image of the estimates, for models
            that are asked for another service tier; None: all are 1.
    """

    tariffs: tuple[Tariff, ...]
    version: str
    usd: dict[str, Floats]
    answer_usd: Floats
    text_usd: Floats
    request_usd: Floats
    reply_usd: Floats
    bounds: Floats
    sells_cache: NDArray[np.bool_]
    sells_writes: NDArray[np.bool_]
    usd_per_image: Floats
    usd_per_request: Floats | None
    first_bound: float
    starts: tuple[int, ...]
    multipliers: Floats | None
    factors: Floats | None = None

    @classmethod
    def of(cls, named: Sequence[tuple[str, Tariff]], factors: Floats | None = None) -> PriceTable:
        """Turns the tariffs of m named models into columns.

        Args:
            named: names and tariffs.
            factors: float64 [m], see the attribute.
        """
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

        def most(kinds: tuple[str, ...]) -> Floats:
            found = column([[highest(one, kinds) for one in band] for band in bands])
            return _frozen(np.maximum.accumulate(found, axis=0))

        fees = np.array([one.usd_per_request for one in tariffs], np.float64)
        caches = np.array([one.rates.cached_input is not None for one in tariffs], np.bool_)
        writes = np.array([one.rates.cache_write is not None for one in tariffs], np.bool_)
        starts = sorted({start for one in tariffs for start in one.week.starts})
        uneven = not all(one.week.is_even for one in tariffs)
        minutes = [start * 60 - 3 * 86_400 for start in starts]  # as times of a week
        return cls(
            tariffs=tariffs,
            version=version_of(
                named
                if factors is None
                else [
                    (f"{name} x {factor!r}", tariff)
                    for (name, tariff), factor in zip(named, factors.tolist(), strict=True)
                ]
            ),
            usd={
                kind: column([[one.of(kind) for one in band] for band in bands]) for kind in KINDS
            },
            answer_usd=most(_ANSWER),
            text_usd=most(("input",)),
            request_usd=most(_REQUEST),
            reply_usd=most(_REPLY),
            bounds=_frozen(np.array(bounds, np.float64)),
            sells_cache=caches,
            sells_writes=caches & writes,
            usd_per_image=_frozen(np.array([one.usd_per_image for one in tariffs], np.float64)),
            usd_per_request=_frozen(fees) if fees.any() else None,
            first_bound=float(bounds[0]) if bounds else inf,
            starts=tuple(starts) if uneven else (),
            multipliers=_frozen(
                np.array([[float(one.week.at(at)) for one in tariffs] for at in minutes])
            )
            if uneven
            else None,
            factors=factors,
        )

    def costs_usd(self, input_tokens: Floats, output_tokens: Floats, at_s: Times) -> Floats:
        """Returns the costs of n requests of text and their answers, in USD, float64 [n, m].

        Args:
            input_tokens: [n] or [n, m].
            output_tokens: [n, m].
            at_s: int64 [n] or one for all, the time whose prices hold, in seconds since 1970;
                None: the mean prices of a week.
        """
        band = self._bands(input_tokens)
        costs = output_tokens * self.usd["output"][band]
        costs += _wide(input_tokens) * self.usd["input"][band]
        if self.factors is not None:
            costs *= self.factors
        return self._completed(costs, at_s)

    def cached_costs_usd(
        self,
        input_tokens: Floats,
        cached_tokens: Floats,
        written_tokens: Floats,
        output_tokens: Floats,
        at_s: Times,
    ) -> Floats:
        """Returns the costs of n requests of text whose input is cached in part, in USD, [n, m].

        Args:
            input_tokens: float64 [n, m], all of the input.
            cached_tokens: [n, m], the part of it that is read from the provider's cache.
            written_tokens: [n, m], the part of it that is written into that cache.
            output_tokens: [n, m].
            at_s: int64 [n] or one for all, the time whose prices hold, in seconds since 1970;
                None: the mean prices of a week.
        """
        band = self._bands(input_tokens)
        costs = output_tokens * self.usd["output"][band]
        costs += cached_tokens * self.usd["cached_input"][band]
        costs += written_tokens * self.usd["cache_write"][band]
        costs += (input_tokens - cached_tokens - written_tokens) * self.usd["input"][band]
        if self.factors is not None:
            costs *= self.factors
        return self._completed(costs, at_s)

    def most_usd(
        self,
        input_tokens: Floats,
        output_tokens: Floats,
        at_s: Times,
        *,
        mixed: NDArray[np.bool_] | None = None,
        images: Floats | None = None,
        service_tiers: Sequence[str] | None = None,
    ) -> Floats:
        """Returns what n requests and their answers may cost at most, in USD, float64 [n, m].

        All output may be reasoning; of mixed requests it may be sound. Where a pool's prices fall
        with the length of a prompt, a shorter one than counted is reserved for, too.

        Args:
            input_tokens: [n] or [n, m], the most.
            output_tokens: [n, m], the most.
            at_s: int64 [n] or one for all, the time whose prices hold, in seconds since 1970;
                None: the mean prices of a week.
            mixed: bool [n], requests whose tokens may be of any kind: written into a cache, sound,
                images or films; None: all is text that is not written.
            images: [n], images that are billed by the piece; None: there are none.
            service_tiers: [n] names of the service tiers that are asked for; None: the standard
                one. A cheaper one may be refused, and lowers nothing.
        """
        band = self._bands(input_tokens)
        output_usd, input_usd = self.answer_usd[band], self.text_usd[band]
        if mixed is not None and mixed.any():
            output_usd = np.where(mixed[:, None], self.reply_usd[band], output_usd)
            input_usd = np.where(mixed[:, None], self.request_usd[band], input_usd)
        costs = output_tokens * output_usd
        costs += _wide(input_tokens) * input_usd
        if images is not None:
            costs += images[:, None] * self.usd_per_image
        if service_tiers is not None and any(service_tiers):
            costs *= np.maximum(1.0, self._asked_factors(service_tiers))
        elif self.factors is not None:
            costs *= np.maximum(1.0, self.factors)
        return self._completed(costs, at_s)

    def _asked_factors(self, service_tiers: Sequence[str]) -> Floats:
        """Returns the factors of n requests, [n, m]: those of the tier that each names, if any."""
        named = self.service_multipliers(service_tiers)
        if self.factors is None:
            return named
        return np.where(np.array([[not tier] for tier in service_tiers]), self.factors, named)

    def service_multipliers(self, service_tiers: Sequence[str]) -> Floats:
        """Returns the multipliers of n named service tiers, float64 [n, m]."""
        known = {
            name: [float(one.service_multiplier(name)) for one in self.tariffs]
            for name in set(service_tiers)
        }
        return np.array([known[name] for name in service_tiers], np.float64)

    def _bands(self, input_tokens: Floats) -> _Bands:
        """Returns the index of the prices that hold, into [b, m]; 0: the first ones for all."""
        if np.maximum.reduce(input_tokens, axis=None, initial=0.0) <= self.first_bound:
            return 0
        bands = np.searchsorted(self.bounds, input_tokens, side="left")
        return bands if bands.ndim == 1 else (bands, np.arange(len(self.tariffs)))

    def _completed(self, costs: Floats, at_s: Times) -> Floats:
        """Multiplies costs by the hour's multiplier, and adds the fee of the request; in place."""
        if self.multipliers is not None:
            if isinstance(at_s, int):
                step = bisect_right(self.starts, minute_of_week(at_s)) - 1
                costs *= self.multipliers[step]
            elif at_s is None:
                lengths = np.diff(self.starts, append=MINUTES_A_WEEK)
                costs *= lengths @ self.multipliers / MINUTES_A_WEEK
            else:
                minutes = (at_s // 60 + minute_of_week(0)) % MINUTES_A_WEEK
                costs *= self.multipliers[np.searchsorted(self.starts, minutes, side="right") - 1]
        if self.usd_per_request is not None:
            costs += self.usd_per_request
        return costs


def _wide(tokens: Floats) -> Floats:
    return tokens if tokens.ndim > 1 else tokens[:, None]


def _frozen(values: Floats) -> Floats:
    values.flags.writeable = False
    return values
