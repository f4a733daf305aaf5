"""A pool of two models and a judge, which a local server answers for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from routoo.api.http.proxy.upstreams import Upstreams
from routoo.config.loading import load_settings
from routoo.routing.pool import load_pool
from routoo_export.grading.answer_cache import AnswerCache
from routoo_export.grading.asking import ModelAsker
from routoo_export.grading.purse import GradingPurse
from support.peers.scripted_llm import scripted_llm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from support.peers.scripted_llm import ScriptedLlm

CHEAP, GOOD, JUDGE = "ours/cheap", "ours/good", "ours/judge"


def good_answer(asked: dict[str, Any]) -> str | tuple[int, bytes]:
    """The good model adds; the cheap one always says 4; the judge prefers what is longer."""
    last = asked["messages"][-1]["content"]
    if asked["model"] == "judge":
        first = last.partition("<first>\n")[2].partition("\n</first>")[0]
        second = last.partition("<second>\n")[2].partition("\n</second>")[0]
        winner = "first" if len(first) > len(second) else "second"
        return f'{{"winner": "{winner if len(first) != len(second) else "tie"}"}}'
    if asked["model"] == "cheap":
        return "4"
    numbers = [int(one) for one in last.split("+")]
    return f"The answer is {sum(numbers)}."


@pytest.fixture
def llm() -> Iterator[ScriptedLlm]:
    with scripted_llm(good_answer) as running:
        yield running


@pytest.fixture
def config(tmp_path: Path, llm: ScriptedLlm, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings with the pool, all of whose models the local server answers for."""
    monkeypatch.setenv("OURS_KEY", "secret")
    models = [
        {
            "name": name,
            "usd_per_1m_input_tokens": 1.0,
            "usd_per_1m_output_tokens": output_price,
            "price_status": "stated",
            "context_window_tokens": 100_000,
            "capabilities": ["chat"],
            "time_to_first_token_ms": 100,
            "time_per_output_token_ms": 5,
        }
        for name, output_price in ((CHEAP, 1.0), (GOOD, 10.0), (JUDGE, 2.0))
    ]
    (tmp_path / "pool.yaml").write_text(yaml.safe_dump({"models": models}))
    upstream = {"base_url": llm.url, "api_key_env": "OURS_KEY"}
    settings = {
        "pool": str(tmp_path / "pool.yaml"),
        "proxy": {"known_providers": False, "upstreams": {"ours": upstream}},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture
async def make_asker(config: Path, tmp_path: Path) -> AsyncIterator[Callable[..., ModelAsker]]:
    """Makes an asker on the same folder; the waits of its further tries are noted, not waited."""
    purses: list[GradingPurse] = []
    opened: list[Upstreams] = []

    def make(cap_usd: float = 1.0, waits: list[float] | None = None) -> ModelAsker:
        async def pause(seconds: float) -> None:
            if waits is not None:
                waits.append(seconds)

        for one in purses:
            one.close()
        purses[:] = [GradingPurse(tmp_path / "purse.journal", cap_usd)]
        settings = load_settings(config)
        pool = load_pool(settings.pool)
        upstreams = Upstreams(settings.proxy, pool)
        cache = AnswerCache(tmp_path / "answers")
        opened.append(upstreams)
        return ModelAsker(pool, upstreams, purses[0], cache, pause=pause)

    yield make
    for upstreams in opened:
        await upstreams.close()
    for one in purses:
        one.close()
