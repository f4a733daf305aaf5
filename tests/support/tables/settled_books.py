"""An engine with a budget whose ledger tells what each reply was settled at."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

from routoo.api.llm.metrics import ExchangeCounts
from routoo.api.llm.settlement import settled_by
from routoo.budget.terms import MAX_USD
from routoo.routing.pool import ModelSpec, Pool
from routoo.routing.request import PromptRequest
from support.tables.raw_bills import ALL_APART, ANTHROPIC, OPENAI, raw_bill_nano_usd
from support.tiny_engine import make_engine
from support.tiny_money import hourly, spending
from support.tiny_pool import LARGE, MEDIUM, SMALL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from routoo.engine.engine import Engine
    from routoo.predictor.artifact import Artifact
    from routoo.tariffs.usage_reader import UsageReading
    from support.tables.raw_bills import RawPrices
    from support.tables.usage_cases import UsageCase


class SettledBooks:
    """Settles readings of replies as the processor and the access log do.

    Args:
        engine: decides, and books.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._tally = ExchangeCounts(CollectorRegistry())

    async def check(self, case: UsageCase, reading: UsageReading) -> None:
        """Asserts what is booked for a case that is told, at its own prices and at others."""
        model = "medium" if case.at_anthropic else "small"
        assert await self.settled_nano_usd(model, reading) == case.nano_usd, case.name
        bill = raw_bill_nano_usd(case.body.decode(), ALL_APART)
        assert await self.settled_nano_usd("large", reading) == bill, case.name

    async def settled_nano_usd(self, model: str, reading: UsageReading) -> int:
        """Decides for a model, settles what a reply was read as, and returns what was booked."""
        request = PromptRequest("easy", constraints={"allowed_models": (model,)})
        decision = await self._engine.route(request)
        before = self._settled()
        outcome = settled_by(decision.decision_id, reading, None, self._tally, broke_off=False)
        assert await self._engine.report_all([outcome]) == [True]
        return self._settled() - before

    async def check_untold(self, case: UsageCase, reading: UsageReading) -> None:
        """Asserts that the estimate is booked, raised by what a reply without totals has told."""
        request = PromptRequest("easy", constraints={"allowed_models": ("small",)})
        batch = (await self._engine.route(request)).batch
        told, predicted = case.usage, int(batch.output_tokens[0])
        read = told.input_tokens
        assert not told.cached_input_tokens
        expected = 5000 * (int(batch.input_tokens[0]) if read is None else read)
        expected += 15_000 * max(told.output_tokens or 0, predicted)
        assert await self.settled_nano_usd("small", reading) == expected, case.name

    def _settled(self) -> int:
        money = self._engine.accounting.spending
        assert money is not None
        return round(money.ledger.states()[0].settled_usd * 1e9)


_SOLD = ((SMALL, OPENAI), (MEDIUM, ANTHROPIC), (LARGE, ALL_APART))


@asynccontextmanager
async def settled_books(artifact: Artifact) -> AsyncIterator[SettledBooks]:
    """Opens books; small has ``OPENAI`` prices, medium ``ANTHROPIC``, large ``ALL_APART``."""
    specs = [{**spec, **_sold(prices)} for spec, prices in _SOLD]
    pool = Pool.of(tuple(ModelSpec.model_validate(spec) for spec in specs))
    # Books of the largest bills that are believed, for requests of a word.
    engine = make_engine(
        artifact, pool=pool, spent_from=spending(hourly(MAX_USD)), report_factor=1e6
    )
    try:
        yield SettledBooks(engine)
    finally:
        await engine.close(0.0)


def _sold(prices: RawPrices) -> dict[str, Any]:
    """Returns the keys of the pool file for some prices."""

    def rates(factor: float) -> dict[str, float]:
        return {
            f"usd_per_1m_{kind}_tokens": factor * float(usd) for kind, usd in prices.usd.items()
        }

    dear = float(prices.dear)
    tiers = [{"above_input_tokens": prices.above, **rates(dear)}] if dear > 1 else []
    return {
        **rates(1),
        "usd_per_request": float(prices.fee_usd),
        "tiers": tiers,
        "service_tiers": {name: float(factor) for name, factor in prices.tiers.items()},
    }
